//! Steps on single images.
use super::{Planes, Value, Values, operation_failed};
use crate::decode::{DecodedImage, Samples};
use crate::fault::{Blame, Fault};
use crate::limits::model::MAX_SIDE;
use crate::model::step::ChannelOrder;
use sund_kernels::{Grid, Interpolation, Volume, resize};

/// An image as 8-bit RGB: colour as it is; grey through its window, or, without one, between its 0.005 and 0.999 quantiles.
pub fn rgb(image: &DecodedImage) -> Result<Vec<u8>, Fault> {
    if image.channels == 3 {
        return match &image.samples {
            Samples::U8(values) => Ok(values.clone()),
            _ => Err(Fault::new("image-unsupported", Blame::Study, "a colour image has more than 8 bits")),
        };
    }
    let mut values = image.samples.to_real(image.slope, image.intercept);
    match (&image.samples, image.window) {
        (Samples::U8(_), None) => values.iter_mut().for_each(|v| *v /= 255.0),
        (_, Some((center, width))) => sund_kernels::window(&mut values, center, width),
        (_, None) => {
            let range = sund_kernels::quantiles(&values, &[0.005, 0.999]).map_err(operation_failed)?;
            sund_kernels::clip_range(&mut values, range[0], range[1]);
        }
    }
    Ok(values.into_iter().flat_map(|v| [(v * 255.0).round() as u8; 3]).collect())
}

/// An image as the value `input`: planes of red, green, blue, 0 to 255.
pub fn planes(image: &DecodedImage) -> Result<Planes, Fault> {
    let rgb = rgb(image)?;
    let pixels = rgb.as_chunks::<3>().0;
    let mut values = Vec::with_capacity(3 * pixels.len());
    for channel in 0..3 {
        values.extend(pixels.iter().map(|pixel| f32::from(pixel[channel])));
    }
    Ok(Planes { dims: image.dims, channels: 3, values, source: image.dims })
}

/// Scales an image to at most `longest`, both sides to multiples of `multiple` (bilinear), orders and normalises its channels.
pub fn fit(
    values: &Values,
    from: &str,
    longest: usize,
    multiple: usize,
    order: ChannelOrder,
    mean: f32,
    deviation: f32,
) -> Result<Value, Fault> {
    let image = values.image(from)?;
    let sides = image.dims;
    let scale = (longest.min(MAX_SIDE) as f64 / sides[0].max(sides[1]).max(1) as f64).min(1.0);
    let multiple = multiple.max(1);
    let dims = sides.map(|side| ((side as f64 * scale / multiple as f64).round() as usize).max(1) * multiple);
    let plane = sides[0] * sides[1];
    let flat = Grid {
        dims: [1, sides[0], sides[1]],
        to_patient: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
    };
    let channels: [usize; 3] = match order {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let mut out = Vec::with_capacity(3 * dims[0] * dims[1]);
    for channel in channels {
        let voxels = image.values.get(channel * plane..(channel + 1) * plane).unwrap_or_default().to_vec();
        let scaled = resize(&Volume { grid: flat, voxels }, [1, dims[0], dims[1]], Interpolation::Linear)
            .map_err(operation_failed)?;
        out.extend(scaled.voxels.into_iter().map(|v| (v / 255.0 - mean) / deviation));
    }
    Ok(Value::Image(Planes { dims, channels: 3, values: out, source: image.source }))
}
