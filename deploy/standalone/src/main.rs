//! Starts all services and the gateway in one process.

use std::net::SocketAddr;

use atelier_rpc::{Cli, runtime, shutdown, telemetry};
use atelier_standalone::{Config, serve};
use clap::Parser;

const PREFIX: &str = "ATELIER_STANDALONE";

/// Atelier in one process: the text, image and moderation services and the gateway before them.
#[derive(Debug, Parser)]
#[command(name = "atelier-standalone", version)]
struct Arguments {
    #[command(flatten)]
    common: Cli,
    /// Address of the gateway; overrides `gateway.server.listen`.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { common, listen } = Arguments::parse();
    let Some(mut config) = common.load::<Config>(PREFIX)? else { return Ok(()) };
    if let Some(listen) = listen {
        config.gateway.server.listen = listen;
    }
    runtime::beside_models()?.block_on(async {
        let _telemetry = telemetry::init("atelier", &config.telemetry)?;
        serve(config, shutdown::signal()).await
    })
}
