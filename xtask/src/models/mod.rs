//! `cargo xtask models`: the catalogue, and the cache it is installed into.

mod catalogue;
mod convert;
mod fetch;
mod install;
mod list;
mod manifest;
mod pull;
mod tools;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use catalogue::{Wheel, WheelFile};
pub(crate) use pull::{Selection, fetch_file, pull};

use crate::{
    command::capture,
    paths::{Home, catalogue_folder},
};
use convert::{ConvertOptions, convert};
use install::CacheLock;
use tools::Tools;

/// What to do with models.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Shows what the catalogue has and what of it is installed.
    List {
        /// Also shows each model's licence, origin and known limits.
        #[arg(long)]
        cards: bool,
    },
    /// Installs the runtime and the default models, or the ones named.
    Pull(PullOptions),
    /// Makes a model of a GGUF file.
    Convert(ConvertOptions),
    /// Hashes every installed file again and names those that differ.
    Verify,
}

/// What to install.
#[derive(Args)]
pub(crate) struct PullOptions {
    /// Names from the catalogue; none: the defaults.
    ids: Vec<String>,
    /// Everything, the models of the tests too.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// Runs one task.
pub(crate) fn run(task: &Task) -> Result<ExitCode> {
    let home = Home::of_user()?;
    match task {
        Task::List { cards } => list::list(&home, *cards),
        Task::Pull(options) => {
            let selection = match options.ids.as_slice() {
                _ if options.all => Selection::All,
                [] => Selection::Default,
                ids => Selection::Named(ids.to_vec()),
            };
            pull(&home, &selection)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Convert(options) => {
            convert(&home, options)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Verify => verify::verify(&home),
    }
}

/// Runs the tests of the Python tools, in the environment they have when models are pulled.
pub(crate) fn test_tools(home: &Home) -> Result<()> {
    let tools = {
        let _lock = CacheLock::acquire(home.root(), || ())?;
        Tools::ensure(home, &catalogue_folder())?
    };
    for script in ["test_convert.py", "test_gguf.py", "test_fetch.py", "test_fetch_npm.py"] {
        capture(&mut tools.script(script))?;
    }
    Ok(())
}
