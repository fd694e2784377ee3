//! What a header says of its pixels: the Image Pixel Module (PS3.3 C.7.6.3), checked.
use crate::dataset::Header;
use crate::fault::{Blame, Fault};
use crate::limits::decode::{MAX_DECODED, MAX_FRAME, MAX_FRAMES};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// PS3.3 C.7.6.3.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    /// Chrominance at half the horizontal resolution.
    YbrFull422,
    /// The colour transforms within JPEG 2000, which its decoder undoes.
    YbrRct,
    YbrIct,
}

impl Photometric {
    fn of(term: &str) -> Result<Self, Fault> {
        Ok(match term {
            "MONOCHROME1" => Self::Monochrome1,
            "MONOCHROME2" => Self::Monochrome2,
            "PALETTE COLOR" => Self::Palette,
            "RGB" => Self::Rgb,
            "YBR_FULL" => Self::YbrFull,
            "YBR_FULL_422" => Self::YbrFull422,
            "YBR_RCT" => Self::YbrRct,
            "YBR_ICT" => Self::YbrIct,
            _ => {
                let reason = "the Photometric Interpretation is none of MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB, \
                              YBR_FULL, YBR_FULL_422, YBR_RCT and YBR_ICT";
                return Err(Fault::new("image-photometric-unsupported", Blame::Study, reason));
            }
        })
    }

    pub(super) fn is_grey(self) -> bool {
        matches!(self, Self::Monochrome1 | Self::Monochrome2)
    }

    fn samples(self) -> usize {
        if self.is_grey() || self == Self::Palette { 1 } else { 3 }
    }
}

/// The description of the pixels, consistent in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pixel {
    pub rows: usize,
    pub columns: usize,
    /// Samples per pixel, 1 or 3.
    pub samples: usize,
    pub frames: usize,
    /// 1, 8, 16 or 32.
    pub allocated: u32,
    /// At most `allocated`.
    pub stored: u32,
    /// Position of the least significant stored bit.
    pub shift: u32,
    pub signed: bool,
    /// Planar Configuration 1: all red, all green, all blue.
    pub planes: bool,
    pub photometric: Photometric,
}

impl Pixel {
    pub(super) fn of(header: &Header) -> Result<Self, Fault> {
        if header.pixel_data.is_none() {
            let reason = "the instance has no Pixel Data, or floating point pixels, which are not read";
            return Err(Fault::new("image-without-pixel-data", Blame::Study, reason));
        }
        let number = |tag, name: &str| number(header, tag, name);
        let term =
            header.text(tags::PHOTOMETRIC_INTERPRETATION).ok_or_else(|| missing("Photometric Interpretation"))?;
        let photometric = Photometric::of(&term)?;
        let allocated = number(tags::BITS_ALLOCATED, "Bits Allocated")? as u32;
        let stored = header.number(tags::BITS_STORED).map_or(allocated, |bits| bits as u32);
        let high = header.number(tags::HIGH_BIT).map_or(stored.saturating_sub(1), |bit| bit as u32);
        let pixel = Self {
            rows: number(tags::ROWS, "Rows")?,
            columns: number(tags::COLUMNS, "Columns")?,
            samples: header.number(tags::SAMPLES_PER_PIXEL).map_or(1, |samples| samples as usize),
            frames: header.number(tags::NUMBER_OF_FRAMES).map_or(1, |frames| frames.max(0.0) as usize).max(1),
            allocated,
            stored,
            shift: (high + 1).saturating_sub(stored),
            signed: header.number(tags::PIXEL_REPRESENTATION) == Some(1.0),
            planes: header.number(tags::PLANAR_CONFIGURATION) == Some(1.0),
            photometric,
        };
        pixel.checked()
    }

    fn checked(self) -> Result<Self, Fault> {
        let wrong = |reason: String| Err(Fault::new("image-attributes-wrong", Blame::Peer, reason));
        if self.rows == 0 || self.columns == 0 {
            return wrong("the image has no rows or no columns".into());
        }
        if !matches!(self.allocated, 1 | 8 | 16 | 32) {
            let reason = format!("{} bits are allocated for a sample; 1, 8, 16 and 32 are read", self.allocated);
            return Err(Fault::new("image-bits-unsupported", Blame::Study, reason));
        }
        if self.stored == 0 || self.stored + self.shift > self.allocated {
            return wrong(format!(
                "{} bits stored do not lie within {} bits allocated as High Bit says",
                self.stored, self.allocated
            ));
        }
        if self.samples != self.photometric.samples() {
            return wrong(format!("{} samples per pixel do not go with the photometric interpretation", self.samples));
        }
        if self.samples == 3 && !matches!(self.allocated, 8 | 16) {
            let reason = "colour of other than 8 or 16 bits for a sample is not read";
            return Err(Fault::new("image-bits-unsupported", Blame::Study, reason));
        }
        if self.frames > MAX_FRAMES {
            let reason = format!("the image claims {} frames, at most {MAX_FRAMES} are read", self.frames);
            return Err(Fault::new("image-too-large", Blame::Peer, reason));
        }
        let frame = self.len() as u64 * u64::from(self.allocated.div_ceil(8));
        if frame > MAX_FRAME || frame * self.frames as u64 > MAX_DECODED {
            let reason = format!(
                "the image claims {} frames of {} x {} pixels, more than the {} MiB that are decoded for one job",
                self.frames,
                self.columns,
                self.rows,
                MAX_DECODED >> 20
            );
            return Err(Fault::new("image-too-large", Blame::Peer, reason));
        }
        Ok(self)
    }

    /// Samples of a frame. Rows and Columns are words of 16 bits, so that this cannot overflow.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns * self.samples
    }

    /// Bytes of a decoded frame.
    pub(super) fn bytes(&self) -> usize {
        self.len() * self.allocated.div_ceil(8) as usize
    }
}

fn number(header: &Header, tag: Tag, name: &str) -> Result<usize, Fault> {
    header.number(tag).filter(|n| (0.0..65_536.0).contains(n)).map(|n| n as usize).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Fault {
    Fault::new("image-attributes-missing", Blame::Peer, format!("the image does not state its {name}"))
}
