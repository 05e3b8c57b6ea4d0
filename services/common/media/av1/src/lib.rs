//! The AV1 encoder of stills and clips: planes of 8 bits in, units of the stream out.
//!
//! A crate of its own because the encoder is generic over its pixels and so is compiled here, for minutes. Nothing
//! generic leaves, so that no other crate compiles it again.

use std::fmt;

use rav1e::{
    Config, Context, EncoderConfig, EncoderStatus, InvalidConfig,
    color::{
        ChromaSamplePosition, ChromaSampling, ColorDescription, ColorPrimaries, MatrixCoefficients,
        PixelRange, TransferCharacteristics,
    },
    data::Rational,
    prelude::FrameType,
};

/// The fastest preset. Slower ones gain some per cent of size for many times the work, and a service computes
/// pictures on the same cores.
const SPEED: u8 = 10;
/// An OBU of type 2 and length 0: begins each unit of a raw stream and has no place in a file (AV1 in ISOBMFF,
/// section 2.4; AV1 in Matroska, section 3).
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];
/// An OBU of type 1 that says its length (AV1, section 5.3.2).
const SEQUENCE_HEADER: u8 = 0x0a;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Av1Error {
    /// The encoder doesn't take the size or the frame rate.
    #[error("configuration")]
    Config(#[from] InvalidConfig),
    /// The encoder failed.
    #[error("encoder: {0}")]
    Encoder(#[from] EncoderStatus),
    /// A plane is missing or has another size than the stream.
    #[error("planes don't fit the stream")]
    Planes,
}

/// One plane of a picture, row by row from the top, without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// One byte a sample.
    pub samples: &'a [u8],
    /// Samples in a row.
    pub width: usize,
}

/// What the pixels of a stream are. Colours are those of sRGB, coded with the matrix of BT.709.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One picture: luma and two planes of chroma (blue, red), all in full resolution and range.
    Still,
    /// One plane in full range: the alpha of a still.
    Alpha,
    /// Frames: luma, and two planes of chroma (blue, red) in half the resolution, rounded up, whose samples lie on the
    /// left one of two pixels and between two rows; in the range of video.
    Video {
        /// Frames a second.
        frames_per_second: u32,
    },
}

/// A stream being encoded.
pub struct Av1Encoder {
    context: Box<Context<u8>>,
    layout: Layout,
    /// Width and height in pixels.
    size: (usize, usize),
}

/// One frame to be shown, with all it needs that was not sent before.
#[derive(Debug)]
pub struct Unit {
    /// OBUs, without temporal delimiter.
    pub data: Vec<u8>,
    /// Decoding may start here.
    pub is_key: bool,
}

impl fmt::Debug for Av1Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Av1Encoder").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Av1Encoder {
    /// An encoder of pictures of this size, in pixels; `quality` is 1 to 100.
    ///
    /// # Errors
    /// A side is 0, for video less than 16, or more than 65535; the frame rate is 0.
    pub fn new((width, height): (u32, u32), layout: Layout, quality: u8) -> Result<Self, Av1Error> {
        let mut config = EncoderConfig::with_speed_preset(SPEED);
        let size = [width, height].map(|side| usize::try_from(side).unwrap_or(usize::MAX)).into();
        (config.width, config.height) = size;
        config.quantizer = quantizer(quality);
        config.pixel_range = PixelRange::Full;
        config.color_description = Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::SRGB,
            matrix_coefficients: MatrixCoefficients::BT709,
        });
        match layout {
            Layout::Still => config.chroma_sampling = ChromaSampling::Cs444,
            Layout::Alpha => {
                config.chroma_sampling = ChromaSampling::Cs400;
                config.color_description = None;
            }
            Layout::Video { frames_per_second } => {
                config.chroma_sampling = ChromaSampling::Cs420;
                config.chroma_sample_position = ChromaSamplePosition::Vertical;
                config.pixel_range = PixelRange::Limited;
                config.time_base = Rational::new(1, u64::from(frames_per_second));
            }
        }
        config.still_picture = !matches!(layout, Layout::Video { .. });
        let context = Config::new().with_encoder_config(config).new_context()?;
        Ok(Self { context: Box::new(context), layout, size })
    }

    /// Takes the next picture in and hands out what is ready; a video holds some ten back to look ahead.
    ///
    /// # Errors
    /// The planes are not those of the layout and the size, or the encoder failed.
    pub fn push(&mut self, planes: &[Plane<'_>]) -> Result<Vec<Unit>, Av1Error> {
        let mut frame = self.context.new_frame();
        if !self.fits(planes) {
            return Err(Av1Error::Planes);
        }
        for (to, from) in frame.planes.iter_mut().zip(planes) {
            to.copy_from_raw_u8(from.samples, from.width, 1);
        }
        self.context.send_frame(frame)?;
        self.ready()
    }

    /// Hands out the rest.
    ///
    /// # Errors
    /// The encoder failed.
    pub fn finish(&mut self) -> Result<Vec<Unit>, Av1Error> {
        self.context.flush();
        self.ready()
    }

    /// The AV1CodecConfigurationRecord (AV1 in ISOBMFF, section 2.3.3) of a stream that begins with this unit; none
    /// where the unit has no sequence header.
    #[must_use]
    pub fn configuration(&self, first: &Unit) -> Option<Vec<u8>> {
        let mut record = self.context.container_sequence_header();
        if let (Layout::Video { .. }, Some(sampling)) = (self.layout, record.get_mut(2)) {
            // The encoder leaves the position of chroma samples out; it must be that of the sequence header: 1.
            *sampling |= 1;
        }
        record.extend(sequence_header(&first.data)?);
        Some(record)
    }

    /// Whether these are the planes of the layout in the size of the stream.
    fn fits(&self, planes: &[Plane<'_>]) -> bool {
        let (width, height) = self.size;
        let chroma = match self.layout {
            Layout::Alpha => None,
            Layout::Still => Some((width, height)),
            Layout::Video { .. } => Some((width.div_ceil(2), height.div_ceil(2))),
        };
        let wanted = [Some((width, height)), chroma, chroma].into_iter().flatten();
        wanted
            .map(|(width, height)| (width, width * height))
            .eq(planes.iter().map(|plane| (plane.width, plane.samples.len())))
    }

    fn ready(&mut self) -> Result<Vec<Unit>, Av1Error> {
        let mut units = Vec::new();
        loop {
            match self.context.receive_packet() {
                Ok(packet) => {
                    let data = packet.data.strip_prefix(&TEMPORAL_DELIMITER).unwrap_or(&packet.data).to_vec();
                    units.push(Unit { data, is_key: packet.frame_type == FrameType::KEY });
                }
                // A frame that isn't shown: it goes out with the next one that is.
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(units),
                Err(
                    error @ (EncoderStatus::EnoughData | EncoderStatus::Failure | EncoderStatus::NotReady),
                ) => return Err(error.into()),
            }
        }
    }
}

/// The encoder's quantizer, 0 to 255: fine steps where eyes see them, coarse ones below. At 0 AV1 would be lossless
/// and much slower.
fn quantizer(quality: u8) -> usize {
    let short_of_best = 100_usize.saturating_sub(usize::from(quality));
    let quantizer =
        if short_of_best <= 20 { short_of_best * 6 } else { 120 + (short_of_best - 20) * 17 / 10 };
    quantizer.clamp(4, 255)
}

/// The sequence header OBU that a unit begins with.
fn sequence_header(unit: &[u8]) -> Option<&[u8]> {
    let [SEQUENCE_HEADER, length, ..] = unit else { return None };
    // Lengths are LEB128; one byte is enough below 128, and a sequence header has some ten.
    let length = Some(usize::from(*length)).filter(|length| *length < 0x80)?;
    unit.get(..2 + length)
}
