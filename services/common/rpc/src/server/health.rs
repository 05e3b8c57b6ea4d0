//! grpc.health.v1 for the server ("") and each of its services.

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, health_reporter},
};

use super::readiness::{Gate, State};

/// The service, and the work that keeps its answers true.
pub(super) async fn service(
    mut names: Vec<&'static str>,
    gate: &Gate,
) -> (HealthServer<impl Health>, impl Future<Output = ()> + use<>) {
    // The reporter starts with "" as serving; it must not be asked before the first report.
    names.push("");
    let (reporter, server) = health_reporter();
    report(&reporter, &names, gate.state()).await;
    let gate = gate.clone();
    let mut changes = gate.changes();
    let keep = async move {
        loop {
            report(&reporter, &names, gate.state()).await;
            changes.next().await;
        }
    };
    (server, keep)
}

async fn report(reporter: &HealthReporter, names: &[&'static str], state: State) {
    let status = match state {
        State::Ready => ServingStatus::Serving,
        State::Starting | State::Draining => ServingStatus::NotServing,
    };
    for name in names {
        reporter.set_service_status(name, status).await;
    }
}
