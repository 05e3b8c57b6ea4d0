//! Starts the gateway.

use atelier_gateway::{Config, serve};
use atelier_rpc::{Cli, Listeners, shutdown, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(config) = Cli::read::<Config>("ATELIER_GATEWAY")? else { return Ok(()) };
    let _telemetry = telemetry::init("atelier-gateway", &config.telemetry)?;
    let listeners = Listeners::bind(&config.server).await?;
    serve(config, listeners, shutdown::signal()).await
}
