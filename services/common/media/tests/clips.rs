//! Clips are written, taken apart and, where a decoder is at hand, compared.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

#[path = "clips/boxes.rs"]
mod boxes;
#[path = "clips/ebml.rs"]
mod ebml;

use std::{io::Cursor, time::Duration};

use atelier_media::{ClipConfig, ClipFormat, ClipWriter, MediaError};
use image::{
    AnimationDecoder, Rgb, RgbImage,
    codecs::{gif::GifDecoder, webp::WebPDecoder},
};
use proptest::prelude::*;

const FORMATS: [ClipFormat; 4] = [ClipFormat::WebP, ClipFormat::Gif, ClipFormat::Mp4, ClipFormat::WebM];

fn config(format: ClipFormat, width: u32, height: u32) -> ClipConfig {
    ClipConfig { format, width, height, frames_per_second: 12, quality: 80 }
}

/// A bright square that moves over soft ground.
fn frame(config: ClipConfig, number: u32) -> RgbImage {
    RgbImage::from_fn(config.width, config.height, |x, y| {
        let inside = |at: u32| (number..number + 8).contains(&at);
        if inside(x) && inside(y) { Rgb([220; 3]) } else { Rgb([60 + x as u8, 90 + y as u8 / 2, 120]) }
    })
}

fn clip(config: ClipConfig, frames: u32) -> Vec<u8> {
    let mut writer = ClipWriter::new(config).expect("configuration is taken");
    for number in 0..frames {
        writer.push(&frame(config, number)).expect("frame is encoded");
    }
    assert_eq!(writer.frames(), frames);
    writer.finish().expect("file is completed")
}

/// Peak signal-to-noise ratio in dB.
fn psnr(ours: &[u8], theirs: &[u8]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let error = ours.iter().zip(theirs).map(square).sum::<f64>() / ours.len() as f64;
    10.0 * (255.0 * 255.0 / error).log10()
}

fn decoded(file: &[u8], format: ClipFormat) -> Vec<(RgbImage, Duration)> {
    let frames = match format {
        ClipFormat::WebP => WebPDecoder::new(Cursor::new(file)).expect("is WebP").into_frames(),
        ClipFormat::Gif => GifDecoder::new(Cursor::new(file)).expect("is GIF").into_frames(),
        ClipFormat::Mp4 | ClipFormat::WebM => panic!("no decoder at hand"),
    };
    let frames = frames.collect_frames().expect("frames are whole");
    let picture = |frame: image::Frame| {
        let delay = frame.delay().into();
        (image::DynamicImage::from(frame.into_buffer()).into_rgb8(), delay)
    };
    frames.into_iter().map(picture).collect()
}

#[test]
fn animations_show_the_frames_that_were_pushed() {
    for (format, least) in [(ClipFormat::WebP, 33.0), (ClipFormat::Gif, 31.0)] {
        let config = config(format, 47, 31);
        let frames = decoded(&clip(config, 13), format);
        assert_eq!(frames.len(), 13, "{format:?}");
        for (number, (shown, _)) in (0..).zip(&frames) {
            assert_eq!(shown.dimensions(), (47, 31));
            let ratio = psnr(shown, &frame(config, number));
            assert!(ratio > least, "{format:?}, frame {number}: {ratio} dB");
        }
    }
}

#[test]
fn animations_last_as_long_as_their_frames() {
    for (format, frames_per_second, seconds) in [
        (ClipFormat::WebP, 12, 1.0),
        (ClipFormat::WebP, 60, 0.2),
        (ClipFormat::Gif, 12, 1.0),
        (ClipFormat::Gif, 50, 0.24),
    ] {
        let config = ClipConfig { frames_per_second, ..config(format, 9, 9) };
        let frames = decoded(&clip(config, 12), format);
        let lasts: Duration = frames.iter().map(|(_, delay)| *delay).sum();
        assert!((lasts.as_secs_f64() - seconds).abs() < 1e-6, "{format:?} {frames_per_second}: {lasts:?}");
    }
    // Faster than players show GIF: all delays are the shortest.
    let config = ClipConfig { frames_per_second: 60, ..config(ClipFormat::Gif, 9, 9) };
    let frames = decoded(&clip(config, 6), ClipFormat::Gif);
    assert!(frames.iter().all(|(_, delay)| *delay == Duration::from_millis(20)));
}

#[test]
fn animations_repeat_for_ever() {
    let webp = clip(config(ClipFormat::WebP, 5, 5), 2);
    let at = webp.windows(4).position(|name| name == b"ANIM").expect("has the chunk");
    assert_eq!(webp[at + 12..at + 14], [0, 0]);
    let gif = clip(config(ClipFormat::Gif, 5, 5), 2);
    let at = gif.windows(11).position(|name| name == b"NETSCAPE2.0").expect("has the extension");
    assert_eq!(gif[at + 11..at + 15], [3, 1, 0, 0]);
}

/// What a file says of its frames, whatever the container.
#[derive(Debug, PartialEq)]
struct Video {
    size: (u64, u64),
    /// In seconds.
    duration: f64,
    configuration: Vec<u8>,
    samples: Vec<(Vec<u8>, bool)>,
}

fn mp4(file: &[u8]) -> Video {
    let find = |path: &[&[u8; 4]]| boxes::find(file, path);
    let names: Vec<_> = boxes::children(file).map(|(name, _)| name).collect();
    assert_eq!(names, [b"ftyp", b"moov", b"mdat"], "the index comes first");
    let movie = find(&[b"moov", b"mvhd"]);
    let table = |name: &[u8; 4]| find(&[b"moov", b"trak", b"mdia", b"minf", b"stbl", name]);
    let entry = &table(b"stsd")[16..];
    let u16_at = |at: usize| u64::from(u16::from_be_bytes([entry[at], entry[at + 1]]));
    // The fields of a visual sample entry take 78 bytes.
    let configuration = boxes::find(&entry[78..], &[b"av1C"]).to_vec();
    let keys = boxes::numbers(&table(b"stss")[8..]);
    let sizes = boxes::numbers(&table(b"stsz")[12..]);
    let mut place = boxes::numbers(&table(b"stco")[8..])[0] as usize;
    let samples = (1..).zip(sizes).map(|(number, size)| {
        let sample = file[place..place + size as usize].to_vec();
        place += size as usize;
        (sample, keys.contains(&number))
    });
    let samples = samples.collect();
    assert_eq!(place, file.len(), "samples fill the file to its end");
    let [scale, length] = boxes::numbers(&movie[12..20])[..] else { panic!("two numbers") };
    Video {
        size: (u16_at(24), u16_at(26)),
        duration: f64::from(length) / f64::from(scale),
        configuration,
        samples,
    }
}

fn webm(file: &[u8]) -> Video {
    let file = ebml::children(file);
    let segment = ebml::children(ebml::find(&file, 0x1853_8067));
    let info = ebml::children(ebml::find(&segment, 0x1549_a966));
    let duration = ebml::find(&info, 0x4489).try_into().map(f64::from_be_bytes).expect("eight bytes");
    let track = ebml::children(ebml::find(&ebml::children(ebml::find(&segment, 0x1654_ae6b)), 0xae));
    let video = ebml::children(ebml::find(&track, 0xe0));
    let clusters = segment.iter().filter(|(id, ..)| *id == 0x1f43_b675);
    let samples = clusters.flat_map(|(_, _, body)| ebml::children(body)).filter(|(id, ..)| *id == 0xa3);
    let samples = samples.map(|(_, _, block)| (block[4..].to_vec(), block[3] & 0x80 != 0));
    Video {
        size: (ebml::number(ebml::find(&video, 0xb0)), ebml::number(ebml::find(&video, 0xba))),
        duration: duration / 1000.0,
        configuration: ebml::find(&track, 0x63a2).to_vec(),
        samples: samples.collect(),
    }
}

/// Types of the OBUs of a sample, which all say their lengths (AV1, section 5.3).
fn obus(mut sample: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [header, rest @ ..] = sample {
        assert_eq!(header & 0b1000_0111, 0b10, "no extension, a length, nothing reserved");
        types.push(header >> 3);
        let (length, bytes) = boxes::leb128(rest);
        sample = &rest[bytes + length..];
    }
    types
}

#[test]
fn videos_hold_the_stream_and_say_what_it_is() {
    const SEQUENCE_HEADER: u8 = 1;
    const TEMPORAL_DELIMITER: u8 = 2;

    for (width, height, frames) in [(48, 32, 25), (33, 17, 2), (16, 16, 1)] {
        let [ours, same] = [
            mp4(&clip(config(ClipFormat::Mp4, width, height), frames)),
            webm(&clip(config(ClipFormat::WebM, width, height), frames)),
        ];
        assert_eq!(ours.samples.len(), frames as usize);
        assert_eq!(ours.size, (u64::from(width), u64::from(height)));
        assert!((ours.duration - f64::from(frames) / 12.0).abs() < 1e-9, "{}", ours.duration);
        assert!((ours.duration - same.duration).abs() < 1e-3, "{}", same.duration);
        assert_eq!((&ours.samples, &ours.configuration), (&same.samples, &same.configuration));
        assert!(ours.samples[0].1, "the first sample is a key");
        // Marker and version; profile 0 and level 31; main tier, 8 bits, 4:2:0 with samples on the left.
        assert_eq!(ours.configuration[..4], [0x81, 31, 0b0000_1101, 0]);
        for (sample, is_key) in &ours.samples {
            let types = obus(sample);
            assert!(!types.contains(&TEMPORAL_DELIMITER));
            assert_eq!(types[0] == SEQUENCE_HEADER, *is_key, "{types:?}");
        }
        assert!(ours.samples[0].0.starts_with(&ours.configuration[4..]), "the same sequence header");
    }
}

#[test]
fn long_videos_are_cut_in_clusters_that_the_index_points_at() {
    let config = ClipConfig { frames_per_second: 1, ..config(ClipFormat::WebM, 16, 16) };
    let file = clip(config, 13);
    let file = ebml::children(&file);
    let segment = ebml::children(ebml::find(&file, 0x1853_8067));
    let clusters: Vec<_> = segment.iter().filter(|(id, ..)| *id == 0x1f43_b675).collect();
    let begins = |(_, _, body): &&(u32, usize, &[u8])| ebml::number(ebml::find(&ebml::children(body), 0xe7));
    assert_eq!(clusters.iter().map(begins).collect::<Vec<_>>(), [0, 5000, 10_000]);
    let point = ebml::children(ebml::find(&ebml::children(ebml::find(&segment, 0x1c53_bb6b)), 0xbb));
    let place = ebml::children(ebml::find(&point, 0xb7));
    assert_eq!(ebml::number(ebml::find(&point, 0xb3)), 0);
    assert_eq!(ebml::number(ebml::find(&place, 0xf1)), clusters[0].1 as u64);
}

#[test]
fn what_can_not_be_is_refused() {
    let good = config(ClipFormat::Mp4, 32, 32);
    for format in FORMATS {
        let good = ClipConfig { format, ..good };
        let refused = |config| ClipWriter::new(config).map(|_| ()).unwrap_err();
        assert!(matches!(refused(ClipConfig { width: 0, ..good }), MediaError::Size { .. }));
        assert!(matches!(refused(ClipConfig { height: 65_536, ..good }), MediaError::Size { .. }));
        assert!(matches!(refused(ClipConfig { quality: 0, ..good }), MediaError::Quality(0)));
        assert!(matches!(refused(ClipConfig { quality: 101, ..good }), MediaError::Quality(101)));
        assert!(matches!(refused(ClipConfig { frames_per_second: 0, ..good }), MediaError::FrameRate(0)));
        assert!(matches!(refused(ClipConfig { frames_per_second: 61, ..good }), MediaError::FrameRate(61)));
        let mut writer = ClipWriter::new(good).unwrap();
        assert!(matches!(writer.push(&RgbImage::new(32, 31)), Err(MediaError::Unequal { height: 31, .. })));
        assert!(matches!(writer.finish(), Err(MediaError::Nothing("clip"))));
    }
    for format in [ClipFormat::Mp4, ClipFormat::WebM] {
        let small = ClipWriter::new(ClipConfig { format, height: 15, ..good });
        assert!(matches!(small, Err(MediaError::Size { min_side: 16, .. })));
    }
    let wide = ClipWriter::new(config(ClipFormat::WebP, 16_384, 2));
    assert!(matches!(wide, Err(MediaError::Size { max_side: 16_383, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_clip_is_written(
        width in 1_u32..40,
        height in 1_u32..40,
        frames in 1_u32..14,
        quality in 1_u8..=100,
        frames_per_second in 1_u32..=60,
        noise in proptest::collection::vec(any::<u8>(), 64),
    ) {
        for format in FORMATS {
            let least = if matches!(format, ClipFormat::Mp4 | ClipFormat::WebM) { 16 } else { 1 };
            let (width, height) = (width.max(least), height.max(least));
            let config = ClipConfig { format, width, height, frames_per_second, quality };
            let mut writer = ClipWriter::new(config).unwrap();
            for number in 0..frames {
                let at = |x, y, channel| noise[((x * 7 + y * 13 + number * 3) as usize + channel) % noise.len()];
                let frame = RgbImage::from_fn(width, height, |x, y| Rgb(std::array::from_fn(|c| at(x, y, c))));
                writer.push(&frame).unwrap();
            }
            let file = writer.finish().unwrap();
            let found = match format {
                ClipFormat::WebP | ClipFormat::Gif => decoded(&file, format).len(),
                ClipFormat::Mp4 => mp4(&file).samples.len(),
                ClipFormat::WebM => webm(&file).samples.len(),
            };
            prop_assert_eq!(found, frames as usize);
        }
    }
}
