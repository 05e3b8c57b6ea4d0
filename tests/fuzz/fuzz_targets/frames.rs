//! Any bytes are frames of the declared size in order of time, or an error; and they end.

#![no_main]

use atelier_media::{Header, frames};
use libfuzzer_sys::fuzz_target;

/// Larger pictures are honest work for a decoder and only slow the search.
const MAX_PIXELS: u64 = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = Header::read(data) else { return };
    if header.pixels() > MAX_PIXELS {
        return;
    }
    let (mut last, mut failed) = (0, false);
    for frame in frames(data, &header) {
        assert!(!failed, "an error is the last item");
        match frame {
            Ok(frame) => {
                let (width, height) = frame.picture.dimensions();
                assert!([(width, height), (height, width)].contains(&(header.width, header.height)));
                assert!(frame.time_ms >= last);
                last = frame.time_ms;
            }
            Err(_) => failed = true,
        }
    }
});
