//! A line on the terminal that tells how far a picture is.

use std::io::{self, IsTerminal, Write};

use atelier_client::proto::image::v1::Progress;

use super::documents::milliseconds;

/// Cells of the bar.
const CELLS: usize = 30;

/// Shown where a person watches stderr; otherwise silent.
pub(crate) struct Bar {
    watched: bool,
    drawn: bool,
    unit: &'static str,
}

impl Bar {
    pub(crate) fn new(json: bool, unit: &'static str) -> Self {
        Self { watched: !json && io::stderr().is_terminal(), drawn: false, unit }
    }

    pub(crate) fn show(&mut self, progress: &Progress) {
        if self.watched {
            self.drawn = true;
            // A closed stderr is no reason to stop.
            let _ = write!(io::stderr(), "\r{}\x1b[K", line(progress, self.unit));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(progress: &Progress, unit: &str) -> String {
    let (step, total) = (progress.step as usize, progress.total_steps as usize);
    let full = (step * CELLS).checked_div(total).unwrap_or(0).min(CELLS);
    let bar = "#".repeat(full) + &".".repeat(CELLS - full);
    let left = match progress.remaining {
        Some(remaining) => format!(", {:.1} s left", milliseconds(Some(remaining)) / 1e3),
        None => String::new(),
    };
    format!("[{bar}] {unit} {step} of {total}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        let progress = |step, total_steps| Progress { step, total_steps, ..Progress::default() };
        assert_eq!(line(&progress(0, 0), "step"), format!("[{}] step 0 of 0", ".".repeat(30)));
        let half = format!("[{}{}] step 5 of 10", "#".repeat(15), ".".repeat(15));
        assert_eq!(line(&progress(5, 10), "step"), half);
        let remaining = Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 });
        let text = line(&Progress { remaining, ..progress(30, 10) }, "frame");
        assert!(text.ends_with("frame 30 of 10, 1.5 s left") && text.contains(&"#".repeat(30)), "{text}");
    }
}
