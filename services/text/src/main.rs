//! Starts the text service.

use atelier_rpc::{Cli, Listeners, runtime, shutdown, telemetry};
use atelier_text::{Config, serve};

fn main() -> anyhow::Result<()> {
    let Some(config) = Cli::read::<Config>("ATELIER_TEXT")? else { return Ok(()) };
    runtime::beside_models()?.block_on(async {
        let _telemetry = telemetry::init("atelier-text", &config.telemetry)?;
        let listeners = Listeners::bind(&config.server).await?;
        serve(config, listeners, shutdown::signal()).await
    })
}
