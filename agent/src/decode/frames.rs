//! Pixel Data to native samples: what a codec must be told, and frames out of fragments (PS3.5 8, A.4).
use crate::dataset::Header;
use crate::dataset::scan::inflated;
use crate::fault::{Blame, Fault};
use crate::limits::decode::{MAX_FRAMES, MAX_PIXEL_BYTES};
use dicom_dictionary_std::tags;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::{Codec, TransferSyntaxIndex};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::borrow::Cow;

/// Shape and coding of the samples of one instance (PS3.3 C.7.6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
    pub frames: usize,
    pub allocated: u16,
    pub stored: u16,
    pub signed: bool,
    pub planar: bool,
    pub photometric: String,
}

impl Shape {
    pub(super) fn of(header: &Header) -> Result<Self, Fault> {
        let count = |tag, name: &str| {
            header
                .number(tag)
                .filter(|n| *n >= 1.0)
                .map(|n| n as usize)
                .ok_or_else(|| Fault::new("pixels-undescribed", Blame::Peer, format!("{name} is absent or zero")))
        };
        let shape = Self {
            rows: count(tags::ROWS, "Rows")?,
            columns: count(tags::COLUMNS, "Columns")?,
            channels: header.number(tags::SAMPLES_PER_PIXEL).map_or(1, |n| n as usize),
            frames: header.number(tags::NUMBER_OF_FRAMES).map_or(1, |n| n.max(1.0) as usize),
            allocated: count(tags::BITS_ALLOCATED, "Bits Allocated")? as u16,
            stored: header.number(tags::BITS_STORED).unwrap_or(0.0) as u16,
            signed: header.number(tags::PIXEL_REPRESENTATION) == Some(1.0),
            planar: header.number(tags::PLANAR_CONFIGURATION) == Some(1.0),
            photometric: header.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default(),
        };
        if !matches!((shape.channels, shape.allocated), (1, 8 | 16 | 32) | (3, 8)) {
            let reason = format!("{} samples of {} bits are not supported", shape.channels, shape.allocated);
            return Err(Fault::new("pixels-unsupported", Blame::Study, reason));
        }
        if shape.frames > MAX_FRAMES || shape.bytes() > MAX_PIXEL_BYTES {
            let reason =
                format!("{} frames of {} x {} pixels are over the limit", shape.frames, shape.columns, shape.rows);
            return Err(Fault::new("pixels-too-large", Blame::Peer, reason));
        }
        Ok(shape)
    }

    /// Bytes of one frame.
    pub(super) fn frame_bytes(&self) -> usize {
        self.rows * self.columns * self.channels * usize::from(self.allocated / 8)
    }

    fn bytes(&self) -> usize {
        self.frame_bytes().saturating_mul(self.frames)
    }
}

/// The native samples of one instance, frame by frame.
pub(super) struct Pixels {
    pub shape: Shape,
    /// Little-endian samples, channels interleaved.
    pub frames: Vec<Vec<u8>>,
    /// True where the codec has already turned YBR into RGB.
    pub is_rgb: bool,
}

/// Decodes all frames of an instance.
pub(super) fn pixels(header: &Header, dataset: &[u8]) -> Result<Pixels, Fault> {
    let shape = Shape::of(header)?;
    let dataset = inflated(dataset, &header.transfer_syntax)?;
    let missing = || Fault::new("pixels-absent", Blame::Peer, "the instance has no Pixel Data");
    let place = header.pixel_data.as_ref().ok_or_else(missing)?;
    let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
    let value = dataset.get(start..).ok_or_else(missing)?;
    match place.length {
        Some(length) => native(header, shape, &value[..(length as usize).min(value.len())]),
        None => encapsulated(header, shape, value),
    }
}

fn native(header: &Header, shape: Shape, value: &[u8]) -> Result<Pixels, Fault> {
    let size = shape.frame_bytes();
    if value.len() < size * shape.frames {
        let reason =
            format!("Pixel Data has {} bytes, {} frames need {}", value.len(), shape.frames, size * shape.frames);
        return Err(Fault::new("pixels-truncated", Blame::Peer, reason));
    }
    let frames = value.chunks_exact(size).take(shape.frames).map(|frame| {
        let mut frame = frame.to_vec();
        if header.big_endian {
            let width = usize::from(shape.allocated / 8);
            frame.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        if shape.planar && shape.channels == 3 { interleaved(&frame) } else { frame }
    });
    Ok(Pixels { frames: frames.collect(), is_rgb: false, shape })
}

fn interleaved(planes: &[u8]) -> Vec<u8> {
    let count = planes.len() / 3;
    (0..count).flat_map(|n| [planes[n], planes[count + n], planes[2 * count + n]]).collect()
}

fn encapsulated(header: &Header, shape: Shape, value: &[u8]) -> Result<Pixels, Fault> {
    let unsupported = || {
        let reason = format!("transfer syntax {} cannot be decoded here", header.transfer_syntax);
        Fault::new("transfer-syntax-unsupported", Blame::Study, reason)
    };
    let syntax = TransferSyntaxRegistry.get(&header.transfer_syntax).ok_or_else(unsupported)?;
    let Codec::EncapsulatedPixelData(Some(reader), _) = syntax.codec() else {
        return Err(unsupported());
    };
    let (offsets, fragments) = fragments(value)?;
    let mut frames = Vec::with_capacity(shape.frames);
    for data in frame_data(&shape, &offsets, &fragments)? {
        let mut frame = Vec::new();
        let source = OneFrame { shape: &shape, transfer_syntax: &header.transfer_syntax, data };
        reader.decode_frame(&source, 0, &mut frame).map_err(|error| {
            Fault::new("pixels-undecodable", Blame::Peer, format!("a frame cannot be decoded: {error}"))
        })?;
        if frame.len() < shape.frame_bytes() {
            let reason = format!("a frame decodes to {} bytes, {} are needed", frame.len(), shape.frame_bytes());
            return Err(Fault::new("pixels-truncated", Blame::Peer, reason));
        }
        frame.truncate(shape.frame_bytes());
        frames.push(frame);
    }
    let is_rgb = shape.channels == 3 && header.transfer_syntax != "1.2.840.10008.1.2.5";
    Ok(Pixels { shape, frames, is_rgb })
}

/// The basic offset table and the fragments of encapsulated Pixel Data (PS3.5 A.4).
fn fragments(mut value: &[u8]) -> Result<(Vec<u32>, Vec<&[u8]>), Fault> {
    let malformed = |reason: &str| Fault::new("pixels-malformed", Blame::Peer, reason.to_owned());
    let mut items = Vec::new();
    while let Some((head, rest)) = value.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        match head[..4] {
            [0xfe, 0xff, 0x00, 0xe0] if length <= rest.len() => {
                let (item, rest) = rest.split_at(length);
                items.push(item);
                value = rest;
            }
            [0xfe, 0xff, 0xdd, 0xe0] => break,
            _ => return Err(malformed("a fragment of Pixel Data ends early or is no item")),
        }
        if items.len() > MAX_FRAMES * 4 {
            return Err(malformed("Pixel Data has too many fragments"));
        }
    }
    if items.is_empty() {
        return Err(malformed("Pixel Data has no basic offset table"));
    }
    let table = items.remove(0).as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    Ok((table, items))
}

/// The coded bytes of each frame.
fn frame_data<'a>(shape: &Shape, offsets: &[u32], fragments: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, Fault> {
    if fragments.len() == shape.frames {
        return Ok(fragments.iter().map(|fragment| Cow::Borrowed(*fragment)).collect());
    }
    if shape.frames == 1 {
        return Ok(vec![Cow::Owned(fragments.concat())]);
    }
    if offsets.len() != shape.frames {
        let reason = format!(
            "{} fragments and an offset table of {} entries do not tell where {} frames begin",
            fragments.len(),
            offsets.len(),
            shape.frames
        );
        return Err(Fault::new("pixels-malformed", Blame::Peer, reason));
    }
    let mut frames = vec![Vec::new(); shape.frames];
    let mut at = 0u32;
    for fragment in fragments {
        let frame = offsets.iter().rposition(|offset| *offset <= at).unwrap_or(0);
        frames[frame].extend_from_slice(fragment);
        at = at.saturating_add(fragment.len() as u32 + 8);
    }
    Ok(frames.into_iter().map(Cow::Owned).collect())
}

/// One coded frame, as the codecs want to see it.
struct OneFrame<'a> {
    shape: &'a Shape,
    transfer_syntax: &'a str,
    data: Cow<'a, [u8]>,
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.transfer_syntax
    }
    fn rows(&self) -> Option<u16> {
        u16::try_from(self.shape.rows).ok()
    }
    fn cols(&self) -> Option<u16> {
        u16::try_from(self.shape.columns).ok()
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        Some(self.shape.channels as u16)
    }
    fn bits_allocated(&self) -> Option<u16> {
        Some(self.shape.allocated)
    }
    fn bits_stored(&self) -> Option<u16> {
        Some(self.shape.stored)
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        Some(&self.shape.photometric)
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then(|| Cow::Borrowed(self.data.as_ref()))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(&[0]))
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData { fragments: vec![self.data.to_vec()].into(), offset_table: vec![0].into() })
    }
}
