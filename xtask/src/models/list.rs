//! `cargo xtask models list`: the catalogue as a table, and what of it is installed.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use super::{
    catalogue::{Catalogue, Model, Source},
    manifest::{Depth, Manifest},
};
use crate::paths::{Home, catalogue_folder};

/// Prints the table; with `cards`, what is known of each model besides.
pub(crate) fn list(home: &Home, cards: bool) -> Result<ExitCode> {
    let folder = catalogue_folder();
    let catalogue = Catalogue::load(&folder)?;
    println!("{:32} {:26} {:28} {:>8}  {:8} state", "name", "task", "licence", "download", "pulled");
    let runtime = &catalogue.runtime;
    let wheel = runtime.wheel()?;
    let name = runtime.folder_name()?;
    let state = state(&home.runtime().join(&name), &wheel.version);
    println!(
        "{name:32} {:26} {:28} {:>8}  {:8} {state}",
        "runtime",
        runtime.license,
        megabytes(wheel.bytes),
        "always"
    );
    for model in &catalogue.models {
        print_model(home, &folder, model)?;
        if cards {
            print_card(model);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_model(home: &Home, folder: &Path, model: &Model) -> Result<()> {
    let size = match &model.source {
        Source::Wheel(wheel) => megabytes(wheel.bytes),
        Source::Npm(archive) => megabytes(archive.bytes),
        Source::Folder(_) => "local".to_owned(),
    };
    let when = match (model.default, model.test) {
        (true, _) => "default",
        (false, true) => "tests",
        (false, false) => "by name",
    };
    let state = state(&home.models().join(&model.id), &model.version(folder)?);
    println!("{:32} {:26} {:28} {size:>8}  {when:8} {state}", model.id, model.task, model.license);
    Ok(())
}

fn print_card(model: &Model) {
    for (key, value) in [
        ("purpose", &model.card.purpose),
        ("training data", &model.card.training_data),
        ("limits", &model.card.limits),
        ("attribution", &model.attribution),
        ("homepage", &model.homepage),
        ("source", &model.source.describe()),
    ] {
        println!("    {key}: {value}");
    }
    println!();
}

/// By sizes alone: a listing should be at once. `verify` looks at every byte.
fn state(folder: &Path, version: &str) -> &'static str {
    match Manifest::read(folder) {
        Err(_) => "damaged",
        Ok(None) if folder.exists() => "yours",
        Ok(None) => "not installed",
        Ok(Some(manifest)) if !manifest.problems(folder, Depth::Sizes).is_empty() => "damaged",
        Ok(Some(manifest)) if manifest.version != version => "outdated",
        Ok(Some(_)) => "installed",
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
