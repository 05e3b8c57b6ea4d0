//! WebM with one track of AV1: Matroska (RFC 9559) in EBML (RFC 8794), mapped as "AV1 in Matroska" says.
//!
//! The segment is `Info`, `Tracks`, `Cues`, then the clusters; all lengths are known.

use super::{ClipConfig, beginning};

/// Timestamps are in milliseconds, as WebM wants them.
const TICKS_PER_SECOND: u32 = 1000;
const NANOSECONDS_PER_TICK: u64 = 1_000_000;
/// A cluster ends after so many milliseconds at the latest: blocks count them from its beginning in 15 bits, and
/// players hold one cluster at a time.
const MAX_CLUSTER: u64 = 5000;
/// The only track, in the coding of lengths.
const TRACK: u8 = 0x81;
/// In the flags of a block (RFC 9559, section 10.2).
const IS_KEY: u8 = 0x80;

/// Names of elements (RFC 9559, section 5).
mod id {
    pub(super) const EBML: u32 = 0x1a45_dfa3;
    pub(super) const DOC_TYPE: u32 = 0x4282;
    pub(super) const DOC_TYPE_VERSION: u32 = 0x4287;
    pub(super) const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const INFO: u32 = 0x1549_a966;
    pub(super) const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub(super) const DURATION: u32 = 0x4489;
    pub(super) const MUXING_APP: u32 = 0x4d80;
    pub(super) const WRITING_APP: u32 = 0x5741;
    pub(super) const TRACKS: u32 = 0x1654_ae6b;
    pub(super) const TRACK_ENTRY: u32 = 0xae;
    pub(super) const TRACK_NUMBER: u32 = 0xd7;
    pub(super) const TRACK_UID: u32 = 0x73c5;
    pub(super) const TRACK_TYPE: u32 = 0x83;
    pub(super) const FLAG_LACING: u32 = 0x9c;
    pub(super) const LANGUAGE: u32 = 0x22_b59c;
    pub(super) const CODEC_ID: u32 = 0x86;
    pub(super) const CODEC_PRIVATE: u32 = 0x63a2;
    pub(super) const DEFAULT_DURATION: u32 = 0x23_e383;
    pub(super) const VIDEO: u32 = 0xe0;
    pub(super) const PIXEL_WIDTH: u32 = 0xb0;
    pub(super) const PIXEL_HEIGHT: u32 = 0xba;
    pub(super) const COLOUR: u32 = 0x55b0;
    pub(super) const MATRIX_COEFFICIENTS: u32 = 0x55b1;
    pub(super) const CHROMA_SITING_HORZ: u32 = 0x55b7;
    pub(super) const CHROMA_SITING_VERT: u32 = 0x55b8;
    pub(super) const RANGE: u32 = 0x55b9;
    pub(super) const TRANSFER_CHARACTERISTICS: u32 = 0x55ba;
    pub(super) const PRIMARIES: u32 = 0x55bb;
    pub(super) const CUES: u32 = 0x1c53_bb6b;
    pub(super) const CUE_POINT: u32 = 0xbb;
    pub(super) const CUE_TIME: u32 = 0xb3;
    pub(super) const CUE_TRACK_POSITIONS: u32 = 0xb7;
    pub(super) const CUE_TRACK: u32 = 0xf7;
    pub(super) const CUE_CLUSTER_POSITION: u32 = 0xf1;
    pub(super) const CLUSTER: u32 = 0x1f43_b675;
    pub(super) const TIMESTAMP: u32 = 0xe7;
    pub(super) const SIMPLE_BLOCK: u32 = 0xa3;
}

#[derive(Debug)]
pub(super) struct WebM {
    config: ClipConfig,
    frames: u32,
    clusters: Vec<Cluster>,
}

#[derive(Debug)]
struct Cluster {
    /// In milliseconds.
    begins: u64,
    /// Decoding may start at its first block.
    is_key: bool,
    blocks: Vec<u8>,
}

impl WebM {
    pub(super) fn new(config: ClipConfig) -> Self {
        Self { config, frames: 0, clusters: Vec::new() }
    }

    /// Adds a block: the OBUs of one shown frame, without temporal delimiter.
    pub(super) fn push(&mut self, block: &[u8], is_key: bool) {
        let at = self.beginning(self.frames);
        self.frames += 1;
        let follows = |last: &&mut Cluster| !is_key && at - last.begins < MAX_CLUSTER;
        if self.clusters.last_mut().filter(follows).is_none() {
            self.clusters.push(Cluster { begins: at, is_key, blocks: Vec::new() });
        }
        let Some(cluster) = self.clusters.last_mut() else { return };
        let offset = i16::try_from(at - cluster.begins).unwrap_or(i16::MAX).to_be_bytes();
        let flags = if is_key { IS_KEY } else { 0 };
        element(&mut cluster.blocks, id::SIMPLE_BLOCK, &[&[TRACK], &offset, &[flags], block]);
    }

    /// The file; `configuration` is the AV1CodecConfigurationRecord.
    pub(super) fn finish(self, configuration: &[u8]) -> Vec<u8> {
        let head = [self.information(), self.tracks(configuration)].concat();
        let clusters: Vec<_> = self.clusters.iter().map(Cluster::written).collect();
        // Positions have a fixed width, so they don't move what they point at.
        let index = self.cues(0, &clusters).len();
        let index = self.cues(head.len() + index, &clusters);
        let mut file = Vec::new();
        let versions = [
            text(id::DOC_TYPE, "webm"),
            number(id::DOC_TYPE_VERSION, 4),
            // The version of SimpleBlock.
            number(id::DOC_TYPE_READ_VERSION, 2),
        ];
        element(&mut file, id::EBML, &[&versions.concat()]);
        element(&mut file, id::SEGMENT, &[&head, &index, &clusters.concat()]);
        file
    }

    fn beginning(&self, frame: u32) -> u64 {
        beginning(frame, self.config.frames_per_second, TICKS_PER_SECOND)
    }

    #[expect(clippy::cast_precision_loss, reason = "a clip of 2^53 milliseconds is not to be had")]
    fn information(&self) -> Vec<u8> {
        let duration = self.beginning(self.frames) as f64;
        let fields = [
            number(id::TIMESTAMP_SCALE, NANOSECONDS_PER_TICK),
            bytes(id::DURATION, &duration.to_be_bytes()),
            text(id::MUXING_APP, "atelier"),
            text(id::WRITING_APP, "atelier"),
        ];
        bytes(id::INFO, &fields.concat())
    }

    fn tracks(&self, configuration: &[u8]) -> Vec<u8> {
        let ClipConfig { width, height, frames_per_second, .. } = self.config;
        // Code points of ITU-T H.273: primaries of BT.709, curve of sRGB, matrix of BT.709. Siting: on the left pixel
        // of two, between two rows. Range: that of video.
        let colour = [
            number(id::MATRIX_COEFFICIENTS, 1),
            number(id::CHROMA_SITING_HORZ, 1),
            number(id::CHROMA_SITING_VERT, 2),
            number(id::RANGE, 1),
            number(id::TRANSFER_CHARACTERISTICS, 13),
            number(id::PRIMARIES, 1),
        ];
        let video = [
            number(id::PIXEL_WIDTH, u64::from(width)),
            number(id::PIXEL_HEIGHT, u64::from(height)),
            bytes(id::COLOUR, &colour.concat()),
        ];
        let entry = [
            number(id::TRACK_NUMBER, 1),
            number(id::TRACK_UID, 1),
            // Video.
            number(id::TRACK_TYPE, 1),
            number(id::FLAG_LACING, 0),
            text(id::LANGUAGE, "und"),
            text(id::CODEC_ID, "V_AV1"),
            bytes(id::CODEC_PRIVATE, configuration),
            // In nanoseconds: exact to one, where timestamps are rounded.
            number(id::DEFAULT_DURATION, 1_000_000_000 / u64::from(frames_per_second)),
            bytes(id::VIDEO, &video.concat()),
        ];
        bytes(id::TRACKS, &bytes(id::TRACK_ENTRY, &entry.concat()))
    }

    /// Where to jump to; the first cluster begins `first` bytes after the beginning of the segment's body.
    fn cues(&self, first: usize, written: &[Vec<u8>]) -> Vec<u8> {
        let mut position = first;
        let mut points = Vec::new();
        for (cluster, written) in self.clusters.iter().zip(written) {
            if cluster.is_key {
                let at = u64::try_from(position).unwrap_or(u64::MAX).to_be_bytes();
                let place = [number(id::CUE_TRACK, 1), bytes(id::CUE_CLUSTER_POSITION, &at)];
                let place = bytes(id::CUE_TRACK_POSITIONS, &place.concat());
                let time = number(id::CUE_TIME, cluster.begins);
                element(&mut points, id::CUE_POINT, &[&time, &place]);
            }
            position += written.len();
        }
        bytes(id::CUES, &points)
    }
}

impl Cluster {
    fn written(&self) -> Vec<u8> {
        let mut all = Vec::new();
        element(&mut all, id::CLUSTER, &[&number(id::TIMESTAMP, self.begins), &self.blocks]);
        all
    }
}

/// A name, a length, a body.
fn element(to: &mut Vec<u8>, id: u32, parts: &[&[u8]]) {
    to.extend(without_leading_zeros(&id.to_be_bytes()));
    to.extend(length(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| to.extend(*part));
}

fn bytes(id: u32, body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    element(&mut all, id, &[body]);
    all
}

fn text(id: u32, text: &str) -> Vec<u8> {
    bytes(id, text.as_bytes())
}

/// An unsigned number of at least one byte.
fn number(id: u32, value: u64) -> Vec<u8> {
    let all = value.to_be_bytes();
    let short = without_leading_zeros(&all);
    bytes(id, if short.is_empty() { &[0] } else { short })
}

/// A length in the fewest bytes (RFC 8794, section 4): as many leading zero bits as bytes follow, a one, the number.
/// All ones are set aside for a length that is not known.
fn length(value: usize) -> Vec<u8> {
    let value = u64::try_from(value).unwrap_or(u64::MAX);
    let count = (1_usize..8).find(|count| value < (1 << (7 * count)) - 1).unwrap_or(8);
    let marked = value | 1 << (7 * count);
    marked.to_be_bytes()[8 - count..].to_vec()
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of RFC 8794, section 4.4, and the borders between widths.
    #[test]
    fn lengths_are_as_short_as_can_be() {
        for (value, coded) in [
            (0, [0x80].as_slice()),
            (2, &[0x82]),
            (126, &[0xfe]),
            (127, &[0x40, 0x7f]),
            (16_382, &[0x7f, 0xfe]),
            (16_383, &[0x20, 0x3f, 0xff]),
            (1 << 28, &[0x08, 0x10, 0, 0, 0]),
        ] {
            assert_eq!(length(value), coded, "{value}");
        }
    }

    #[test]
    fn numbers_and_names_have_no_leading_zeros() {
        assert_eq!(number(id::TRACK_NUMBER, 0), [0xd7, 0x81, 0]);
        assert_eq!(number(id::TIMESTAMP_SCALE, 1_000_000), [0x2a, 0xd7, 0xb1, 0x83, 0x0f, 0x42, 0x40]);
    }
}
