//! How long fingerprints and searches take: `cargo run --release -p atelier-likeness --example likeness_speed`

#![expect(clippy::unwrap_used, reason = "an example may fail by panicking")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use atelier_likeness::{
    Capacity, ImageFingerprint, ImageLimits, ImageQuery, Index, Picture, TextFingerprint, TextLimits,
    UnitVector, Work, WorkId,
};
use image::{Rgb, RgbImage};

const WORKS: u64 = 100_000;
const COMPONENTS: usize = 512;
const WORDS_PER_WORK: usize = 250;

/// SplitMix64: numbers without pattern, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fingerprint(&mut self) -> ImageFingerprint {
        let mut words = || std::array::from_fn(|_| self.next());
        ImageFingerprint { perceptual: words(), difference: words(), flat: false }
    }

    fn vector(&mut self) -> UnitVector {
        let values: Vec<f32> = (0..COMPONENTS).map(|_| (self.next() >> 40) as f32 - 8_388_608.0).collect();
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        UnitVector::new(&values.iter().map(|value| value / length).collect::<Vec<_>>()).unwrap()
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| format!("w{} ", self.next() % 20_000)).collect()
    }
}

/// The best of several runs: other work on the machine only makes it longer.
fn best<T>(runs: usize, mut work: impl FnMut() -> T) -> Duration {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn main() {
    let mut numbers = Numbers(1);
    for side in [512, 1024, 4096] {
        let picture =
            RgbImage::from_fn(side, side, |x, y| Rgb([(x / 3) as u8, (y / 5) as u8, (x * y / 999) as u8]));
        println!("fingerprint of {side} x {side}: {:?}", best(5, || ImageFingerprint::of(&picture).unwrap()));
        println!("query (6 views) of {side} x {side}: {:?}", best(5, || ImageQuery::of(&picture).unwrap()));
    }
    let text = numbers.text(200_000);
    let time = best(5, || TextFingerprint::of(&text));
    println!("fingerprint of English-like text: {:.0} MB/s", text.len() as f64 / 1e6 / time.as_secs_f64());
    let chinese: String =
        (0..300_000).map(|_| char::from_u32(0x4e00 + (numbers.next() % 3_000) as u32).unwrap()).collect();
    let time = best(5, || TextFingerprint::of(&chinese));
    println!("fingerprint of Chinese text: {:.0} MB/s", chinese.len() as f64 / 1e6 / time.as_secs_f64());

    print_memory("before");
    let mut index = Index::new(Capacity::default());
    let start = Instant::now();
    let mut quoted = String::new();
    for id in 0..WORKS {
        let pictures = vec![Picture { fingerprint: numbers.fingerprint(), vector: Some(numbers.vector()) }];
        let text = numbers.text(WORDS_PER_WORK);
        index.add(WorkId(id), Work { pictures, text: TextFingerprint::of(&text) }).unwrap();
        quoted = text;
    }
    println!(
        "{WORKS} works (1 picture, {COMPONENTS} components, {WORDS_PER_WORK} words) added: {:?}",
        start.elapsed()
    );
    print_memory("with them");

    let limits = ImageLimits { min_cosine: Some(0.9), ..ImageLimits::default() };
    let one = ImageQuery::exact(numbers.fingerprint());
    let picture =
        RgbImage::from_fn(256, 256, |x, y| Rgb([(x * x + y * 3) as u8, (y * 7) as u8, (x * y / 99) as u8]));
    let six = ImageQuery::of(&picture).unwrap();
    let vector = numbers.vector();
    println!("find_image, 1 view: {:?}", best(20, || index.find_image(&one, None, &limits)));
    println!("find_image, 6 views: {:?}", best(20, || index.find_image(&six, None, &limits)));
    println!(
        "find_image, 6 views and vector: {:?}",
        best(20, || index.find_image(&six, Some(&vector), &limits))
    );
    let answer = format!("{} {}", numbers.text(500), quoted);
    println!("find_text, 750 words: {:?}", best(20, || index.find_text(&answer, &TextLimits::default())));
    assert_eq!(index.find_text(&answer, &TextLimits::default())[0].work, WorkId(WORKS - 1));

    let mut file = Vec::new();
    println!("write_to: {:?}", best(1, || index.write_to(&mut file).unwrap()));
    println!(
        "read_from, {} MB: {:?}",
        file.len() / 1_000_000,
        best(1, || { Index::read_from(&file[..], Capacity::default()).unwrap() })
    );
    println!("remove: {:?}", best(1, || index.remove(WorkId(0))));
}

/// On Linux alone.
fn print_memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter(|line| line.starts_with("VmRSS"))
        .for_each(|line| println!("memory {when}: {line}"));
}
