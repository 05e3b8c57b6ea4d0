//! The command line that every server binary has.

use std::path::PathBuf;

use clap::Parser;
use serde::{Serialize, de::DeserializeOwned};

use crate::{RpcError, config};

/// Options of a server binary.
#[derive(Clone, Debug, Default, Parser)]
#[command(version)]
pub struct Cli {
    /// Configuration file (YAML); environment variables override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective configuration as YAML, secrets masked, and exit.
    #[arg(long)]
    pub print_config: bool,
}

impl Cli {
    /// Reads the command line and, as it says, the configuration; `None`: it has been printed and there is nothing
    /// more to do. `--help`, `--version` and usage errors end the process as clap does.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn read<T>(prefix: &str) -> Result<Option<T>, RpcError>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        Self::parse().load(prefix)
    }

    /// As [`Cli::read`], for a command line that is parsed already.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn load<T>(&self, prefix: &str) -> Result<Option<T>, RpcError>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let config = config::load(prefix, self.config.as_deref())?;
        if self.print_config {
            // Not a log line: this is what the program was started for.
            print!("{}", config::to_yaml(&config)?);
            return Ok(None);
        }
        Ok(Some(config))
    }
}
