//! 1 MiB of text against a list of 100,000 terms, as the moderation service's rules search it.

use std::{hint::black_box, time::Instant};

use atelier_core::TenantId;
use atelier_moderation::rules::RuleBook;

use crate::report::{Goal, Report};

const TEXT_BYTES: usize = 1 << 20;
const TERMS: usize = 100_000;
/// What the search may take, in ms.
const GOAL_MS: f64 = 10.0;

const SYLLABLES: [&str; 22] = [
    "ba", "con", "de", "er", "fi", "gra", "ho", "in", "ka", "lo", "men", "no", "or", "pre", "qui", "ra",
    "sta", "tion", "un", "ver", "wi", "ty",
];

/// xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    /// A word of `least` to `most` syllables.
    fn english(&mut self, least: usize, most: usize) -> String {
        let syllables = least + self.below(most - least + 1);
        (0..syllables).map(|_| SYLLABLES[self.below(SYLLABLES.len())]).collect()
    }

    /// Characters, a few of which make most of the text, as in real ones.
    fn chinese(&mut self, least: usize, most: usize) -> String {
        let characters = least + self.below(most - least + 1);
        let character = |_| char::from_u32(0x4e00 + (self.below(60) * self.below(60)) as u32);
        (0..characters).filter_map(character).collect()
    }
}

pub(crate) fn run(rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut random = Random(42);
    let mut written = |word: fn(&mut Random) -> String, space: &str| {
        let mut text = String::with_capacity(TEXT_BYTES + 64);
        while text.len() < TEXT_BYTES {
            text.push_str(&word(&mut random));
            text.push_str(space);
        }
        text
    };
    let english = written(|random| random.english(1, 4), " ");
    let chinese = written(|random| random.chinese(4, 20), "，");
    let term = |n| match n % 2 {
        0 => random.english(4, 6),
        _ => random.chinese(3, 4),
    };
    let terms: Vec<String> = (0..TERMS).map(term).collect();
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("terms.txt"), terms.join("\n"))?;
    for compared in ["plain", "undisguised"] {
        // The list alone: what else the rules look for has a time of its own.
        let rules = format!(
            "lists: {{blocked: {{category: hate, compared: {compared}, file: terms.txt}}}}\n\
             tenants: {{default: {{lists: [blocked], personal_data: false, secrets: false, profanity: false}}}}"
        );
        let book = RuleBook::compile(&rules, folder.path()).map_err(anyhow::Error::msg)?;
        let rules = book.of(&TenantId::default_tenant());
        for (language, text) in [("English", &english), ("Chinese", &chinese)] {
            let mut turns = Vec::new();
            for turn in 0..=rounds {
                let start = Instant::now();
                let found = black_box(rules.measure(black_box(text)));
                let took = start.elapsed().as_secs_f64() * 1e3;
                anyhow::ensure!(!found.findings.is_empty(), "nothing of {TERMS} terms in {language}");
                if turn > 0 {
                    turns.push((took, GOAL_MS));
                }
            }
            let name = format!("blocklist, 100k terms {compared}, 1 MiB of {language}: vs goal, ms");
            report.add(&name, turns, Goal::AtMost(1.0));
        }
    }
    Ok(())
}
