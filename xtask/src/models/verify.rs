//! `cargo xtask models verify`: is every installed byte what its manifest says?

use std::{fs, io, path::Path, process::ExitCode};

use anyhow::Result;

use super::manifest::{Depth, Manifest};
use crate::paths::Home;

/// Prints a line for each folder and one for each bad file; fails when there is any.
pub(crate) fn verify(home: &Home) -> Result<ExitCode> {
    let mut sound = true;
    for parent in [home.runtime(), home.models()] {
        for name in folders(&parent)? {
            let folder = parent.join(&name);
            match check(&folder) {
                Verdict::Sound(version) => println!("{name:32} {version:16} ok"),
                Verdict::Unchecked => println!("{name:32} {:16} no manifest: not checked", ""),
                Verdict::Bad(problems) => {
                    sound = false;
                    problems.iter().for_each(|problem| println!("{name:32} REFUSED {problem}"));
                }
            }
        }
    }
    if !sound {
        eprintln!(
            "services refuse to load damaged models; `cargo xtask models pull` installs those of the catalogue again"
        );
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

enum Verdict {
    Sound(String),
    /// A folder that a user put there.
    Unchecked,
    Bad(Vec<String>),
}

fn check(folder: &Path) -> Verdict {
    match Manifest::read(folder) {
        Err(error) => Verdict::Bad(vec![format!("{error:#}")]),
        Ok(None) => Verdict::Unchecked,
        Ok(Some(manifest)) => {
            let problems = manifest.problems(folder, Depth::Hashes);
            if problems.is_empty() { Verdict::Sound(manifest.version) } else { Verdict::Bad(problems) }
        }
    }
}

/// Names of the folders in `parent`, sorted, without those a pull is building.
fn folders(parent: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
