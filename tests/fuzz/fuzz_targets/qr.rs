//! On any pixels the search for QR codes ends, and what it finds stands within the picture. Input: the width in fields, pixels of a
//! field's side, then light and dark, a bit a field: so a code of some twenty fields is within reach of a fuzzer.

#![no_main]

use atelier_ocr::{MAX_QR_CODES, Page, qr_codes};
use image::{Rgb, RgbImage};
use libfuzzer_sys::fuzz_target;

/// Fields of a picture; those of the largest code are 177 x 177.
const MOST_FIELDS: usize = 32_768;

fuzz_target!(|data: &[u8]| {
    let [across, side, bits @ ..] = data else { return };
    let (across, side) = (usize::from(*across) + 1, u32::from(*side % 6) + 1);
    let fields = (bits.len() * 8).min(MOST_FIELDS);
    let down = fields / across;
    if down == 0 {
        return;
    }
    let picture = RgbImage::from_fn(across as u32 * side, down as u32 * side, |x, y| {
        let field = (y / side) as usize * across + (x / side) as usize;
        Rgb([if bits[field / 8] >> (field % 8) & 1 == 0 { 255 } else { 0 }; 3])
    });
    let codes = qr_codes(&Page::new(&picture).expect("a picture with pixels"));
    assert!(codes.len() <= MAX_QR_CODES);
    for code in codes {
        let region = code.region;
        assert!(region.left + region.width <= picture.width() && region.top + region.height <= picture.height());
    }
});
