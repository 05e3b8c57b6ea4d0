//! How long the views of 1 MiB of text take: `cargo run --release -p atelier-normalise --example normalise_speed`.

use std::{hint::black_box, time::Instant};

use atelier_normalise::{DecodeLimits, decoded, pinyin, readable, skeleton, skeletons};

const MIB: usize = 1 << 20;
const RUNS: usize = 9;

const SAMPLES: [(&str, &str); 8] = [
    ("English", "The quick brown fox, in 2024, jumps over the lazy dog; nobody's watching. "),
    ("capitals", "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG "),
    ("French", "L’été dernier, nous avons déjà mangé des crêpes à la crème brûlée près de l’église. "),
    ("Chinese", "在没有光的地方，人們仍然相信明天會更好，這是他們的習慣。"),
    ("Russian", "Быстрая коричневая лиса перепрыгивает через ленивую собаку. "),
    ("disguised", "f\u{200b}u\u{441}k y\u{43e}u, 𝓪𝓫𝓬 ｆｕｃｋ f.u.c.k 5h1t ⓢⓗⓘⓣ "),
    ("marks", "z\u{335}\u{301}\u{302}\u{303}a\u{304}\u{305}\u{306}\u{307}l\u{308}\u{309}\u{30a}\u{30b}"),
    ("encoded", "ZnVjayB5b3U= 66 75 63 6b %66%75%63%6b &#102;&#117; shpx lbh .- -... -.-. "),
];

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Words of random syllables, or runs of characters a few of which make most of the text.
fn generated(chinese: bool) -> String {
    const SYLLABLES: [&str; 12] =
        ["ba", "con", "de", "er", "fi", "gra", "ho", "in", "ka", "lo", "tion", "un"];
    let mut state = 42_u64;
    // xorshift64* (Vigna, 2016).
    let mut below = |n: u32| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % n
    };
    let mut text = String::with_capacity(MIB + 64);
    while text.len() < MIB {
        match chinese {
            true => {
                let characters = 4 + below(16);
                text.extend((0..characters).filter_map(|_| char::from_u32(0x4e00 + below(60) * below(60))));
                text.push('，');
            }
            false => {
                let syllables = 1 + below(4);
                text.extend((0..syllables).map(|_| SYLLABLES[below(12) as usize]));
                text.push(' ');
            }
        }
    }
    text
}

fn main() {
    println!("milliseconds for 1 MiB, median of {RUNS}");
    println!(
        "{:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "readable", "skeleton", "skeletons", "pinyin", "decoded"
    );
    let samples = SAMPLES.map(|(name, sample)| (name, sample.repeat(MIB / sample.len())));
    let generated = [("words", generated(false)), ("characters", generated(true))];
    for (name, text) in samples.into_iter().chain(generated) {
        let limits = DecodeLimits::default();
        let readable = median(|| drop(black_box(readable(black_box(&text)))));
        let skeleton = median(|| drop(black_box(skeleton(black_box(&text)))));
        let both = median(|| drop(black_box(skeletons(black_box(&text)))));
        let pinyin = median(|| drop(black_box(pinyin(black_box(&text)))));
        let decoded = median(|| drop(black_box(decoded(black_box(&text), &limits)).ok()));
        println!("{name:>10} {readable:>9.1} {skeleton:>9.1} {both:>9.1} {pinyin:>9.1} {decoded:>9.1}");
    }
}
