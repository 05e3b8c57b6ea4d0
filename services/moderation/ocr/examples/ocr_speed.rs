//! How long the steps around the models take: `cargo run -p atelier-ocr --example ocr_speed`

#![expect(clippy::unwrap_used, reason = "an example may fail by panicking")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use atelier_ocr::{Limits, LineImage, Page, ProbabilityMap, qr_codes, text_boxes};
use image::{Rgb, RgbImage};

/// The best of several runs: other work on the machine only makes it longer.
fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let run = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    (0..10).map(run).min().unwrap_or_default()
}

fn main() {
    for (width, height) in [(128, 128), (1024, 768), (4000, 3000)] {
        let picture =
            RgbImage::from_fn(width, height, |x, y| Rgb([(x / 3) as u8, (y / 5) as u8, (x * y / 999) as u8]));
        println!("{width} x {height}");
        println!("  page: {:?}", best(|| Page::new(&picture).unwrap()));
        let page = Page::new(&picture).unwrap();
        println!("  for the detector: {:?}", best(|| page.for_detector(1280).unwrap()));
        println!("  QR codes: {:?}", best(|| qr_codes(&page)));
        let small = page.for_detector(1280).unwrap();
        // Lines of 20 pixels, 30 apart.
        let line = |x: u32, y: u32| y % 30 < 20 && x > 20 && x + 20 < small.width();
        let values = (0..small.height()).flat_map(|y| (0..small.width()).map(move |x| (x, y)));
        let values = values.map(|(x, y)| f32::from(u8::from(line(x, y)))).collect();
        let map = ProbabilityMap::new(small.width() as usize, small.height() as usize, values).unwrap();
        let limits = Limits { lines: 100, columns: 100_000 };
        let boxes = text_boxes(&map, &page, limits).boxes;
        println!("  boxes ({}): {:?}", boxes.len(), best(|| text_boxes(&map, &page, limits)));
        if let Some(first) = boxes.first() {
            println!("  a line: {:?}", best(|| LineImage::cut(page.pixels(), &first.quad)));
        }
    }
}
