//! From words to stored values: byte order, mask, sign (PS3.5 8.1.1).
use super::Samples;
use super::pixel::Pixel;

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Real values, stored * slope + intercept. Stored values are exact in 32-bit floating point to 24 bits.
    pub fn to_real(&self, slope: f32, intercept: f32) -> Vec<f32> {
        match self {
            Self::U8(v) => v.iter().map(|x| f32::from(*x) * slope + intercept).collect(),
            Self::I16(v) => v.iter().map(|x| f32::from(*x) * slope + intercept).collect(),
            Self::U16(v) => v.iter().map(|x| f32::from(*x) * slope + intercept).collect(),
            Self::I32(v) => v.iter().map(|x| *x as f32 * slope + intercept).collect(),
            Self::F32(v) => v.iter().map(|x| x * slope + intercept).collect(),
        }
    }

    fn to_i32(&self) -> Option<Vec<i32>> {
        Some(match self {
            Self::U8(v) => v.iter().map(|x| i32::from(*x)).collect(),
            Self::I16(v) => v.iter().map(|x| i32::from(*x)).collect(),
            Self::U16(v) => v.iter().map(|x| i32::from(*x)).collect(),
            Self::I32(v) => v.clone(),
            Self::F32(_) => return None,
        })
    }

    /// Puts frames behind one another. Frames of different kinds meet in the kind that holds them all.
    pub(super) fn concatenate(frames: Vec<Self>) -> Self {
        macro_rules! alike {
            ($kind:ident) => {
                if frames.iter().all(|frame| matches!(frame, Self::$kind(_))) {
                    let mut all = Vec::with_capacity(frames.iter().map(Self::len).sum());
                    for frame in frames {
                        if let Self::$kind(mut values) = frame {
                            all.append(&mut values);
                        }
                    }
                    return Self::$kind(all);
                }
            };
        }
        alike!(I16);
        alike!(U16);
        alike!(U8);
        alike!(I32);
        match frames.iter().map(Self::to_i32).collect::<Option<Vec<_>>>() {
            Some(frames) => Self::I32(frames.concat()),
            None => Self::F32(frames.iter().flat_map(|frame| frame.to_real(1.0, 0.0)).collect()),
        }
    }
}

/// Stored values of a frame from its words: the bits below `shift` and above the stored ones belong to overlays or to
/// nothing, and the sign is the highest stored bit.
///
/// `words` has `pixel.bytes()` bytes. Unsigned values of 32 bits that do not fit into `I32` become `F32`.
pub(super) fn unpack(words: &[u8], big_endian: bool, pixel: &Pixel) -> Samples {
    let Pixel { stored, shift, signed, .. } = *pixel;
    match pixel.allocated {
        8 => {
            let mask = u8::MAX >> (8 - stored);
            if signed {
                Samples::I16(words.iter().map(|w| extend(u32::from(w >> shift), stored) as i16).collect())
            } else {
                Samples::U8(words.iter().map(|w| (w >> shift) & mask).collect())
            }
        }
        16 => {
            let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
            let words = words.as_chunks::<2>().0.iter().map(|word| read(*word));
            if signed {
                let up = 16 - stored - shift;
                Samples::I16(words.map(|w| ((w << up) as i16) >> (16 - stored)).collect())
            } else {
                let mask = u16::MAX >> (16 - stored);
                Samples::U16(words.map(|w| (w >> shift) & mask).collect())
            }
        }
        _ => {
            let read = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
            let words = words.as_chunks::<4>().0.iter().map(|word| read(*word) >> shift);
            if signed {
                Samples::I32(words.map(|w| extend(w, stored)).collect())
            } else {
                let mask = u32::MAX >> (32 - stored);
                let values: Vec<u32> = words.map(|w| w & mask).collect();
                if values.iter().all(|v| i32::try_from(*v).is_ok()) {
                    Samples::I32(values.into_iter().map(|v| v as i32).collect())
                } else {
                    Samples::F32(values.into_iter().map(|v| v as f32).collect())
                }
            }
        }
    }
}

/// Stored values from what a codec gave: `precision` bits of the codestream, which has its own idea of the sign.
pub(super) fn from_codec(
    values: impl Iterator<Item = i32>,
    precision: u32,
    codec_signed: bool,
    pixel: &Pixel,
) -> Samples {
    let bits = precision.min(pixel.stored).max(1);
    let (signed, stored) = (pixel.signed, pixel.stored);
    // Where both agree the value stands; where they do not, its bits are read as the data set says.
    let value = move |v: i32| match (signed, codec_signed) {
        (true, true) => v,
        (true, false) => extend(v as u32, bits),
        (false, _) => (v as u32 & (u32::MAX >> (32 - stored))) as i32,
    };
    match (pixel.allocated, signed) {
        (8, false) => Samples::U8(values.map(|v| value(v) as u8).collect()),
        (8 | 16, true) => Samples::I16(values.map(|v| value(v) as i16).collect()),
        (16, false) => Samples::U16(values.map(|v| value(v) as u16).collect()),
        _ => Samples::I32(values.map(value).collect()),
    }
}

fn extend(word: u32, bits: u32) -> i32 {
    let up = 32 - bits;
    ((word << up) as i32) >> up
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::pixel::Photometric;

    fn pixel(allocated: u32, stored: u32, shift: u32, signed: bool) -> Pixel {
        let photometric = Photometric::Monochrome2;
        Pixel {
            rows: 1,
            columns: 2,
            samples: 1,
            frames: 1,
            allocated,
            stored,
            shift,
            signed,
            planes: false,
            photometric,
        }
    }

    #[test]
    fn bits_beside_the_stored_ones_do_not_reach_the_value() {
        assert_eq!(unpack(&[0xff, 0xff, 0x01, 0xf0], false, &pixel(16, 12, 0, false)), Samples::U16(vec![0xfff, 1]));
        assert_eq!(unpack(&[0xff, 0x0f, 0x01, 0xf0], false, &pixel(16, 12, 0, true)), Samples::I16(vec![-1, 1]));
        // High Bit 15, 12 bits stored: the lowest four are an overlay's.
        assert_eq!(unpack(&[0x1f, 0x00, 0x0f, 0x80], false, &pixel(16, 12, 4, true)), Samples::I16(vec![1, -2048]));
        assert_eq!(unpack(&[0xff, 0x7f], false, &pixel(8, 8, 0, true)), Samples::I16(vec![-1, 127]));
    }

    #[test]
    fn big_endian_words_are_turned() {
        assert_eq!(unpack(&[1, 2, 0xff, 0xfe], true, &pixel(16, 16, 0, true)), Samples::I16(vec![0x102, -2]));
        assert_eq!(unpack(&[0, 0, 1, 0], true, &pixel(32, 32, 0, false)), Samples::I32(vec![256]));
    }

    #[test]
    fn a_codestream_and_a_header_that_disagree_about_the_sign_mean_the_same_bits() {
        assert_eq!(from_codec([0xffff, 5].into_iter(), 16, false, &pixel(16, 16, 0, true)), Samples::I16(vec![-1, 5]));
        assert_eq!(from_codec([-1, 5].into_iter(), 16, true, &pixel(16, 16, 0, false)), Samples::U16(vec![0xffff, 5]));
    }

    #[test]
    fn frames_of_different_kinds_meet_without_loss() {
        let frames = vec![Samples::U16(vec![60_000]), Samples::I16(vec![-3])];
        assert_eq!(Samples::concatenate(frames), Samples::I32(vec![60_000, -3]));
    }
}
