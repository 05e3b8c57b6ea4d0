//! Any bytes are a picture of the size that its header declares, or an error; what models read of it has their size.

#![no_main]

use atelier_likeness::ImageQuery;
use atelier_media::{Filter, Header, decode, decode_rgba};
use atelier_moderation::image::{Preparation, Size};
use libfuzzer_sys::fuzz_target;

/// Larger pictures take longer and show nothing else.
const MOST_PIXELS: u64 = 1 << 18;

const PREPARATIONS: [Preparation; 3] = [
    Preparation { size: Size::Exact(64, 48), crop: Some((56, 40)), filter: Filter::Bilinear },
    Preparation { size: Size::ShortestEdge(32), crop: Some((40, 30)), filter: Filter::Bicubic },
    Preparation { size: Size::Exact(1, 7), crop: None, filter: Filter::Lanczos3 },
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::read(bytes) else { return };
    if header.pixels() > MOST_PIXELS {
        return;
    }
    let Ok(picture) = decode(bytes, &header) else {
        assert!(decode_rgba(bytes, &header).is_err());
        return;
    };
    // Turned, if it says so.
    let (width, height) = picture.dimensions();
    assert!([(width, height), (height, width)].contains(&(header.width, header.height)));
    let with_alpha = decode_rgba(bytes, &header).expect("it was decoded before");
    for (pixel, straight) in picture.pixels().zip(with_alpha.pixels()) {
        assert!(straight.0[3] != 255 || pixel.0 == straight.0[..3]);
    }
    for preparation in PREPARATIONS {
        let (width, height) = preparation.output().expect("all have a fixed size");
        let pixels = preparation.apply(&picture).expect("any picture can be resized");
        assert_eq!(pixels.len(), width as usize * height as usize * 3);
    }
    assert!(ImageQuery::of(&picture).is_ok());
});
