//! The public gRPC API of Atelier and nothing else: messages, clients and servers generated from `atelier/**/*.proto`.
#![expect(missing_docs, reason = "generated code; the .proto files document every message and field")]
#![allow(
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated code"
)]

/// Every file of the API as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/atelier.binpb"));

/// Messages that several areas share.
pub mod common {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("atelier.common.v1");
    }
}

/// Text from language models.
pub mod text {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("atelier.text.v1");
    }
}

/// Pictures and clips.
pub mod image {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("atelier.image.v1");
    }
}

/// Measuring content.
pub mod moderation {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("atelier.moderation.v1");
    }
}

/// One API over all of Atelier.
pub mod gateway {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("atelier.gateway.v1");
    }
}
