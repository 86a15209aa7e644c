//! The four codecs of a batch body, both ways, as Kafka's clients write and read them.
//!
//! Unfolding is bounded: never more than the limit is produced, whatever the packed bytes claim. Which codec a topic
//! wants is not known here.

use std::fmt;
use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::error::{Corruption, RecordError};

/// How the records of a batch are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952, one member or several.
    Gzip,
    /// Snappy blocks in the framing of the Java library (xerial), or one bare block.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The codec with this number in the attributes.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its number in the attributes.
    #[must_use]
    pub fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// How many times its own bytes a body may unfold to: no stream of the codec unfolds to more.
    pub(super) fn times_max(self) -> usize {
        match self {
            Self::None => 1,
            // Two bits make at most 258 bytes.
            Self::Gzip => 1_032,
            // Three bytes make at most 64.
            Self::Snappy => SNAPPY_TIMES_MAX,
            // A byte makes a repetition longer by 255 at most.
            Self::Lz4 => 255,
            // Four bytes make the smallest block, and 128 KiB are in the largest.
            Self::Zstd => 32 << 10,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// A codec to pack with, and how hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CompressionTarget {
    /// The codec.
    pub compression: Compression,
    /// Its level (gzip 1 to 9, zstd -131072 to 22), clamped to what the codec knows; `None` is the codec's default.
    /// Snappy has no levels, and our lz4 encoder has one only.
    pub level: Option<i32>,
}

impl CompressionTarget {
    /// Whether packing takes far longer than opening: some levels take tens of milliseconds for 64 KiB.
    pub(super) fn is_slow(self) -> bool {
        let level = self.level.unwrap_or_default();
        match self.compression {
            Compression::None | Compression::Snappy | Compression::Lz4 => false,
            Compression::Gzip | Compression::Zstd => level > QUICK_LEVEL_MAX,
        }
    }
}

impl From<Compression> for CompressionTarget {
    fn from(compression: Compression) -> Self {
        let level = None;
        Self { compression, level }
    }
}

/// The default of zlib; that of zstd is below it.
const QUICK_LEVEL_MAX: i32 = 6;

/// Unfolds `packed` to at most `limit` bytes. Memory stays below twice the limit and a constant of the codec.
pub(super) fn decompress(
    compression: Compression,
    packed: &[u8],
    limit: usize,
) -> Result<Vec<u8>, RecordError> {
    let unfolded = match compression {
        Compression::None => read_bounded(packed, limit),
        Compression::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(packed), limit),
        Compression::Snappy => unfold_snappy(packed, limit),
        Compression::Lz4 => read_bounded(FrameDecoder::new(packed), limit),
        // A frame may claim a window of up to 128 MiB. It is address space, not memory: pages come into being
        // only as output is written to them, and the limit bounds that.
        Compression::Zstd => zstd::stream::read::Decoder::with_buffer(packed)
            .map_err(Unfold::from)
            .and_then(|decoder| read_bounded(decoder, limit)),
    };
    unfolded.map_err(|unfold| match unfold {
        Unfold::Limit => RecordError::BodyTooLarge {
            compression,
            max_bytes: limit,
        },
        Unfold::Broken(problem) => {
            let body = Corruption::Body {
                compression,
                problem,
            };
            body.into()
        }
    })
}

/// Why unfolding stopped.
enum Unfold {
    Limit,
    Broken(String),
}

impl From<io::Error> for Unfold {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<snap::Error> for Unfold {
    fn from(error: snap::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

fn read_bounded(reader: impl Read, limit: usize) -> Result<Vec<u8>, Unfold> {
    let mut unfolded = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(one_more).read_to_end(&mut unfolded)?;
    if unfolded.len() > limit {
        return Err(Unfold::Limit);
    }
    Ok(unfolded)
}

/// Somewhat more than 64 bytes for three.
const SNAPPY_TIMES_MAX: usize = 32;

/// The Java library writes this before its blocks, then two versions (1 and 1) of four bytes each.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1];
/// Unpacked bytes per block, as the Java library has it.
const XERIAL_BLOCK: usize = 32 * 1024;

fn unfold_snappy(packed: &[u8], limit: usize) -> Result<Vec<u8>, Unfold> {
    let mut unfolded = Vec::new();
    if !packed.starts_with(XERIAL_MAGIC) {
        unfold_snappy_block(packed, limit, &mut unfolded)?;
        return Ok(unfolded);
    }
    let mut rest = packed;
    while !rest.is_empty() {
        // Streams written one after the other carry a header each.
        if let Some(after) = rest.strip_prefix(XERIAL_MAGIC) {
            rest = after
                .get(XERIAL_VERSIONS.len()..)
                .ok_or_else(|| Unfold::Broken("xerial header is cut short".to_owned()))?;
            continue;
        }
        let (block, after) = split_xerial_block(rest)
            .ok_or_else(|| Unfold::Broken("xerial block is cut short".to_owned()))?;
        unfold_snappy_block(block, limit, &mut unfolded)?;
        rest = after;
    }
    Ok(unfolded)
}

fn split_xerial_block(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    after.split_at_checked(length)
}

/// Appends what `block` holds to `unfolded`, which stays within `limit`.
fn unfold_snappy_block(block: &[u8], limit: usize, unfolded: &mut Vec<u8>) -> Result<(), Unfold> {
    let claimed = snap::raw::decompress_len(block)?;
    // A larger claim is a lie that must not allocate.
    if claimed > block.len().saturating_mul(SNAPPY_TIMES_MAX) {
        let problem = format!("block of {} bytes claims {claimed}", block.len());
        return Err(Unfold::Broken(problem));
    }
    let start = unfolded.len();
    let end = start.saturating_add(claimed);
    if end > limit {
        return Err(Unfold::Limit);
    }
    unfolded.resize(end, 0);
    let room = unfolded.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(block, room)?;
    unfolded.truncate(start.saturating_add(written));
    Ok(())
}

/// Packs `body`. Fails only when the encoder cannot get memory.
pub(super) fn compress(target: CompressionTarget, body: &[u8]) -> io::Result<Vec<u8>> {
    match target.compression {
        Compression::None => Ok(body.to_vec()),
        Compression::Gzip => fold_gzip(target.level, body),
        Compression::Snappy => fold_snappy(body),
        Compression::Lz4 => fold_lz4(body),
        Compression::Zstd => {
            let level = target.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            let range = zstd::compression_level_range();
            zstd::bulk::compress(body, level.clamp(*range.start(), *range.end()))
        }
    }
}

fn fold_gzip(level: Option<i32>, body: &[u8]) -> io::Result<Vec<u8>> {
    let level = match level.map(u32::try_from) {
        Some(Ok(level)) => flate2::Compression::new(level.clamp(1, 9)),
        // Kafka's -1 is the default of zlib.
        Some(Err(_)) | None => flate2::Compression::default(),
    };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(body)?;
    encoder.finish()
}

fn fold_snappy(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut folded = [XERIAL_MAGIC, XERIAL_VERSIONS].concat();
    let mut encoder = snap::raw::Encoder::new();
    for part in body.chunks(XERIAL_BLOCK) {
        let block = encoder.compress_vec(part)?;
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        folded.extend_from_slice(&length.to_be_bytes());
        folded.extend_from_slice(&block);
    }
    Ok(folded)
}

/// Java's reader refuses blocks that depend on each other, and knows no block above 4 MiB.
fn fold_lz4(body: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(body)?;
    encoder.finish().map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Vec<u8> {
        (0..200_000_u32)
            .map(|place| (place / 7 % 251) as u8)
            .collect()
    }

    const CODECS: [Compression; 4] = [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn every_codec_reads_what_it_wrote_at_any_level() {
        for compression in CODECS {
            for level in [None, Some(i32::MIN), Some(-1), Some(1), Some(i32::MAX)] {
                let small = &body()[..20_000];
                let target = CompressionTarget { compression, level };
                let packed = compress(target, small).unwrap();
                assert_eq!(
                    decompress(compression, &packed, small.len()).unwrap(),
                    small
                );
            }
        }
    }

    #[test]
    fn no_codec_packs_tighter_than_it_is_said_to() {
        let zeros = vec![0; 8 << 20];
        for compression in CODECS {
            let packed = compress(compression.into(), &zeros).unwrap();
            let most = packed.len() * compression.times_max();
            assert!(zeros.len() <= most, "{compression}: {} bytes", packed.len());
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let body = body();
        for compression in CODECS {
            let packed = compress(compression.into(), &body).unwrap();
            assert_eq!(decompress(compression, &packed, body.len()).unwrap(), body);
            let too_large = RecordError::BodyTooLarge {
                compression,
                max_bytes: body.len() - 1,
            };
            assert_eq!(
                decompress(compression, &packed, body.len() - 1),
                Err(too_large)
            );
        }
    }

    #[test]
    fn a_bomb_is_not_read_past_the_limit() {
        struct Endless(usize);
        impl Read for &mut Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += buffer.len();
                Ok(buffer.len())
            }
        }
        let mut bomb = Endless(0);
        assert!(matches!(
            read_bounded(&mut bomb, 100_000),
            Err(Unfold::Limit)
        ));
        assert_eq!(bomb.0, 100_001);
    }

    #[test]
    fn a_snappy_block_cannot_claim_more_than_snappy_can_pack() {
        // A claim of 4 GiB less one in five bytes, and nothing behind it.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let result = decompress(Compression::Snappy, &claim, usize::MAX);
        assert!(matches!(
            result,
            Err(RecordError::Corrupt(Corruption::Body { .. }))
        ));
    }

    #[test]
    fn snappy_streams_written_one_after_the_other_are_one() {
        let packed = compress(Compression::Snappy.into(), b"mill").unwrap();
        let twice = [&packed[..], &packed].concat();
        assert_eq!(
            decompress(Compression::Snappy, &twice, 8).unwrap(),
            b"millmill"
        );
    }

    #[test]
    fn streams_cut_short_are_corrupt() {
        for compression in CODECS {
            let packed = compress(compression.into(), &body()).unwrap();
            let cut = &packed[..packed.len() - 9];
            assert!(matches!(
                decompress(compression, cut, usize::MAX),
                Err(RecordError::Corrupt(Corruption::Body { .. }))
            ));
        }
    }

    #[test]
    fn lz4_frames_are_those_java_reads() {
        // FLG: version 1, independent blocks, no checksums, no sizes; BD: 64 KiB blocks.
        let packed = compress(Compression::Lz4.into(), b"mill").unwrap();
        assert_eq!(packed[..6], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40]);
    }
}
