//! Pictures as fingerprints.

mod fingerprint;
mod plane;
mod vector;

pub use self::{
    fingerprint::{ImageFingerprint, ImageQuery, View},
    vector::UnitVector,
};
