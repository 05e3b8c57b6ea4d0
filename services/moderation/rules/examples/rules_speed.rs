//! How long rules take over 1 MiB of text: `cargo run --release -p atelier-rules --example rules_speed`.
//!
//! Texts and terms are made of syllables or common Chinese characters by a fixed generator; best of several runs.

use std::{hint::black_box, time::Instant};

use atelier_rules::{
    KindSet, Matching, Pattern, Patterns, RulesError, Term, TermList, personal_data, redact,
};

const TEXT: usize = 1 << 20;
const TERMS: usize = 100_000;
const RUNS: usize = 15;

const SYLLABLES: &[&str] = &[
    "ba", "con", "de", "er", "fi", "gra", "ho", "in", "ka", "lo", "men", "no", "or", "pre", "qui", "ra",
    "sta", "tion", "un", "ver", "wi", "ty",
];

/// What ordinary texts hold now and then.
const DATA: &[&str] = &[
    "jane.doe@example.org",
    "+41 44 668 18 00",
    "4111 1111 1111 1111",
    "2024-11-23 10:20:30",
    "https://example.com/a/b?c=1",
    "3.14159",
    "v1.2.3",
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

    fn latin(&mut self, syllables: usize) -> String {
        (0..syllables).filter_map(|_| SYLLABLES.get(self.below(SYLLABLES.len()))).copied().collect()
    }

    /// Low characters are common: as in real texts, a few make most of it.
    fn chinese(&mut self, characters: usize) -> String {
        (0..characters)
            .filter_map(|_| char::from_u32(0x4e00 + (self.below(60) * self.below(60)) as u32))
            .collect()
    }
}

fn text(random: &mut Random, word: fn(&mut Random) -> String, data_every: usize) -> String {
    let mut text = String::with_capacity(TEXT + 64);
    while text.len() < TEXT {
        if random.below(data_every) == 0 {
            text.push_str(DATA.get(random.below(DATA.len())).copied().unwrap_or_default());
            text.push(' ');
        }
        text.push_str(&word(random));
    }
    text
}

fn best<T>(mut run: impl FnMut() -> T) -> f64 {
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), RulesError> {
    let mut random = Random(42);
    let english = text(
        &mut random,
        |r| {
            let n = 1 + r.below(4);
            r.latin(n) + " "
        },
        50,
    );
    let chinese = text(
        &mut random,
        |r| {
            let n = 4 + r.below(16);
            r.chinese(n) + "，"
        },
        20,
    );
    let numbers = text(&mut random, |r| format!("{} ", r.below(100_000_000)), 5);
    let signs = "a@1.b:c=+1-(2)".repeat(TEXT / 14);
    let digits = "1 ".repeat(TEXT / 2);

    let terms = (0..TERMS).map(|n| {
        let text = if n % 2 == 0 {
            let n = 4 + random.below(3);
            random.latin(n)
        } else {
            let n = 3 + random.below(2);
            random.chinese(n)
        };
        let matching = if n % 4 < 2 { Matching::Word } else { Matching::Substring };
        Term { text, tag: (n % 8) as u32, matching, allow: n % 50 == 0 }
    });
    let terms: Vec<_> = terms.collect();
    let start = Instant::now();
    let list = TermList::build(terms)?;
    println!("{TERMS} terms: built in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    for (name, text) in [("Latin", &english), ("Chinese", &chinese)] {
        let found = list.find(text).matches.len();
        println!(
            "terms over 1 MiB of {name}: {:.1} ms, {found} found",
            best(|| list.find(text).matches.len())
        );
    }

    let patterns: Vec<_> =
        (0..100).map(|tag| Pattern { regex: format!(r"(?i)\b{}\s+\d+", random.latin(3)), tag }).collect();
    let start = Instant::now();
    let patterns = Patterns::build(&patterns)?;
    println!("100 patterns: built in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("patterns over 1 MiB of Latin: {:.1} ms", best(|| patterns.find(&english).count()));

    for (name, text) in [
        ("Latin", &english),
        ("Chinese", &chinese),
        ("numbers", &numbers),
        ("signs", &signs),
        ("single digits", &digits),
    ] {
        let found = personal_data(text, KindSet::ALL);
        let time = best(|| personal_data(text, KindSet::ALL));
        println!("personal data over 1 MiB of {name}: {time:.1} ms, {} found", found.len());
        println!("redacted: {:.1} ms", best(|| redact(text, &found)));
    }
    Ok(())
}
