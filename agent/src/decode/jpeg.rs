//! JPEG baseline and, where they have 8 bits, extended and lossless processes (ISO/IEC 10918-1).
use super::pixel::{Photometric, Pixel};
use super::{Samples, samples};
use crate::fault::{Blame, Fault};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

/// Decodes a frame; colour comes as RGB.
pub(super) fn decode(frame: &[u8], pixel: &Pixel) -> Result<Samples, Fault> {
    let mut decoder = Decoder::new(frame);
    // Header first: what it claims must be what the data set claims, which is within the limits.
    decoder.read_info().map_err(|error| fault(&error))?;
    let info = decoder.info().ok_or_else(|| broken("it has no frame header"))?;
    let components = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
    };
    if (usize::from(info.height), usize::from(info.width), components) != (pixel.rows, pixel.columns, pixel.samples) {
        return Err(broken("its size or number of components differs from what the data set says"));
    }
    if components == 3 {
        let rgb = pixel.photometric == Photometric::Rgb && !says_ycbcr(frame);
        decoder.set_color_transform(if rgb { ColorTransform::RGB } else { ColorTransform::YCbCr });
    }
    decoder.set_max_decoding_buffer_size(pixel.len());
    let bytes = decoder.decode().map_err(|error| fault(&error))?;
    let values: Samples = if info.pixel_format == PixelFormat::L16 {
        let words = bytes.as_chunks::<2>().0.iter().map(|word| i32::from(u16::from_ne_bytes(*word)));
        samples::from_codec(words, 16, false, pixel)
    } else if pixel.allocated == 8 && !pixel.signed && pixel.stored == 8 {
        Samples::U8(bytes)
    } else {
        samples::from_codec(bytes.into_iter().map(i32::from), 8, false, pixel)
    };
    if values.len() != pixel.len() {
        return Err(broken("it has fewer pixels than its header says"));
    }
    Ok(values)
}

/// True where a JFIF or an Adobe segment says that the components are YCbCr. Senders that wrap such a picture and call it
/// RGB are common; a picture that is RGB has neither.
fn says_ycbcr(frame: &[u8]) -> bool {
    let mut rest = frame.get(2..).unwrap_or_default();
    while let [0xff, marker, high, low, ..] = *rest {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length).unwrap_or_default();
        match marker {
            0xe0 if segment.starts_with(b"JFIF\0") => return true,
            0xee if segment.starts_with(b"Adobe") => return segment.get(11) == Some(&1),
            // Start of frame or of scan: application segments come before.
            0xc0..=0xc3 | 0xda => return false,
            _ => {}
        }
        rest = rest.get(2 + length..).unwrap_or_default();
    }
    false
}

fn fault(error: &jpeg_decoder::Error) -> Fault {
    match error {
        jpeg_decoder::Error::Unsupported(what) => Fault::new(
            "pixels-jpeg-process-unsupported",
            Blame::Study,
            format!("a JPEG frame uses what is not decoded here: {what:?}"),
        ),
        error => broken(&error.to_string()),
    }
}

fn broken(why: &str) -> Fault {
    Fault::new("pixels-malformed", Blame::Peer, format!("a JPEG frame cannot be decoded: {why}"))
}
