//! Single images, photometric interpretation resolved.
use super::frames::pixels;
use super::samples::{inverted, rgb, stored};
use super::{DecodedImage, Samples, SourceInstance};
use crate::fault::StageError;
use crate::inference::SourceFrame;
use dicom_dictionary_std::tags;

/// Decodes every frame of every instance, in the order given.
pub fn images(instances: &[SourceInstance]) -> Result<Vec<DecodedImage>, StageError> {
    let mut images = Vec::new();
    for instance in instances {
        let header = &instance.header;
        let pixels = pixels(header, &instance.dataset)?;
        let shape = &pixels.shape;
        let frames = pixels.frames.len();
        for (n, frame) in pixels.frames.iter().enumerate() {
            let is_colour = shape.channels == 3 || shape.photometric == "PALETTE COLOR";
            let samples = if is_colour {
                Samples::U8(rgb(header, shape, frame, pixels.is_rgb)?)
            } else if shape.photometric == "MONOCHROME1" {
                inverted(shape, stored(shape, frame))
            } else {
                stored(shape, frame)
            };
            let number = |tag| header.number(tag).map(|value| value as f32);
            images.push(DecodedImage {
                dims: [shape.rows, shape.columns],
                channels: if is_colour { 3 } else { 1 },
                samples,
                slope: number(tags::RESCALE_SLOPE).filter(|_| !is_colour).unwrap_or(1.0),
                intercept: number(tags::RESCALE_INTERCEPT).filter(|_| !is_colour).unwrap_or(0.0),
                window: number(tags::WINDOW_CENTER).zip(number(tags::WINDOW_WIDTH)),
                spacing: match header.numbers(tags::PIXEL_SPACING)[..] {
                    [row, column, ..] => Some([row as f32, column as f32]),
                    _ => None,
                },
                source: SourceFrame {
                    sop_class: instance.sop_class.clone(),
                    sop_instance: instance.sop_instance.clone(),
                    frame: (frames > 1).then_some(n as u32 + 1),
                },
            });
        }
    }
    Ok(images)
}
