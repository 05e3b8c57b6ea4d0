//! Starts the moderation service.

use atelier_moderation::{Config, serve};
use atelier_rpc::{Cli, Listeners, runtime, shutdown, telemetry};

fn main() -> anyhow::Result<()> {
    let Some(config) = Cli::read::<Config>("ATELIER_MODERATION")? else { return Ok(()) };
    runtime::beside_models()?.block_on(async {
        let _telemetry = telemetry::init("atelier-moderation", &config.telemetry)?;
        let listeners = Listeners::bind(&config.server).await?;
        serve(config, listeners, shutdown::signal()).await
    })
}
