//! To RGB of 8 bits: YBR_FULL and palettes (PS3.3 C.7.6.3.1.2, C.7.9).
use super::Samples;
use super::frames::Frames;
use super::pixel::{Photometric, Pixel};
use crate::dataset::Header;
use crate::fault::{Blame, Fault};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

/// A decoded colour frame as interleaved RGB.
pub(super) fn to_rgb(frames: &Frames, values: Samples) -> Result<Vec<u8>, Fault> {
    let pixel = &frames.pixel;
    if pixel.photometric == Photometric::Palette {
        return Ok(Palette::of(frames.header(), &frames.dataset, pixel)?.apply(&values));
    }
    let mut rgb = match values {
        Samples::U8(bytes) => bytes,
        // The eight most significant of the stored bits.
        Samples::U16(words) => words.into_iter().map(|w| (w >> pixel.stored.saturating_sub(8)) as u8).collect(),
        _ => return Err(Fault::new("image-bits-unsupported", Blame::Study, "signed samples of colour are not read")),
    };
    if !frames.codec_gives_rgb() {
        from_ybr_full(&mut rgb);
    }
    Ok(rgb)
}

/// R = Y + 1.402 (Cr - 128), G = Y - 0.344136 (Cb - 128) - 0.714136 (Cr - 128), B = Y + 1.772 (Cb - 128), to the nearest.
fn from_ybr_full(bytes: &mut [u8]) {
    for [y, cb, cr] in bytes.as_chunks_mut::<3>().0 {
        let (luma, blue, red) = (f32::from(*y), f32::from(*cb) - 128.0, f32::from(*cr) - 128.0);
        let rgb = [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue];
        // A cast from floating point saturates, so that colours outside of the cube are clipped.
        [*y, *cb, *cr] = rgb.map(|v| v.round() as u8);
    }
}

struct Palette {
    /// First stored value that is mapped; lower ones take the first entry, higher ones the last.
    first: i32,
    entries: Vec<[u8; 3]>,
}

impl Palette {
    fn of(header: &Header, dataset: &[u8], pixel: &Pixel) -> Result<Self, Fault> {
        let descriptor = header.numbers(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR);
        let [entries, first, bits] = descriptor[..] else {
            let reason = "the palette has no descriptor of three values";
            return Err(Fault::new("image-attributes-missing", Blame::Peer, reason));
        };
        // PS3.3 C.7.6.3.1.5: 0 stands for 65536, and the first value has the sign of the pixels, whatever its VR is.
        let entries = if entries == 0.0 { 65_536 } else { (entries as i32 as u16).into() };
        let first = first as i32;
        let first = if pixel.signed { i32::from(first as u16 as i16) } else { i32::from(first as u16) };
        let channel = |tag| channel(header, dataset, tag, entries, bits as u8 == 16);
        let red = channel(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)?;
        let green = channel(tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA)?;
        let blue = channel(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA)?;
        let entries = red.iter().zip(&green).zip(&blue).map(|((r, g), b)| [*r, *g, *b]).collect();
        Ok(Self { first, entries })
    }

    fn apply(&self, values: &Samples) -> Vec<u8> {
        let last = self.entries.len() as i32 - 1;
        let entry = |value: i32| self.entries[(value.saturating_sub(self.first)).clamp(0, last) as usize];
        match values {
            Samples::U8(v) => v.iter().flat_map(|v| entry(i32::from(*v))).collect(),
            Samples::I16(v) => v.iter().flat_map(|v| entry(i32::from(*v))).collect(),
            Samples::U16(v) => v.iter().flat_map(|v| entry(i32::from(*v))).collect(),
            Samples::I32(v) => v.iter().flat_map(|v| entry(*v)).collect(),
            Samples::F32(v) => v.iter().flat_map(|v| entry(*v as i32)).collect(),
        }
    }
}

/// One colour of the palette, `entries` values of 8 bits.
fn channel(header: &Header, dataset: &[u8], tag: Tag, entries: usize, wide: bool) -> Result<Vec<u8>, Fault> {
    let Some((vr, data)) = header.raw(tag, dataset) else {
        let segmented = header.elements.contains_key(&tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA);
        return Err(if segmented {
            Fault::new("image-palette-unsupported", Blame::Study, "segmented palettes are not read")
        } else {
            Fault::new("image-attributes-missing", Blame::Peer, "the image has no palette")
        });
    };
    let short = || Fault::new("image-palette-short", Blame::Peer, "the palette has fewer entries than it claims");
    let turned = header.big_endian && vr != VR::OB;
    if wide || data.len() >= 2 * entries {
        let data = data.get(..2 * entries).ok_or_else(short)?;
        let read = if turned { u16::from_be_bytes } else { u16::from_le_bytes };
        let words = data.as_chunks::<2>().0.iter().map(|word| read(*word));
        // Entries of 8 bits in words of their own lie in the low byte; some senders scale them to 16 bits all the same.
        let shift = if wide || words.clone().any(|word| word > 255) { 8 } else { 0 };
        return Ok(words.map(|word| (word >> shift) as u8).collect());
    }
    // Two entries in a word: in a big endian data set the first lies in its second byte.
    let at = |n: usize| data.get(if turned { n ^ 1 } else { n }).copied();
    (0..entries).map(at).collect::<Option<_>>().ok_or_else(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_colours_come_back_from_ybr() {
        let mut bytes = [76, 85, 255, 150, 44, 21, 29, 255, 107, 255, 128, 128];
        from_ybr_full(&mut bytes);
        assert_eq!(bytes, [254, 0, 0, 0, 255, 1, 0, 0, 254, 255, 255, 255]);
    }

    #[test]
    fn values_outside_of_the_palette_take_its_ends() {
        let palette = Palette { first: 10, entries: vec![[1, 2, 3], [4, 5, 6]] };
        assert_eq!(palette.apply(&Samples::U8(vec![0, 11, 200])), [1, 2, 3, 4, 5, 6, 4, 5, 6]);
    }
}
