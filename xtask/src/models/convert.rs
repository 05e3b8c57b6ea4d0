//! `cargo xtask models convert`: a GGUF file of the user's own becomes a model of the cache.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::{
    catalogue::{Catalogue, is_name},
    install::{CacheLock, Staging, sweep},
    manifest::{FileEntry, Manifest},
    tools::Tools,
};
use crate::{
    command::capture,
    paths::{Home, catalogue_folder},
};

/// Which file becomes which model, and how.
#[derive(Args)]
pub(crate) struct ConvertOptions {
    /// A GGUF file of llama, qwen2 or qwen3 architecture.
    file: PathBuf,
    /// Name of the model: its folder in the cache, and what callers ask for.
    id: String,
    /// How weights are stored.
    #[arg(long, value_enum, default_value_t = Mode::I8)]
    mode: Mode,
    /// Where the graph keeps its cache.
    #[arg(long, value_enum, default_value_t = Layout::Slots)]
    layout: Layout,
    /// How the model writes unless a call says otherwise, which the file does not know: temperature=0.7 top_p=0.8
    #[arg(long, num_args = 1.., value_name = "KEY=NUMBER")]
    sampling: Vec<String>,
    /// SPDX identifier of the model's licence.
    #[arg(long, default_value = "")]
    license: String,
    /// Takes the place of a model of this name.
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// 8-bit blocks: small and fast.
    I8,
    /// The file's values multiplied out: four times the size.
    F32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    /// In buffers that stay where they are: what the text service is fastest with.
    Slots,
    /// Growing from past to present, for other libraries.
    Hub,
}

/// Converts a file and installs what comes of it.
pub(crate) fn convert(home: &Home, options: &ConvertOptions) -> Result<()> {
    check(home, options)?;
    let source =
        FileEntry::of(&options.file).with_context(|| format!("could not read {}", options.file.display()))?;
    let _lock = CacheLock::acquire(home.root(), || eprintln!("waiting for another pull into this cache"))?;
    sweep(&home.models())?;
    let tools = Tools::ensure(home, &catalogue_folder())?;
    let staging = Staging::new(&home.models(), &options.id)?;
    let mut tool = tools.script("gguf_to_onnx.py");
    tool.arg(&options.file).arg(staging.path()).args(arguments(options));
    capture(&mut tool)?;
    staging.commit(manifest(options, &source))?;
    eprintln!("installed {}", home.models().join(&options.id).display());
    Ok(())
}

fn check(home: &Home, options: &ConvertOptions) -> Result<()> {
    let ConvertOptions { id, .. } = options;
    is_name(id)?;
    let catalogue = Catalogue::load(&catalogue_folder())?;
    let taken = catalogue.models.iter().any(|model| model.id == *id);
    ensure!(
        !taken,
        "{id:?} is a model of the catalogue, which the next pull would put back: name it otherwise"
    );
    let folder = home.models().join(id);
    ensure!(options.replace || !folder.exists(), "{} is there already: --replace it", folder.display());
    Ok(())
}

fn arguments(options: &ConvertOptions) -> Vec<String> {
    let mut arguments = vec!["--mode".to_owned(), name_of(&options.mode)];
    arguments.extend(["--layout".to_owned(), name_of(&options.layout)]);
    if !options.sampling.is_empty() {
        arguments.push("--sampling".to_owned());
        arguments.extend(options.sampling.iter().cloned());
    }
    arguments
}

/// The converter's word for it, which is ours too.
fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn manifest(options: &ConvertOptions, source: &FileEntry) -> Manifest {
    let name = options.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Manifest {
        id: options.id.clone(),
        task: "text-generation".to_owned(),
        license: options.license.clone(),
        source: name,
        // Enough of the file's hash to tell it from others.
        version: source.sha256.chars().take(12).collect(),
        files: BTreeMap::new(),
        options: serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: ConvertOptions,
    }

    fn options(line: &str) -> ConvertOptions {
        Line::parse_from(std::iter::once("convert").chain(line.split(' '))).options
    }

    #[test]
    fn the_converter_gets_what_was_asked_for() {
        assert_eq!(arguments(&options("a.gguf mine")), ["--mode", "i8", "--layout", "slots"]);
        let all = "a.gguf mine --mode f32 --layout hub --sampling temperature=0.7 top_p=0.8";
        assert_eq!(arguments(&options(all))[1..], all.split(' ').skip(3).collect::<Vec<_>>());
    }

    #[test]
    fn names_that_are_taken_are_refused() {
        let cache = tempfile::tempdir().unwrap();
        let home = Home::at(cache.path());
        std::fs::create_dir_all(home.models().join("mine")).unwrap();
        for (line, problem) in [
            ("a.gguf ../mine", "plain"),
            ("a.gguf smollm2-135m-instruct", "catalogue"),
            ("a.gguf smollm2-135m-instruct --replace", "catalogue"),
            ("a.gguf mine", "--replace"),
        ] {
            let error = check(&home, &options(line)).unwrap_err().to_string();
            assert!(error.contains(problem), "{line}: {error}");
        }
        check(&home, &options("a.gguf other")).unwrap();
        check(&home, &options("a.gguf mine --replace")).unwrap();
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let cache = tempfile::tempdir().unwrap();
        let error = convert(&Home::at(cache.path()), &options("nowhere.gguf mine")).unwrap_err();
        assert!(error.to_string().contains("nowhere.gguf"), "{error}");
    }
}
