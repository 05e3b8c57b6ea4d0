//! How long the views of 1 MiB of text take: `cargo run --release -p atelier-normalise --example normalise_speed`.

use std::{hint::black_box, time::Instant};

use atelier_normalise::{DecodeLimits, decoded, pinyin, readable, skeleton};

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

fn main() {
    println!("milliseconds for 1 MiB, median of {RUNS}");
    println!("{:>10} {:>9} {:>9} {:>9} {:>9}", "", "readable", "skeleton", "pinyin", "decoded");
    for (name, sample) in SAMPLES {
        let text = sample.repeat(MIB / sample.len());
        let limits = DecodeLimits::default();
        let readable = median(|| drop(black_box(readable(black_box(&text)))));
        let skeleton = median(|| drop(black_box(skeleton(black_box(&text)))));
        let pinyin = median(|| drop(black_box(pinyin(black_box(&text)))));
        let decoded = median(|| drop(black_box(decoded(black_box(&text), &limits)).ok()));
        println!("{name:>10} {readable:>9.1} {skeleton:>9.1} {pinyin:>9.1} {decoded:>9.1}");
    }
}
