//! Rectangles around what a text detector's score map shows.
use crate::{Component, KernelError, components};

/// How rectangles are made, as PP-OCR's postprocessing for differentiable binarisation does it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxRule {
    /// A pixel belongs to text where its score is above this.
    pub above: f32,
    /// The least mean score of a rectangle.
    pub score: f32,
    /// The rectangle grows by `grow * area / perimeter` on each side, as the labels were shrunk in training.
    pub grow: f32,
    /// The least side of a rectangle before it grows, in pixels of the map; when grown, two more.
    pub least_side: usize,
}

/// A rectangle in pixels of the source picture, whose top left corner is at (0, 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredBox {
    /// Left, top, right, bottom; pixel (column c, row r) reaches from (c, r) to (c + 1, r + 1).
    pub corners: [f32; 4],
    /// Mean score of the map within the rectangle before it grew, 0 to 1.
    pub score: f32,
}

/// The rectangles in a score map of `rows` x `columns`, scaled to a picture of `picture` rows, columns and cut at its edges,
/// in the order of their first pixels; an error where the scores do not fill the map.
///
/// Worked: columns 10 to 19 and rows 5 to 8, grow 1.4: area 40, perimeter 28, so 2 pixels on each side: (8, 3) to (22, 11).
pub fn boxes(
    scores: &[f32],
    [rows, columns]: [usize; 2],
    rule: &BoxRule,
    picture: [usize; 2],
) -> Result<Vec<ScoredBox>, KernelError> {
    match rows.checked_mul(columns).ok_or(KernelError::TooLarge)? {
        0 => return Err(KernelError::Empty),
        expected if expected != scores.len() => return Err(KernelError::Shape { expected, found: scores.len() }),
        _ => (),
    }
    let size = [picture[1] as f32, picture[0] as f32];
    let scale = [size[0] / columns as f32, size[1] / rows as f32];
    let grown = |component: &Component| {
        let [left, top, right, bottom] = component.bounds.map(|n| n as f32);
        let (right, bottom) = (right + 1.0, bottom + 1.0);
        let (width, height) = (right - left, bottom - top);
        let margin = rule.grow * width * height / (2.0 * (width + height));
        let side = width.min(height);
        let is_small = side < rule.least_side as f32 || side + 2.0 * margin < rule.least_side as f32 + 2.0;
        let corners = [
            ((left - margin) * scale[0]).max(0.0),
            ((top - margin) * scale[1]).max(0.0),
            ((right + margin) * scale[0]).min(size[0]),
            ((bottom + margin) * scale[1]).min(size[1]),
        ];
        (!is_small).then_some(ScoredBox { corners, score: component.score })
    };
    let found = components(scores, rows, columns, rule.above);
    Ok(found.iter().filter(|component| component.score >= rule.score).filter_map(grown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BoxRule = BoxRule { above: 0.3, score: 0.6, grow: 1.4, least_side: 3 };

    fn map(columns: std::ops::Range<usize>, rows: std::ops::Range<usize>, score: f32) -> Vec<f32> {
        (0..32 * 64)
            .map(|n| if columns.contains(&(n % 64)) && rows.contains(&(n / 64)) { score } else { 0.0 })
            .collect()
    }

    #[test]
    fn a_rectangle_grows_as_its_label_was_shrunk_and_scales_to_the_picture() {
        let found = boxes(&map(10..20, 5..9, 0.75), [32, 64], &RULE, [32, 64]).unwrap();
        assert_eq!(found, [ScoredBox { corners: [8.0, 3.0, 22.0, 11.0], score: 0.75 }]);
        let found = boxes(&map(10..20, 5..9, 0.75), [32, 64], &RULE, [64, 192]).unwrap();
        assert_eq!(found[0].corners, [24.0, 6.0, 66.0, 22.0]);
    }

    #[test]
    fn a_rectangle_ends_at_the_edge_of_the_picture() {
        let found = boxes(&map(0..64, 0..4, 0.9), [32, 64], &RULE, [32, 64]).unwrap();
        assert_eq!(found[0].corners[..3], [0.0, 0.0, 64.0]);
    }

    #[test]
    fn small_and_faint_ones_are_left_out_and_torn_maps_refused() {
        assert_eq!(boxes(&map(10..20, 5..7, 0.9), [32, 64], &RULE, [32, 64]), Ok(vec![]));
        assert_eq!(boxes(&map(10..20, 5..9, 0.5), [32, 64], &RULE, [32, 64]), Ok(vec![]));
        let torn = Err(KernelError::Shape { expected: 64 * 33, found: 64 * 32 });
        assert_eq!(boxes(&map(0..1, 0..1, 0.5), [33, 64], &RULE, [32, 64]), torn);
        assert_eq!(boxes(&[], [0, 64], &RULE, [32, 64]), Err(KernelError::Empty));
    }
}
