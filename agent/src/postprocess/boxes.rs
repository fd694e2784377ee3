//! Boxes out of a text detector's score map.
use crate::fault::{Blame, Fault};
use crate::preprocess::{Value, Values};

/// A rectangle in pixels of the source image, its top left corner at (0, 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredBox {
    /// Left, top, right, bottom.
    pub corners: [f32; 4],
    /// Mean score, 0 to 1.
    pub score: f32,
}

/// Components of the score map, grown by `grow * area / perimeter` of their rectangle as their labels were shrunk in training
/// (differentiable binarisation), scaled back to the source.
pub fn text_boxes(
    values: &Values,
    from: &str,
    above: f32,
    score: f32,
    grow: f32,
    least_side: usize,
) -> Result<Value, Fault> {
    let Value::Answer { tensor, source: Some(source), .. } = values.get(from)? else {
        return Err(Fault::new("step-wrong-kind", Blame::Package, format!("`{from}` is not the answer for an image")));
    };
    let [.., rows, columns] = tensor.shape[..] else {
        return Err(Fault::new("step-wrong-kind", Blame::Package, format!("`{from}` is no map of rows and columns")));
    };
    let scale = [source[1] as f32 / columns as f32, source[0] as f32 / rows as f32];
    let boxes = sund_kernels::components(&tensor.values, rows, columns, above)
        .into_iter()
        .filter(|c| c.score >= score)
        .filter_map(|c| {
            let [left, top, right, bottom] = c.bounds.map(|n| n as f32);
            let (width, height) = (right - left + 1.0, bottom - top + 1.0);
            if width.min(height) < least_side as f32 {
                return None;
            }
            let margin = grow * width * height / (2.0 * (width + height));
            let corners = [
                ((left - margin) * scale[0]).max(0.0),
                ((top - margin) * scale[1]).max(0.0),
                ((right + 1.0 + margin) * scale[0]).min(source[1] as f32),
                ((bottom + 1.0 + margin) * scale[1]).min(source[0] as f32),
            ];
            Some(ScoredBox { corners, score: c.score })
        });
    Ok(Value::Boxes(boxes.collect()))
}
