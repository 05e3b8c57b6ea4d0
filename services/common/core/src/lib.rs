//! Pure domain of Atelier: faults, identifiers, the content taxonomy and provenance. No I/O, no async, no gRPC, no ONNX.

pub mod category;
pub mod fault;
pub mod ids;
pub mod limits;
pub mod provenance;

pub use category::CategoryId;
pub use fault::{Fault, FieldViolation, Reason};
pub use ids::{ModelId, ModelRef, RequestId, Revision, TenantId};
pub use provenance::ContentHash;
