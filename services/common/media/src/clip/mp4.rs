//! MP4 with one track of AV1: the ISO base media file format (ISO/IEC 14496-12) as "AV1 Codec ISO Media File Format
//! Binding" (AOM, 1.2) uses it.
//!
//! The file is `ftyp`, `moov`, `mdat`. All samples lie in one chunk and last equally long, so the tables are short.

use super::ClipConfig;
use crate::error::MediaError;

/// Ticks of a frame; frame rates are whole, so any number would do, and players expect many.
const TICKS_PER_FRAME: u32 = 1000;
/// The track is enabled and part of the presentation (14496-12, 8.3.2).
const ENABLED_IN_MOVIE: u32 = 3;
/// The media lies in this very file (8.7.2).
const SELF_CONTAINED: u32 = 1;
/// Neither rotated nor scaled (8.2.2); numbers of 16.16 and 2.30 bits.
const IDENTITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Packed letters of "und": no language (8.4.2).
const NO_LANGUAGE: u16 = 0x55c4;
/// 72 dots an inch, in 16.16 bits: what all files say (12.1.3).
const RESOLUTION: u32 = 72 << 16;
/// Colours with 8 bits each, no alpha (12.1.3).
const DEPTH: u16 = 0x18;
/// Code points of ITU-T H.273: primaries of BT.709, curve of sRGB, matrix of BT.709; then: not the full range.
const COLOURS: [u8; 7] = [0, 1, 0, 13, 0, 1, 0];

#[derive(Debug)]
pub(super) struct Mp4 {
    config: ClipConfig,
    sizes: Vec<u32>,
    /// Numbers of the samples at which decoding may start, from 1.
    keys: Vec<u32>,
    data: Vec<u8>,
}

impl Mp4 {
    pub(super) fn new(config: ClipConfig) -> Self {
        Self { config, sizes: Vec::new(), keys: Vec::new(), data: Vec::new() }
    }

    /// Adds a sample: the OBUs of one shown frame, without temporal delimiter (AV1 in ISOBMFF, section 2.4).
    pub(super) fn push(&mut self, sample: &[u8], is_key: bool) {
        // Lengths and numbers that don't fit are found at the end, where the whole must.
        self.sizes.push(u32::try_from(sample.len()).unwrap_or(u32::MAX));
        if is_key {
            self.keys.push(u32::try_from(self.sizes.len()).unwrap_or(u32::MAX));
        }
        self.data.extend(sample);
    }

    /// The file; `configuration` is the AV1CodecConfigurationRecord.
    pub(super) fn finish(self, configuration: &[u8]) -> Result<Vec<u8>, MediaError> {
        const HEADER: usize = 8;

        let too_long = |_| MediaError::TooLong("MP4");
        let count = u32::try_from(self.sizes.len()).map_err(too_long)?;
        let duration = count.checked_mul(TICKS_PER_FRAME).ok_or(MediaError::TooLong("MP4"))?;
        let kinds = boxed(b"ftyp", &[b"isom", &u32be(&[512]), b"isom", b"iso2", b"av01", b"mp41"]);
        // The place of the samples has a fixed width, so it doesn't move what follows it.
        let length = self.movie(duration, count, 0, configuration).len();
        let samples = kinds.len() + length + HEADER;
        let end = samples + self.data.len();
        u32::try_from(end).map_err(too_long)?;
        let samples = u32::try_from(samples).map_err(too_long)?;
        let movie = self.movie(duration, count, samples, configuration);
        let mut file = Vec::with_capacity(end);
        file.extend(kinds);
        file.extend(movie);
        file.extend(u32::try_from(HEADER + self.data.len()).map_err(too_long)?.to_be_bytes());
        file.extend(b"mdat");
        file.extend(self.data);
        Ok(file)
    }

    fn movie(&self, duration: u32, count: u32, samples: u32, configuration: &[u8]) -> Vec<u8> {
        let ClipConfig { width, height, frames_per_second, .. } = self.config;
        // Times of creation and change are left at 0: the same frames make the same file.
        let times = u32be(&[0, 0, frames_per_second * TICKS_PER_FRAME, duration]);
        let rate_and_volume = [&0x1_0000_u32.to_be_bytes()[..], &0x100_u16.to_be_bytes(), &[0; 10]].concat();
        let header = full(b"mvhd", 0, &[&times, &rate_and_volume, &u32be(&IDENTITY), &[0; 24], &u32be(&[2])]);
        let track = full(
            b"tkhd",
            ENABLED_IN_MOVIE,
            &[
                &u32be(&[0, 0, 1, 0, duration]),
                &[0; 16],
                &u32be(&IDENTITY),
                &u32be(&[width << 16, height << 16]),
            ],
        );
        let media = full(b"mdhd", 0, &[&times, &NO_LANGUAGE.to_be_bytes(), &[0; 2]]);
        let handler = full(b"hdlr", 0, &[&[0; 4], b"vide", &[0; 12], b"Video\0"]);
        let video = full(b"vmhd", 1, &[&[0; 8]]);
        let here = full(b"url ", SELF_CONTAINED, &[]);
        let references = boxed(b"dinf", &[&full(b"dref", 0, &[&u32be(&[1]), &here])]);
        let information =
            boxed(b"minf", &[&video, &references, &self.samples(count, samples, configuration)]);
        let track = boxed(b"trak", &[&track, &boxed(b"mdia", &[&media, &handler, &information])]);
        boxed(b"moov", &[&header, &track])
    }

    /// The tables of samples (14496-12, 8.5 to 8.7).
    fn samples(&self, count: u32, place: u32, configuration: &[u8]) -> Vec<u8> {
        let description = full(b"stsd", 0, &[&u32be(&[1]), &self.entry(configuration)]);
        let times = full(b"stts", 0, &[&u32be(&[1, count, TICKS_PER_FRAME])]);
        let keys = u32::try_from(self.keys.len()).unwrap_or(count);
        let keys = full(b"stss", 0, &[&u32be(&[keys]), &u32be(&self.keys)]);
        let chunks = full(b"stsc", 0, &[&u32be(&[1, 1, count, 1])]);
        let sizes = full(b"stsz", 0, &[&u32be(&[0, count]), &u32be(&self.sizes)]);
        let places = full(b"stco", 0, &[&u32be(&[1, place])]);
        boxed(b"stbl", &[&description, &times, &keys, &chunks, &sizes, &places])
    }

    /// The AV1SampleEntry (AV1 in ISOBMFF, section 2.2) with the configuration (2.3) and the colours (14496-12,
    /// 12.1.5).
    fn entry(&self, configuration: &[u8]) -> Vec<u8> {
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX).to_be_bytes();
        let mut compressor = [0; 32];
        compressor[..11].copy_from_slice(b"\x0aAOM Coding");
        boxed(
            b"av01",
            &[
                &[0, 0, 0, 0, 0, 0, 0, 1],
                &[0; 16],
                &side(self.config.width),
                &side(self.config.height),
                &u32be(&[RESOLUTION, RESOLUTION, 0]),
                &1_u16.to_be_bytes(),
                &compressor,
                &DEPTH.to_be_bytes(),
                &(-1_i16).to_be_bytes(),
                &boxed(b"av1C", &[configuration]),
                &boxed(b"colr", &[b"nclx", &COLOURS]),
            ],
        )
    }
}

/// A length, a name, a body (14496-12, 4.2). No box but the last one of a file can be longer than 32 bits tell.
fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut all = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    all.extend(name);
    parts.iter().for_each(|part| all.extend(*part));
    all
}

/// A box of version 0 with flags of 24 bits.
fn full(name: &[u8; 4], flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    boxed(name, &[&[&flags.to_be_bytes(), parts.concat().as_slice()].concat()])
}

fn u32be(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}
