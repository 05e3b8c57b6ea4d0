//! The steps around the models beside those of rapidocr (`tests/golden/moderation/ocr/golden.py`).

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, their helpers too")]

use std::path::PathBuf;

use atelier_ocr::{Limits, LineImage, Page, ProbabilityMap, qr_codes, text_boxes};
use image::{Rgb, RgbImage};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/moderation/ocr")).join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(golden("expected.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap() as f32],
    }
}

/// Pixels by which a corner may differ: the reference rounds to whole ones three times on its way.
const CORNER: f32 = 4.0;

#[test]
fn boxes_equal_the_reference() {
    let map = image::open(golden("map.png")).unwrap().into_luma8();
    let (width, height) = map.dimensions();
    let page = Page::new(&RgbImage::new(2 * width, 2 * height)).unwrap();
    let values = map.into_raw().into_iter().map(|value| f32::from(value) / 255.0).collect();
    let map = ProbabilityMap::new(width as usize, height as usize, values).unwrap();
    let found = text_boxes(&map, &page, Limits { lines: 100, columns: 100_000 }).boxes;
    let expected = expected()["boxes"].as_array().unwrap().clone();
    assert_eq!((found.len(), expected.len()), (4, 4));
    for reference in expected {
        let corners = numbers(&reference["box"]);
        let off = |one: &atelier_ocr::TextBox| {
            one.quad.iter().flatten().zip(&corners).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let nearest = found.iter().min_by(|a, b| off(a).total_cmp(&off(b))).unwrap();
        assert!(off(nearest) <= CORNER, "{nearest:?} {corners:?}");
        assert!((nearest.score - numbers(&reference["score"])[0]).abs() < 0.03, "{nearest:?} {reference}");
    }
}

#[test]
fn lines_are_cut_and_laid_level_as_the_reference_does() {
    let expected = &expected()["line"];
    let wave = |value: f64| (128.0 + 100.0 * value.sin()).round() as u8;
    let waves = RgbImage::from_fn(512, 224, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        Rgb([wave(x / 17.0), wave(y / 13.0), wave((x + y) / 23.0)])
    });
    let corners = numbers(&expected["quad"]);
    let quad = std::array::from_fn(|n| [corners[2 * n], corners[2 * n + 1]]);
    let line = LineImage::cut(&waves, &quad);
    let width = line.filled_width();
    assert_eq!(width, (numbers(&expected["width"])[0] as usize).next_multiple_of(64));
    let values: Vec<f32> = line.values().collect();
    let places = numbers(&expected["at"]);
    for (place, reference) in places.chunks(3).zip(numbers(&expected["values"])) {
        let [channel, row, column] = [place[0] as usize, place[1] as usize, place[2] as usize];
        let ours = values[(channel * 48 + row) * width + column];
        // Two steps of 255 and the rounding between two interpolations.
        assert!((ours - reference).abs() < 0.04, "{place:?}: {ours} {reference}");
    }
}

#[test]
fn a_code_is_read_where_it_stands() {
    let picture = image::open(golden("code.png")).unwrap().into_rgb8();
    let codes = qr_codes(&Page::new(&picture).unwrap());
    assert_eq!(codes.len(), 1);
    assert_eq!(codes[0].payload, "Write to jane.doe@example.com");
    let region = codes[0].region;
    // Drawn at (20, 100) with a margin of 16 pixels and 29 cells of 4 pixels.
    for (ours, drawn) in [(region.left, 36), (region.top, 116), (region.width, 116), (region.height, 116)] {
        assert!(ours.abs_diff(drawn) <= 8, "{region:?}");
    }
    let turned = image::imageops::rotate180(&picture);
    assert_eq!(qr_codes(&Page::new(&turned).unwrap())[0].payload, codes[0].payload);
}
