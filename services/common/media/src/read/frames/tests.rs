use std::sync::Arc;

use image::{
    Delay, DynamicImage, ImageFormat, Rgb, Rgba, RgbaImage,
    codecs::gif::{GifEncoder, Repeat},
};
use proptest::prelude::*;

use super::*;
use crate::{ClipConfig, ClipFormat, ClipWriter};

const SIDE: u32 = 24;

fn plain(level: u8) -> RgbImage {
    RgbImage::from_pixel(SIDE, SIDE, Rgb([level, level / 2, 255 - level]))
}

fn read(data: &[u8]) -> Result<Vec<Frame>, PictureError> {
    frames(data, &Header::read(data)?).collect()
}

fn clip(format: ClipFormat, levels: &[u8]) -> Vec<u8> {
    let config = ClipConfig { format, width: SIDE, height: SIDE, frames_per_second: 10, quality: 90 };
    let mut writer = ClipWriter::new(config).unwrap();
    levels.iter().for_each(|level| writer.push(&plain(*level)).unwrap());
    writer.finish().unwrap()
}

/// A GIF whose frames ask for these delays, in milliseconds.
fn gif_of(frames: impl IntoIterator<Item = (RgbaImage, u32)>) -> Vec<u8> {
    let mut data = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut data, 30);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for (picture, delay) in frames {
        let delay = Delay::from_numer_denom_ms(delay, 1);
        encoder.encode_frame(image::Frame::from_parts(picture, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    data
}

/// An animated PNG with these frames, each shown for so many milliseconds; `apart` is shown where it can't move.
fn apng(apart: Option<&RgbImage>, frames: &[(RgbImage, u16)]) -> Vec<u8> {
    let chunk = |name: &[u8; 4], body: &[u8]| {
        let named = [name.as_slice(), body].concat();
        let crc = !named.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &named, &crc.to_be_bytes()].concat()
    };
    // The compressed pixels of a picture, all in one chunk, and the header.
    let coded = |picture: &RgbImage| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let bytes = bytes.into_inner();
        let at = bytes.windows(4).position(|name| name == b"IDAT").unwrap();
        let length = u32::from_be_bytes(*bytes[at - 4..].first_chunk().unwrap()) as usize;
        (bytes[16..29].to_vec(), bytes[at + 4..at + 4 + length].to_vec())
    };
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(b"IHDR", &coded(&frames[0].0).0));
    file.extend(chunk(b"acTL", &[u32::try_from(frames.len()).unwrap().to_be_bytes(), [0; 4]].concat()));
    if let Some(apart) = apart {
        file.extend(chunk(b"IDAT", &coded(apart).1));
    }
    let mut sequence = 0_u32;
    let mut number = || {
        sequence += 1;
        (sequence - 1).to_be_bytes()
    };
    for (n, (picture, delay)) in frames.iter().enumerate() {
        let side = SIDE.to_be_bytes();
        let times = [delay.to_be_bytes(), 1000_u16.to_be_bytes()].concat();
        file.extend(chunk(b"fcTL", &[&number()[..], &side, &side, &[0; 8], &times, &[0, 0]].concat()));
        let pixels = coded(picture).1;
        match n == 0 && apart.is_none() {
            true => file.extend(chunk(b"IDAT", &pixels)),
            false => file.extend(chunk(b"fdAT", &[&number()[..], &pixels].concat())),
        }
    }
    file.extend(chunk(b"IEND", &[]));
    file
}

fn close(frame: &Frame, level: u8) -> bool {
    let (ours, theirs) = (frame.picture.get_pixel(5, 7).0, plain(level).get_pixel(5, 7).0);
    ours.iter().zip(theirs).all(|(ours, theirs)| ours.abs_diff(theirs) <= 4)
}

#[test]
fn frames_come_in_order_with_their_times() {
    let levels = [10, 90, 200, 40];
    for format in [ClipFormat::Gif, ClipFormat::WebP] {
        let frames = read(&clip(format, &levels)).unwrap();
        let times: Vec<_> = frames.iter().map(|frame| frame.time_ms).collect();
        assert_eq!(times, [0, 100, 200, 300], "{format:?}");
        assert!(frames.iter().zip(levels).all(|(frame, level)| close(frame, level)), "{format:?}");
    }
    let moving = apng(None, &[(plain(10), 40), (plain(90), 40), (plain(200), 40)]);
    let frames = read(&moving).unwrap();
    assert_eq!(frames.iter().map(|frame| frame.time_ms).collect::<Vec<_>>(), [0, 40, 80]);
    assert_eq!(frames[2].picture, plain(200));
}

#[test]
fn a_picture_apart_from_the_animation_comes_first() {
    let frames = read(&apng(Some(&plain(250)), &[(plain(10), 40), (plain(90), 40)])).unwrap();
    let seen: Vec<_> =
        frames.iter().map(|frame| (frame.time_ms, frame.picture.get_pixel(0, 0).0[0])).collect();
    assert_eq!(seen, [(0, 250), (0, 10), (40, 90)]);
}

#[test]
fn what_does_not_move_is_one_frame() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp]
    {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(plain(90)).write_to(&mut bytes, format).unwrap();
        let frames = read(bytes.get_ref()).unwrap();
        assert_eq!((frames.len(), frames[0].time_ms), (1, 0), "{format:?}");
        assert!(close(&frames[0], 90), "{format:?}");
    }
}

#[test]
fn hurried_frames_last_as_long_as_browsers_show_them() {
    let opaque = |level| DynamicImage::from(plain(level)).into_rgba8();
    let frames =
        read(&gif_of([(opaque(1), 0), (opaque(90), 10), (opaque(200), 20), (opaque(9), 0)])).unwrap();
    assert_eq!(frames.iter().map(|frame| frame.time_ms).collect::<Vec<_>>(), [0, 100, 200, 220]);
}

#[test]
fn frames_are_laid_over_those_before_and_on_white() {
    let dot = |x| {
        let mut picture = RgbaImage::new(SIDE, SIDE);
        picture.put_pixel(x, 0, Rgba([0, 0, 0, 255]));
        picture
    };
    let mut data = Vec::new();
    let side = u16::try_from(SIDE).unwrap();
    let mut encoder = gif::Encoder::new(&mut data, side, side, &[]).unwrap();
    for x in [0, 1] {
        // What a frame leaves is kept for the next.
        encoder.write_frame(&gif::Frame::from_rgba(side, side, &mut dot(x).into_raw())).unwrap();
    }
    drop(encoder);
    let frames = read(&data).unwrap();
    let row = |frame: &Frame| [0, 1, 2].map(|x| frame.picture.get_pixel(x, 0).0[0]);
    assert_eq!((row(&frames[0]), row(&frames[1])), ([0, 255, 255], [0, 0, 255]));
}

#[test]
fn frames_and_pixels_are_bounded() {
    let dot = || RgbaImage::from_pixel(1, 1, Rgba([9, 9, 9, 255]));
    let data = gif_of((0..=MAX_FRAMES).map(|_| (dot(), 20)));
    let header = Header::read(&data).unwrap();
    let mut all = frames(&data, &header);
    assert_eq!(all.by_ref().take(MAX_FRAMES as usize).filter(Result::is_ok).count(), MAX_FRAMES as usize);
    assert!(matches!(all.next(), Some(Err(PictureError::TooManyFrames))) && all.next().is_none());

    let data = clip(ClipFormat::Gif, &[10, 90, 200]);
    let mut all = frames(&data, &Header::read(&data).unwrap());
    all.most_pixels = u64::from(2 * SIDE * SIDE);
    assert!(all.next().unwrap().is_ok() && all.next().unwrap().is_ok());
    assert!(matches!(all.next(), Some(Err(PictureError::TooManyFrames))));
}

#[test]
fn a_huge_frame_on_a_small_screen_is_refused() {
    let mut bomb = clip(ClipFormat::Gif, &[10, 90]);
    let frame = bomb.windows(5).rposition(|bytes| bytes == [0x2c, 0, 0, 0, 0]).unwrap() + 5;
    bomb[frame..frame + 4].copy_from_slice(&[0xff; 4]);
    assert!(matches!(read(&bomb), Err(PictureError::Malformed { format: Format::Gif, .. })));
}

#[test]
fn a_clip_that_ends_within_a_frame_is_refused() {
    for format in [ClipFormat::Gif, ClipFormat::WebP] {
        let whole = clip(format, &[10, 90, 200]);
        assert!(
            matches!(read(&whole[..whole.len() - 30]), Err(PictureError::Malformed { .. })),
            "{format:?}"
        );
    }
}

#[test]
fn nobody_waiting_ends_the_frames() {
    let data = clip(ClipFormat::Gif, &[10, 90, 200]);
    let waiting = Arc::new(());
    let mut all = frames(&data, &Header::read(&data).unwrap()).while_waited_for(Arc::downgrade(&waiting));
    assert!(all.next().is_some());
    drop(waiting);
    assert!(all.next().is_none());
}

proptest! {
    #[test]
    fn damaged_clips_end(
        kind in 0_usize..3,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut data = match kind {
            0 => clip(ClipFormat::Gif, &[10, 90]),
            1 => clip(ClipFormat::WebP, &[10, 90]),
            _ => apng(Some(&plain(3)), &[(plain(10), 40), (plain(90), 40)]),
        };
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Ok(header) = Header::read(&data) {
            // Declared sizes that damage made large are honest work for a decoder and only slow the test.
            if header.pixels() < 1 << 20 {
                let most = frames(&data, &header).take(1000).count();
                prop_assert!(most < 1000);
            }
        }
    }
}
