//! The hashes are those of Python's imagehash, and of a second implementation of winnowing (`golden/golden.py`).

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, their helpers too")]

use std::path::Path;

use atelier_likeness::{Capacity, ImageFingerprint, Index, TextFingerprint, Work, WorkId};
use image::{Rgb, RgbImage};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/golden.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_str().unwrap().parse().unwrap()).collect()
}

fn grey(width: u32, height: u32, hex: &Value) -> RgbImage {
    let hex = hex.as_str().unwrap();
    RgbImage::from_fn(width, height, |x, y| {
        let at = 2 * (y * width + x) as usize;
        Rgb([u8::from_str_radix(&hex[at..at + 2], 16).unwrap(); 3])
    })
}

#[test]
fn hashes_without_resizing_are_equal_bit_for_bit() {
    let golden = golden();
    let drawings = golden["drawings"].as_array().unwrap();
    assert_eq!(drawings.len(), 8);
    for drawing in drawings {
        let square = ImageFingerprint::of(&grey(32, 32, &drawing["square"])).unwrap();
        assert_eq!(square.perceptual[..], numbers(&drawing["perceptual"]));
        let wide = ImageFingerprint::of(&grey(17, 16, &drawing["wide"])).unwrap();
        assert_eq!(wide.difference[..], numbers(&drawing["difference"]));
    }
}

/// The reference shrinks pictures with Lanczos' filter and reads JPEG with another library; we take means over areas.
/// Seen: 20 to 48 bits of 512, and 67 for noise; unrelated pictures are some 256 apart.
#[test]
fn hashes_of_whole_pictures_are_near() {
    let golden = golden();
    let photographs = golden["photographs"].as_array().unwrap();
    assert_eq!(photographs.len(), 5);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for photograph in photographs {
        let path = photograph["path"].as_str().unwrap();
        let ours = ImageFingerprint::of(&image::open(root.join(path)).unwrap().to_rgb8()).unwrap();
        let four = |value: &Value| numbers(value).try_into().unwrap();
        let theirs = ImageFingerprint {
            perceptual: four(&photograph["perceptual"]),
            difference: four(&photograph["difference"]),
            flat: false,
        };
        let distance = ours.distance(&theirs).unwrap();
        println!("{path}: {distance}");
        assert!(distance <= 80, "{path}: {distance}");
    }
}

#[test]
fn texts_have_the_hashes_of_the_second_implementation() {
    let golden = golden();
    let texts = golden["texts"].as_array().unwrap();
    assert_eq!(texts.len(), 5);
    for text in texts {
        let expected = numbers(&text["hashes"]);
        let fingerprint = TextFingerprint::of(text["text"].as_str().unwrap());
        assert_eq!(fingerprint.len(), expected.len());
        let mut index = Index::new(Capacity::default());
        if index.add(WorkId(1), Work { text: fingerprint, ..Work::default() }).is_err() {
            assert!(expected.is_empty());
            continue;
        }
        // The hashes end the file, before the checksum.
        let mut file = Vec::new();
        index.write_to(&mut file).unwrap();
        let hashes = &file[file.len() - 32 - 8 * expected.len()..file.len() - 32];
        let hashes: Vec<u64> = hashes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        assert_eq!(hashes, expected);
    }
}
