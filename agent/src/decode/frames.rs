//! An instance's frames: where each lies, and its decoding by transfer syntax (PS3.5 8.2, A.4).
use super::pixel::{Photometric, Pixel};
use super::{Samples, SourceInstance, jpeg, jpeg2000, rle, samples};
use crate::dataset::{Header, PixelData, scan};
use crate::fault::{Blame, Fault};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::borrow::Cow;
use std::ops::Range;

/// Retired from PS3.5 in 2006, still sent.
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Native,
    Rle,
    Jpeg,
    Jpeg2000,
}

impl Codec {
    fn of(transfer_syntax: &str) -> Result<Self, Fault> {
        Ok(match transfer_syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
            | BIG_ENDIAN => Self::Native,
            uids::RLE_LOSSLESS => Self::Rle,
            uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
                Self::Jpeg
            }
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Self::Jpeg2000,
            uid => {
                let name = TransferSyntaxRegistry.get(uid).map_or("an unknown one", |syntax| syntax.name());
                let reason = format!("the transfer syntax {uid} ({name}) is not decoded here");
                return Err(Fault::new("transfer-syntax-unsupported", Blame::Study, reason));
            }
        })
    }
}

/// The frames of one instance, not yet decoded.
pub(super) struct Frames<'a> {
    pub instance: &'a SourceInstance,
    /// The data set, inflated.
    pub dataset: Cow<'a, [u8]>,
    pub pixel: Pixel,
    codec: Codec,
    /// For encapsulated pixels: the fragments of each frame, as ranges of the data set.
    encapsulated: Vec<Vec<Range<usize>>>,
    /// For native pixels: the value of Pixel Data.
    native: Range<usize>,
}

impl<'a> Frames<'a> {
    pub(super) fn open(instance: &'a SourceInstance) -> Result<Self, Fault> {
        let header = &instance.header;
        let codec = Codec::of(&header.transfer_syntax)?;
        let pixel = Pixel::of(header)?;
        if pixel.allocated == 1 && codec != Codec::Native {
            let reason = "single bits are read uncompressed only";
            return Err(Fault::new("image-bits-unsupported", Blame::Study, reason));
        }
        let dataset = scan::inflated(&instance.dataset, &header.transfer_syntax)?;
        let Some(place) = &header.pixel_data else {
            return Err(Fault::new("image-without-pixel-data", Blame::Study, "the instance has no Pixel Data"));
        };
        let mut frames = Self { instance, pixel, codec, encapsulated: Vec::new(), native: 0..0, dataset };
        if codec == Codec::Native {
            frames.native = native_range(place, &frames.dataset, &pixel)?;
        } else {
            frames.encapsulated = fragments_of_frames(header, place, &frames.dataset, &pixel, codec)?;
        }
        Ok(frames)
    }

    pub(super) fn header(&self) -> &Header {
        &self.instance.header
    }

    /// Stored values of a frame (from 0), by pixel: red, green, blue of the first pixel first.
    pub(super) fn decode(&self, frame: usize) -> Result<Samples, Fault> {
        match self.codec {
            Codec::Native => Ok(self.native(frame)),
            Codec::Rle => Ok(samples::unpack(&rle::decode(&self.joined(frame), &self.pixel)?, false, &self.pixel)),
            Codec::Jpeg => jpeg::decode(&self.joined(frame), &self.pixel),
            Codec::Jpeg2000 => jpeg2000::decode(&self.joined(frame), &self.pixel),
        }
    }

    /// True where the codec gives RGB whatever the photometric interpretation is.
    pub(super) fn codec_gives_rgb(&self) -> bool {
        match self.codec {
            Codec::Jpeg => true,
            Codec::Jpeg2000 => !matches!(self.pixel.photometric, Photometric::YbrFull | Photometric::YbrFull422),
            Codec::Native | Codec::Rle => self.pixel.photometric == Photometric::Rgb,
        }
    }

    fn native(&self, frame: usize) -> Samples {
        let pixel = &self.pixel;
        let data = &self.dataset[self.native.clone()];
        if pixel.allocated == 1 {
            // PS3.5 8.1.1: packed from the least significant bit, without a gap between frames.
            let first = frame * pixel.len();
            return Samples::U8((first..first + pixel.len()).map(|bit| (data[bit / 8] >> (bit % 8)) & 1).collect());
        }
        if is_422(pixel) {
            // PS3.3 C.7.6.3.1.2: Y1, Y2, Cb, Cr for each pair of pixels.
            let bytes = pixel.rows * pixel.columns * 2;
            let quads = data[frame * bytes..(frame + 1) * bytes].as_chunks::<4>().0;
            return Samples::U8(quads.iter().flat_map(|[y1, y2, cb, cr]| [*y1, *cb, *cr, *y2, *cb, *cr]).collect());
        }
        let bytes = pixel.bytes();
        let words = &data[frame * bytes..(frame + 1) * bytes];
        let header = self.header();
        let in_words = header.pixel_data.as_ref().is_some_and(|place| place.vr == VR::OW);
        let values = if header.big_endian && pixel.allocated == 8 && in_words {
            // PS3.5 8.1.1: two samples lie in one word, the first in its low byte.
            let turned: Vec<u8> = (frame * bytes..(frame + 1) * bytes).map(|at| data[at ^ 1]).collect();
            samples::unpack(&turned, true, pixel)
        } else {
            samples::unpack(words, header.big_endian, pixel)
        };
        if pixel.planes && pixel.samples == 3 { by_pixel(values) } else { values }
    }

    fn joined(&self, frame: usize) -> Cow<'_, [u8]> {
        match &self.encapsulated[frame][..] {
            [one] => Cow::Borrowed(&self.dataset[one.clone()]),
            many => Cow::Owned(many.iter().flat_map(|part| &self.dataset[part.clone()]).copied().collect()),
        }
    }
}

fn is_422(pixel: &Pixel) -> bool {
    pixel.photometric == Photometric::YbrFull422 && pixel.allocated == 8
}

fn native_range(place: &PixelData, dataset: &[u8], pixel: &Pixel) -> Result<Range<usize>, Fault> {
    let Some(length) = place.length else {
        return Err(malformed("the pixels are encapsulated in an uncompressed transfer syntax"));
    };
    let start = place.offset as usize;
    let range = start..start.saturating_add(length as usize);
    let there = dataset.get(range.clone()).map_or(0, <[u8]>::len);
    let needed = match pixel.allocated {
        1 => (pixel.len() * pixel.frames).div_ceil(8),
        _ if is_422(pixel) => {
            if pixel.columns % 2 == 1 {
                return Err(malformed("YBR_FULL_422 with an odd number of columns"));
            }
            pixel.rows * pixel.columns * 2 * pixel.frames
        }
        _ => pixel.bytes() * pixel.frames,
    };
    // The last byte of an odd image in words may be its neighbour.
    let big_endian_words = usize::from(pixel.allocated == 8 && place.vr == VR::OW && needed % 2 == 1);
    if there < needed + big_endian_words {
        let reason = format!("Pixel Data has {there} bytes, {} frames need {needed}", pixel.frames);
        return Err(Fault::new("pixels-truncated", Blame::Peer, reason));
    }
    Ok(range)
}

/// Which fragments belong to which frame (PS3.5 A.4): by the Extended Offset Table, by the Basic Offset Table, by their
/// number, or by where codestreams begin.
fn fragments_of_frames(
    header: &Header,
    place: &PixelData,
    dataset: &[u8],
    pixel: &Pixel,
    codec: Codec,
) -> Result<Vec<Vec<Range<usize>>>, Fault> {
    if place.length.is_some() {
        return Err(malformed("the pixels are not encapsulated, though the transfer syntax compresses them"));
    }
    let mut items = items(dataset, place.offset as usize).into_iter();
    let table = items.next().ok_or_else(|| malformed("Pixel Data has no items"))?;
    let fragments: Vec<Range<usize>> = items.collect();
    let Some(first) = fragments.first().map(|fragment| fragment.start - 8) else {
        return Err(malformed("Pixel Data has no fragments"));
    };
    // Tables count from the first byte of the first fragment's item tag.
    let starts: Vec<u64> = fragments.iter().map(|fragment| (fragment.start - 8 - first) as u64).collect();
    let basic = || dataset[table].as_chunks::<4>().0.iter().map(|o| u64::from(u32::from_le_bytes(*o))).collect();
    let offsets: Vec<u64> = match header.raw(tags::EXTENDED_OFFSET_TABLE, dataset) {
        Some((_, table)) => table.as_chunks::<8>().0.iter().map(|o| u64::from_le_bytes(*o)).collect(),
        None => basic(),
    };
    let frames = pixel.frames;
    if offsets.len() == frames
        && offsets.is_sorted_by(|a, b| a < b)
        && offsets.first() == Some(&0)
        && offsets.iter().all(|offset| starts.binary_search(offset).is_ok())
    {
        return Ok(split(&fragments, |n| offsets.binary_search(&starts[n]).is_ok()));
    }
    if frames == 1 {
        return Ok(vec![fragments]);
    }
    if fragments.len() == frames {
        return Ok(fragments.into_iter().map(|fragment| vec![fragment]).collect());
    }
    let begins = |n: usize| match codec {
        Codec::Jpeg => dataset[fragments[n].clone()].starts_with(&[0xff, 0xd8]),
        Codec::Jpeg2000 => dataset[fragments[n].clone()].starts_with(&[0xff, 0x4f, 0xff, 0x51]),
        _ => false,
    };
    let found = split(&fragments, begins);
    if found.len() == frames {
        return Ok(found);
    }
    let reason = format!("{} fragments cannot be assigned to {frames} frames", fragments.len());
    Err(Fault::new("pixels-truncated", Blame::Peer, reason))
}

fn split(fragments: &[Range<usize>], begins: impl Fn(usize) -> bool) -> Vec<Vec<Range<usize>>> {
    let mut frames: Vec<Vec<Range<usize>>> = Vec::new();
    for (n, fragment) in fragments.iter().enumerate() {
        match frames.last_mut() {
            Some(frame) if !begins(n) => frame.push(fragment.clone()),
            _ => frames.push(vec![fragment.clone()]),
        }
    }
    frames
}

/// Values of the items from `at` to the sequence delimiter, or as far as they are whole.
fn items(dataset: &[u8], mut at: usize) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    while let Some([0xfe, 0xff, 0x00, 0xe0, length @ ..]) = dataset.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let start = at + 8;
        let end = start.saturating_add(u32::from_le_bytes(*length) as usize);
        if end > dataset.len() {
            break;
        }
        items.push(start..end);
        at = end;
    }
    items
}

/// Planar Configuration 1 to 0.
fn by_pixel(values: Samples) -> Samples {
    fn interleave<T: Copy>(planes: &[T]) -> Vec<T> {
        let plane = planes.len() / 3;
        (0..plane).flat_map(|i| [planes[i], planes[plane + i], planes[2 * plane + i]]).collect()
    }
    match values {
        Samples::U8(v) => Samples::U8(interleave(&v)),
        Samples::U16(v) => Samples::U16(interleave(&v)),
        Samples::I16(v) => Samples::I16(interleave(&v)),
        Samples::I32(v) => Samples::I32(interleave(&v)),
        Samples::F32(v) => Samples::F32(interleave(&v)),
    }
}

fn malformed(reason: &str) -> Fault {
    Fault::new("pixels-malformed", Blame::Peer, reason)
}
