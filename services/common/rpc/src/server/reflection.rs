//! grpc.reflection.v1 and v1alpha: what grpcurl and its like ask for.

use tonic_reflection::server::{Builder, Error};

use super::routes::Routes;
use crate::RpcError;

/// Service names of the kit itself.
const OWN: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Adds both versions, which list `services` and the kit's own.
pub(super) fn add(routes: &mut Routes, services: &[&'static str]) -> Result<(), RpcError> {
    let fail = |error: Error| RpcError::Descriptors(error.to_string());
    routes.add(builder(services).build_v1().map_err(fail)?);
    routes.add(builder(services).build_v1alpha().map_err(fail)?);
    Ok(())
}

fn builder(services: &[&'static str]) -> Builder<'static> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(atelier_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
    services.iter().chain(&OWN).fold(builder, |builder, name| builder.with_service_name(*name))
}
