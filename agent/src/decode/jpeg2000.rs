//! JPEG 2000, reversible and irreversible (ISO/IEC 15444-1).
use super::pixel::Pixel;
use super::{Samples, samples};
use crate::fault::{Blame, Fault};
use crate::limits::decode::MAX_TILES;
use jpeg2k::{DecodeParameters, Image};

/// Decodes a frame. The codestream's own colour transform is undone: YBR_RCT and YBR_ICT come as RGB.
pub(super) fn decode(frame: &[u8], pixel: &Pixel) -> Result<Samples, Fault> {
    Size::of(frame)?.check(pixel)?;
    // Strict: a codestream that is cut off is a fault; half of an image is never passed on.
    let parameters = DecodeParameters::new().strict(true).ignore_pclr_cmap_cdef();
    let image = Image::from_bytes_with(frame, parameters).map_err(|error| broken(&error.to_string()))?;
    let components = image.components();
    let plane = pixel.rows * pixel.columns;
    let whole = |c: &jpeg2k::ImageComponent| c.width() as usize == pixel.columns && c.height() as usize == pixel.rows;
    let (Some(first), true) = (components.first(), components.len() == pixel.samples && components.iter().all(whole))
    else {
        return Err(broken("its components differ from what the data set says"));
    };
    let (precision, signed) = (first.precision(), first.is_signed());
    if components.iter().any(|c| (c.precision(), c.is_signed()) != (precision, signed)) {
        return Err(broken("its components differ from each other"));
    }
    if let [grey] = components {
        return Ok(samples::from_codec(grey.data().iter().copied(), precision, signed, pixel));
    }
    let planes: Vec<&[i32]> = components.iter().map(jpeg2k::ImageComponent::data).collect();
    let values = (0..plane).flat_map(|i| planes.iter().map(move |plane| plane[i]));
    Ok(samples::from_codec(values, precision, signed, pixel))
}

/// The SIZ segment (ISO/IEC 15444-1 A.5.1), read before the decoder allocates by it.
struct Size {
    width: u64,
    height: u64,
    tiles: u64,
    components: usize,
    subsampled: bool,
}

impl Size {
    fn of(frame: &[u8]) -> Result<Self, Fault> {
        // SOC and SIZ follow each other; within a JP2 file they come after its boxes.
        const START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
        let start = frame.windows(4).position(|w| w == START).ok_or_else(|| broken("it has no codestream"))?;
        let segment = &frame[start + 4..];
        let word = |n: usize| segment.get(4 + 4 * n..).and_then(|s| s.first_chunk()).map(|w| u32::from_be_bytes(*w));
        let words: Option<Vec<u64>> = (0..8).map(|n| word(n).map(u64::from)).collect();
        let (Some(&[x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0]), Some(&[high, low])) =
            (words.as_deref(), segment.get(36..).and_then(|s| s.first_chunk::<2>()))
        else {
            return Err(broken("its header is not whole"));
        };
        let components = usize::from(u16::from_be_bytes([high, low]));
        let sampling = segment.get(38..38 + 3 * components).ok_or_else(|| broken("its header is not whole"))?;
        if tile_x == 0 || tile_y == 0 || x1 <= x0 || y1 <= y0 || tile_x0 > x0 || tile_y0 > y0 {
            return Err(broken("its header contradicts itself"));
        }
        Ok(Self {
            width: x1 - x0,
            height: y1 - y0,
            tiles: (x1 - tile_x0).div_ceil(tile_x) * (y1 - tile_y0).div_ceil(tile_y),
            components,
            subsampled: sampling.as_chunks::<3>().0.iter().any(|[_, x, y]| (*x, *y) != (1, 1)),
        })
    }

    fn check(&self, pixel: &Pixel) -> Result<(), Fault> {
        if (self.height, self.width, self.components) != (pixel.rows as u64, pixel.columns as u64, pixel.samples) {
            return Err(broken("its size or number of components differs from what the data set says"));
        }
        if self.tiles > MAX_TILES {
            return Err(broken("it claims more tiles than are read"));
        }
        if self.subsampled {
            let reason = "a JPEG 2000 frame has components of less than full resolution, which are not read";
            return Err(Fault::new("pixels-jpeg2000-unsupported", Blame::Study, reason));
        }
        Ok(())
    }
}

fn broken(why: &str) -> Fault {
    Fault::new("pixels-malformed", Blame::Peer, format!("a JPEG 2000 frame cannot be decoded: {why}"))
}
