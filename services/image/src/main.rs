//! Starts the image service.

use atelier_image::{Config, serve};
use atelier_rpc::{Cli, Listeners, runtime, shutdown, telemetry};

fn main() -> anyhow::Result<()> {
    let Some(config) = Cli::read::<Config>("ATELIER_IMAGE")? else { return Ok(()) };
    runtime::beside_models()?.block_on(async {
        let _telemetry = telemetry::init("atelier-image", &config.telemetry)?;
        let listeners = Listeners::bind(&config.server).await?;
        serve(config, listeners, shutdown::signal()).await
    })
}
