//! Stored values out of native samples: width, sign, unused bits, photometric interpretation (PS3.3 C.7.6.3.1.2).
use super::Samples;
use super::frames::Shape;
use crate::dataset::Header;
use crate::fault::{Blame, Fault};
use dicom_dictionary_std::tags;

/// Stored values of one channel. Bits above Bits Stored are taken off, the sign is extended.
pub(super) fn stored(shape: &Shape, frame: &[u8]) -> Samples {
    let bits = if shape.stored == 0 || shape.stored > shape.allocated { shape.allocated } else { shape.stored };
    match (shape.allocated, shape.signed) {
        (8, false) => Samples::U8(frame.to_vec()),
        (8, true) => Samples::I16(frame.iter().map(|v| extend(u32::from(*v), bits) as i16).collect()),
        (16, false) => {
            let mask = ((1u32 << bits) - 1) as u16;
            Samples::U16(frame.as_chunks::<2>().0.iter().map(|v| u16::from_le_bytes(*v) & mask).collect())
        }
        (16, true) => Samples::I16(
            frame.as_chunks::<2>().0.iter().map(|v| extend(u32::from(u16::from_le_bytes(*v)), bits) as i16).collect(),
        ),
        (_, signed) => {
            let words = frame.as_chunks::<4>().0.iter().map(|v| u32::from_le_bytes(*v));
            if signed {
                Samples::I32(words.map(|v| extend(v, bits)).collect())
            } else {
                // 32 unsigned bits are doses and the like: exact as real values up to 2^24, which is what a model is given.
                Samples::F32(words.map(|v| v as f32).collect())
            }
        }
    }
}

/// Sign extension of the lowest `bits`.
fn extend(value: u32, bits: u16) -> i32 {
    let unused = 32 - u32::from(bits);
    ((value << unused) as i32) >> unused
}

/// Grey inverted so that larger is brighter: `max - v`, with `max` the largest stored value.
pub(super) fn inverted(shape: &Shape, samples: Samples) -> Samples {
    let top = (1i64 << shape.stored.clamp(1, 16)) - 1;
    match samples {
        Samples::U8(values) => {
            Samples::U8(values.into_iter().map(|v| (top - i64::from(v)).clamp(0, 255) as u8).collect())
        }
        Samples::U16(values) => Samples::U16(values.into_iter().map(|v| (top - i64::from(v)).max(0) as u16).collect()),
        Samples::I16(values) => Samples::I16(values.into_iter().map(|v| -1 - v).collect()),
        Samples::I32(values) => Samples::I32(values.into_iter().map(|v| -1 - v).collect()),
        Samples::F32(values) => Samples::F32(values.into_iter().map(|v| -v).collect()),
    }
}

/// RGB out of what a colour frame holds.
pub(super) fn rgb(header: &Header, shape: &Shape, frame: &[u8], is_rgb: bool) -> Result<Vec<u8>, Fault> {
    match shape.photometric.as_str() {
        "PALETTE COLOR" => palette(header, shape, frame),
        "RGB" => Ok(frame.to_vec()),
        _ if is_rgb => Ok(frame.to_vec()),
        "YBR_FULL" => Ok(frame.as_chunks::<3>().0.iter().flat_map(|ybr| ybr_to_rgb(*ybr)).collect()),
        other => {
            let reason = format!("photometric interpretation {other} is not supported in this transfer syntax");
            Err(Fault::new("photometric-unsupported", Blame::Study, reason))
        }
    }
}

/// PS3.3 C.7.6.3.1.2, YBR_FULL.
fn ybr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round().clamp(0.0, 255.0) as u8)
}

/// PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6.
fn palette(header: &Header, shape: &Shape, frame: &[u8]) -> Result<Vec<u8>, Fault> {
    let absent =
        || Fault::new("palette-absent", Blame::Peer, "the palette is absent or shorter than its descriptor says");
    let table = |descriptor, data| -> Result<(i64, Vec<u8>), Fault> {
        let numbers = header.numbers(descriptor);
        let [entries, first, bits] = numbers[..] else { return Err(absent()) };
        let entries = if entries == 0.0 { 65536 } else { entries as usize };
        let raw = &header.elements.get(&data).ok_or_else(absent)?.value;
        // 16-bit entries are shown by their high byte; some senders pack 8-bit entries two to a word.
        let values: Vec<u8> = if bits > 8.0 || raw.len() >= 2 * entries {
            let high = usize::from(!header.big_endian && bits > 8.0);
            raw.as_chunks::<2>().0.iter().take(entries).map(|word| word[high]).collect()
        } else {
            raw.iter().copied().take(entries).collect()
        };
        if values.len() == entries && entries > 0 { Ok((first as i64, values)) } else { Err(absent()) }
    };
    let tables = [
        table(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        table(tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        table(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
    ];
    let indices: Vec<i64> = match stored(shape, frame) {
        Samples::U8(values) => values.into_iter().map(i64::from).collect(),
        Samples::U16(values) => values.into_iter().map(i64::from).collect(),
        Samples::I16(values) => values.into_iter().map(i64::from).collect(),
        _ => return Err(absent()),
    };
    let look_up = |(first, values): &(i64, Vec<u8>), index: i64| {
        values[(index - first).clamp(0, values.len() as i64 - 1) as usize]
    };
    Ok(indices.into_iter().flat_map(|index| tables.each_ref().map(|table| look_up(table, index))).collect())
}
