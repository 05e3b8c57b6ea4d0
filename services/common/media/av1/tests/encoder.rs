//! Streams are begun, fed and looked into.

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use atelier_av1::{Av1Encoder, Av1Error, Layout, Plane, Unit};

const VIDEO: Layout = Layout::Video { frames_per_second: 12 };

/// Soft waves.
fn plane(width: usize, height: usize, shift: usize) -> Vec<u8> {
    let sample = |at: usize| {
        let (x, y) = ((at % width + shift) as f32, (at / width) as f32);
        (127.0 + 50.0 * ((x * 0.3).sin() + (y * 0.2).cos())) as u8
    };
    (0..width * height).map(sample).collect()
}

fn encoded(encoder: &mut Av1Encoder, frames: usize) -> Vec<Unit> {
    let mut units = Vec::new();
    for number in 0..frames {
        let (luma, chroma) = (plane(33, 19, number), plane(17, 10, number));
        let [luma, chroma] = [Plane { samples: &luma, width: 33 }, Plane { samples: &chroma, width: 17 }];
        units.extend(encoder.push(&[luma, chroma, chroma]).expect("frame is taken"));
    }
    units.extend(encoder.finish().expect("stream ends"));
    units
}

#[test]
fn every_frame_becomes_a_unit_and_the_first_says_what_follows() {
    let mut encoder = Av1Encoder::new((33, 19), VIDEO, 80).unwrap();
    let units = encoded(&mut encoder, 30);
    assert_eq!(units.len(), 30);
    assert!(units[0].is_key);
    let configuration = encoder.configuration(&units[0]).unwrap();
    // Marker and version; profile 0 and level 31; main tier, 8 bits, 4:2:0 with samples on the left.
    assert_eq!(configuration[..4], [0x81, 31, 0b0000_1101, 0]);
    // The sequence header, and nothing that follows it.
    assert!(units[0].data.starts_with(&configuration[4..]));
    assert_eq!(configuration[4..].len(), usize::from(units[0].data[1]) + 2);
    assert_eq!(encoder.configuration(&Unit { data: vec![0x32, 0], is_key: false }), None);
    assert_eq!(encoder.configuration(&Unit { data: vec![0x0a, 9, 1], is_key: true }), None);
}

#[test]
fn more_quality_makes_more_bytes() {
    let bytes = [1, 30, 60, 80, 90, 100].map(|quality| {
        let mut encoder = Av1Encoder::new((33, 19), VIDEO, quality).unwrap();
        encoded(&mut encoder, 3).iter().map(|unit| unit.data.len()).sum::<usize>()
    });
    assert!(bytes.is_sorted(), "{bytes:?}");
}

#[test]
fn planes_of_another_size_are_refused() {
    let plane = |width: usize, height: usize| Plane { samples: &[0; 600][..width * height], width };
    let mut encoder = Av1Encoder::new((17, 19), VIDEO, 80).unwrap();
    let (luma, chroma) = (plane(17, 19), plane(9, 10));
    assert!(encoder.push(&[luma, chroma, chroma]).is_ok());
    let turned = plane(19, 17);
    for bad in [[].as_slice(), &[luma], &[luma, chroma], &[luma, chroma, luma], &[turned, chroma, chroma]] {
        assert!(matches!(encoder.push(bad), Err(Av1Error::Planes)));
    }
    assert!(matches!(Av1Encoder::new((15, 16), VIDEO, 80), Err(Av1Error::Config(_))));
}
