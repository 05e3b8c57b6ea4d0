//! The table of ratios.

use std::fmt;

use serde::Serialize;

/// Which side of the goal is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The ratio should be at least this.
    AtLeast(f64),
    /// The ratio should be at most this.
    AtMost(f64),
}

/// One comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    baseline: f64,
    ratio: f64,
    goal: String,
    pass: bool,
}

/// All comparisons of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a comparison from paired turns of (value, baseline): the turn with the median ratio is reported.
    pub(crate) fn add(&mut self, name: &str, mut turns: Vec<(f64, f64)>, goal: Goal) {
        turns.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (value, baseline) = turns[turns.len() / 2];
        let ratio = value / baseline;
        let (goal, pass) = match goal {
            Goal::AtLeast(bound) => (format!(">= {bound:.2}"), ratio >= bound),
            Goal::AtMost(bound) => (format!("<= {bound:.2}"), ratio <= bound),
        };
        self.rows.push(Row { name: name.to_owned(), value, baseline, ratio, goal, pass });
        eprintln!("{name}");
    }

    /// Adds what is no comparison, to be printed below them.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<72} {:>10} {:>10} {:>7} {:>8}", "", "value", "baseline", "ratio", "goal")?;
        for row in &self.rows {
            let mark = if row.pass { "" } else { "  missed" };
            let Row { name, value, baseline, ratio, goal, .. } = row;
            writeln!(f, "{name:<72} {value:>10.2} {baseline:>10.2} {ratio:>7.3} {goal:>8}{mark}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "\n{note}"))
    }
}

/// The middle one of the samples.
pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
