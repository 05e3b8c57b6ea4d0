//! Stills are written, read back and compared.

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use atelier_media::{
    Encoding, Format, Header, MediaError, Picture, StillFormat, decode, decode_rgba, encode,
};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;

const FORMATS: [StillFormat; 4] = [StillFormat::Png, StillFormat::WebP, StillFormat::Jpeg, StillFormat::Avif];

/// Soft shapes with one hard edge.
fn scene(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |phase: f32| {
            let angle = (x as f32 * 0.07 + phase).sin() + (y as f32 * 0.05 - phase).cos();
            (127.0 + 60.0 * angle) as u8
        };
        if x > y * 2 { Rgb([wave(0.0), wave(1.0), wave(2.0)]) } else { Rgb([wave(2.0), 40, wave(0.5)]) }
    })
}

fn with_alpha(picture: &RgbImage) -> RgbaImage {
    RgbaImage::from_fn(picture.width(), picture.height(), |x, y| {
        let Rgb([red, green, blue]) = *picture.get_pixel(x, y);
        Rgba([red, green, blue, (x * 3 + y).min(255) as u8])
    })
}

fn written(picture: impl Into<Picture>, format: StillFormat, quality: u8) -> Vec<u8> {
    encode(&picture.into(), &Encoding { format, quality }).expect("picture is encoded")
}

fn header(file: &[u8]) -> Header {
    Header::read(file).expect("header is read")
}

/// Peak signal-to-noise ratio in dB.
fn psnr(ours: &[u8], theirs: &[u8]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let error = ours.iter().zip(theirs).map(square).sum::<f64>() / ours.len() as f64;
    10.0 * (255.0 * 255.0 / error).log10()
}

#[test]
fn png_and_webp_of_quality_100_are_lossless() {
    let picture = scene(61, 35);
    let clear = with_alpha(&picture);
    for (format, read_as) in [(StillFormat::Png, Format::Png), (StillFormat::WebP, Format::WebP)] {
        let file = written(picture.clone(), format, 100);
        assert_eq!(header(&file), Header { format: read_as, width: 61, height: 35 });
        assert_eq!(decode(&file, &header(&file)).unwrap(), picture);
        let file = written(clear.clone(), format, 100);
        assert_eq!(decode_rgba(&file, &header(&file)).unwrap(), clear);
    }
}

#[test]
fn lossy_pictures_are_close_and_better_where_more_is_asked() {
    let picture = scene(200, 120);
    for format in [StillFormat::WebP, StillFormat::Jpeg] {
        let at = |quality| {
            let file = written(picture.clone(), format, quality);
            let read = decode(&file, &header(&file)).unwrap();
            (file.len(), psnr(&read, &picture))
        };
        let (coarse, middle, fine) = (at(10), at(75), at(95));
        assert!(coarse.0 < middle.0 && middle.0 < fine.0, "{format:?}: {coarse:?} {middle:?} {fine:?}");
        assert!(coarse.1 < middle.1 && middle.1 < fine.1, "{format:?}: {coarse:?} {middle:?} {fine:?}");
        assert!(middle.1 > 31.0 && fine.1 > 33.0, "{format:?}: {middle:?} {fine:?}");
    }
}

#[test]
fn lossy_webp_keeps_alpha() {
    let clear = with_alpha(&scene(80, 50));
    let file = written(clear.clone(), StillFormat::WebP, 80);
    let read = decode_rgba(&file, &header(&file)).unwrap();
    // Alpha has a channel of its own, which is lossless.
    assert!(read.pixels().zip(clear.pixels()).all(|(ours, theirs)| ours.0[3] == theirs.0[3]));
}

#[test]
fn jpeg_refuses_alpha() {
    let clear = with_alpha(&scene(8, 8)).into();
    let refused = encode(&clear, &Encoding { format: StillFormat::Jpeg, quality: 90 });
    assert!(matches!(refused, Err(MediaError::Alpha("JPEG"))));
}

/// Type and body of the boxes at one level (ISO/IEC 14496-12, section 4.2).
fn boxes(mut data: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let size = u32::from_be_bytes(data[..4].try_into().expect("four bytes")) as usize;
        found.push((&data[4..8], &data[8..size]));
        data = &data[size..];
    }
    found
}

#[test]
fn avif_is_a_box_structure_with_its_items_in_place() {
    let picture = scene(33, 47);
    for (file, items) in [
        (written(picture.clone(), StillFormat::Avif, 80), 1),
        (written(with_alpha(&picture), StillFormat::Avif, 80), 2),
    ] {
        let top = boxes(&file);
        let names: Vec<_> = top.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [b"ftyp", b"meta", b"mdat"]);
        assert_eq!(&top[0].1[..4], b"avif");
        let meta = boxes(&top[1].1[4..]);
        let find = |name| meta.iter().find(|(found, _)| *found == name).expect("box is there").1;
        assert_eq!(u16::from_be_bytes([find(b"iinf")[4], find(b"iinf")[5]]), items);
        let properties = boxes(boxes(find(b"iprp"))[0].1);
        let extents = properties.iter().find(|(name, _)| name == b"ispe").expect("has a size").1;
        assert_eq!(extents[4..], [33_u32.to_be_bytes(), 47_u32.to_be_bytes()].concat());
        // Sequence header first (AV1, section 5.3).
        assert_eq!(top[2].1[0], 0x0a);
    }
}

#[test]
fn avif_is_better_where_more_is_asked() {
    let picture = scene(96, 64);
    let sizes = [20, 50, 80, 95].map(|quality| written(picture.clone(), StillFormat::Avif, quality).len());
    assert!(sizes.is_sorted(), "{sizes:?}");
}

#[test]
fn qualities_and_sizes_are_checked() {
    let picture = Picture::from(RgbImage::new(2, 2));
    for format in FORMATS {
        for quality in [0, 101, 255] {
            let refused = encode(&picture, &Encoding { format, quality });
            assert!(matches!(refused, Err(MediaError::Quality(got)) if got == quality));
        }
        let empty = encode(&RgbImage::new(0, 7).into(), &Encoding { format, quality: 90 });
        assert!(matches!(empty, Err(MediaError::Size { width: 0, height: 7, .. })));
    }
    let long = encode(&RgbImage::new(16_384, 1).into(), &Encoding { format: StillFormat::WebP, quality: 90 });
    assert!(matches!(long, Err(MediaError::Size { max_side: 16_383, .. })));
    let long = RgbImage::new(65_536, 1).into();
    for format in [StillFormat::Jpeg, StillFormat::Avif] {
        let refused = encode(&long, &Encoding { format, quality: 90 });
        assert!(matches!(refused, Err(MediaError::Size { max_side: 65_535, .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_size_is_written_and_read(
        width in 1_u32..40,
        height in 1_u32..40,
        quality in 1_u8..=100,
        noise in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            Rgb(std::array::from_fn(|channel| noise[(x as usize * 7 + y as usize * 13 + channel) % noise.len()]))
        });
        let clear = with_alpha(&picture);
        for format in FORMATS {
            let file = written(picture.clone(), format, quality);
            if format != StillFormat::Avif {
                prop_assert_eq!(decode(&file, &header(&file)).unwrap().dimensions(), (width, height));
            }
            if format.has_alpha() {
                let file = written(clear.clone(), format, quality);
                if format != StillFormat::Avif {
                    prop_assert_eq!(decode_rgba(&file, &header(&file)).unwrap().dimensions(), (width, height));
                }
            }
        }
    }
}
