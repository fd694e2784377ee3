//! Single images: one for each frame, with the photometric interpretation resolved.
use super::frames::Frames;
use super::geometry::{Geometry, Rescale};
use super::pixel::{Photometric, Pixel};
use super::{DecodedImage, Samples, SourceInstance, colour, series};
use crate::fault::StageError;

/// Decodes every frame of the instances, in their order.
///
/// Grey images are turned so that larger values are brighter: MONOCHROME1 is inverted over its stored range, and its window
/// with it. Colour comes as RGB of 8 bits.
pub fn images(instances: &[SourceInstance]) -> Result<Vec<DecodedImage>, StageError> {
    let opened = series::open(instances)?;
    let wanted: Vec<(usize, usize)> = opened
        .iter()
        .enumerate()
        .flat_map(|(i, frames)| (0..frames.pixel.frames).map(move |frame| (i, frame)))
        .collect();
    let geometries = opened.iter().map(Geometry::of).collect::<Result<Vec<_>, _>>()?;
    let decoded = series::decode(&opened, &wanted)?;
    std::iter::zip(wanted, decoded)
        .map(|((i, frame), samples)| image(&opened[i], &geometries[i], frame, samples))
        .collect()
}

fn image(frames: &Frames, geometry: &Geometry, frame: usize, samples: Samples) -> Result<DecodedImage, StageError> {
    let pixel = &frames.pixel;
    let mut image = DecodedImage {
        dims: [pixel.rows, pixel.columns],
        channels: 1,
        samples,
        slope: 1.0,
        intercept: 0.0,
        window: None,
        spacing: geometry.spacing(frame)?,
        source: series::source(frames, frame),
    };
    if !pixel.photometric.is_grey() {
        image.channels = 3;
        image.samples = Samples::U8(colour::to_rgb(frames, image.samples)?);
        return Ok(image);
    }
    let rescale = geometry.rescale(frame)?;
    (image.slope, image.intercept) = (rescale.slope, rescale.intercept);
    image.window = geometry.window(frame)?;
    if pixel.photometric == Photometric::Monochrome1 {
        invert(&mut image.samples, pixel);
        image.window = image.window.map(|window| inverted(window, rescale, pixel));
    }
    Ok(image)
}

/// The sum of the lowest and the highest stored value: v becomes `sum - v`.
fn range_sum(pixel: &Pixel) -> f64 {
    if pixel.signed { -1.0 } else { 2_f64.powi(pixel.stored as i32) - 1.0 }
}

fn invert(samples: &mut Samples, pixel: &Pixel) {
    let sum = range_sum(pixel);
    match samples {
        Samples::U8(v) => v.iter_mut().for_each(|v| *v = (sum as u8) - *v),
        Samples::U16(v) => v.iter_mut().for_each(|v| *v = (sum as u16) - *v),
        Samples::I16(v) => v.iter_mut().for_each(|v| *v = !*v),
        Samples::I32(v) => v.iter_mut().for_each(|v| *v = (sum as i64 - i64::from(*v)) as i32),
        Samples::F32(v) => v.iter_mut().for_each(|v| *v = sum as f32 - *v),
    }
}

/// PS3.3 C.11.2.1.2: a window lies around its centre - 0.5, which is what is mirrored.
fn inverted((centre, width): (f32, f32), rescale: Rescale, pixel: &Pixel) -> (f32, f32) {
    let mirror = rescale.slope * range_sum(pixel) as f32 + 2.0 * rescale.intercept;
    (mirror - centre + 1.0, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monochrome1_is_turned_over_its_stored_range() {
        let pixel = Pixel {
            rows: 1,
            columns: 2,
            samples: 1,
            frames: 1,
            allocated: 16,
            stored: 10,
            shift: 0,
            signed: false,
            planes: false,
            photometric: Photometric::Monochrome1,
        };
        let mut samples = Samples::U16(vec![0, 1000]);
        invert(&mut samples, &pixel);
        assert_eq!(samples, Samples::U16(vec![1023, 23]));
        // Dark from 100 to 300 of 1023 before: 723 to 923 after.
        let rescale = Rescale { slope: 1.0, intercept: 0.0 };
        assert_eq!(inverted((200.5, 201.0), rescale, &pixel), (823.5, 201.0));
        let signed = Pixel { signed: true, stored: 16, ..pixel };
        let mut samples = Samples::I16(vec![i16::MIN, 5]);
        invert(&mut samples, &signed);
        assert_eq!(samples, Samples::I16(vec![i16::MAX, -6]));
    }
}
