//! `atelier health`: does the gateway serve?

use std::time::Duration;

use atelier_client::{Client, ServingStatus};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{CliError, args::HealthArgs, output::Output};

const GATEWAY: &str = "atelier.gateway.v1.GatewayService";
/// Pause between two rounds of questions while waiting.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct HealthDocument {
    services: Vec<ServiceDocument>,
}

#[derive(Serialize)]
struct ServiceDocument {
    /// "" is the server as a whole.
    service: String,
    status: &'static str,
}

pub(crate) async fn run(client: Client, out: &mut Output, arguments: HealthArgs) -> Result<(), CliError> {
    let services = match arguments.services {
        named if named.is_empty() => vec![String::new(), GATEWAY.to_owned()],
        named => named,
    };
    let until = arguments.wait.map(|wait| Instant::now() + wait);
    let patience = || until.is_some_and(|until| Instant::now() + PAUSE < until);
    let document = loop {
        match ask(&client, &services).await {
            Ok(document) if all_serve(&document) || !patience() => break document,
            Err(error) if !patience() => return Err(error),
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    };
    if out.json {
        out.document(&document)?;
    } else {
        let rows = document.services.iter().map(|service| {
            let name = if service.service.is_empty() { "(whole server)" } else { &service.service };
            vec![service.status.to_owned(), name.to_owned()]
        });
        out.table(&rows.collect::<Vec<_>>())?;
    }
    out.flush()?;
    if all_serve(&document) { Ok(()) } else { Err(CliError::Incomplete("not all services serve".into())) }
}

async fn ask(client: &Client, services: &[String]) -> Result<HealthDocument, CliError> {
    let mut answers = Vec::new();
    for service in services {
        let status = match client.health(service.as_str()).await {
            Ok(ServingStatus::Serving) => "serving",
            Ok(ServingStatus::NotServing) => "not_serving",
            Ok(ServingStatus::ServiceUnknown) => "service_unknown",
            Ok(ServingStatus::Unknown) => "unknown",
            Err(error) if error.code() == Code::NotFound => "service_unknown",
            Err(error) => return Err(error.into()),
        };
        answers.push(ServiceDocument { service: service.clone(), status });
    }
    Ok(HealthDocument { services: answers })
}

fn all_serve(document: &HealthDocument) -> bool {
    document.services.iter().all(|service| service.status == "serving")
}
