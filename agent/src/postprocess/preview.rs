//! The colour preview: what was given, with what was found drawn over it.
use super::boxes::ScoredBox;
use crate::inference::{Picture, Segment};
use sund_kernels::{KernelError, Volume};

/// Most tiles of a mosaic.
const TILES: usize = 12;

/// Slices of a volume, evenly chosen, three or four to a row, with each segment tinted and outlined.
///
/// A tile shows a slice as it is stored: row 0 at the top, column 0 at the left.
pub fn mosaic(volume: &Volume<f32>, segments: &[Segment]) -> Result<Picture, KernelError> {
    let [slices, rows, columns] = volume.grid.dims;
    let range = sund_kernels::quantiles(&volume.voxels, &[0.005, 0.995]).unwrap_or_else(|_| vec![0.0, 1.0]);
    let tiles = slices.min(TILES);
    let across = tiles.min(4);
    let down = tiles.div_ceil(across.max(1));
    let (width, height) = (across * columns, down * rows);
    let mut rgb = vec![0; 3 * width * height];
    for tile in 0..tiles {
        let slice = (2 * tile + 1) * slices / (2 * tiles);
        let at = slice * rows * columns;
        let mut grey = volume.voxels[at..at + rows * columns].to_vec();
        sund_kernels::clip_range(&mut grey, range[0], range[1]);
        let mut picture: Vec<u8> = grey.into_iter().flat_map(|value| [(value * 255.0) as u8; 3]).collect();
        for segment in segments {
            let mask = &segment.mask[at..at + rows * columns];
            sund_kernels::overlay(&mut picture, mask, [rows, columns], segment.colour)?;
        }
        for (row, line) in picture.chunks_exact((3 * columns).max(1)).enumerate() {
            let place = 3 * (((tile / across) * rows + row) * width + (tile % across) * columns);
            rgb[place..place + 3 * columns].copy_from_slice(line);
        }
    }
    Ok(Picture { width: width as u32, height: height as u32, rgb })
}

/// An image with its boxes outlined.
pub fn outlined(dims: [usize; 2], mut rgb: Vec<u8>, boxes: &[ScoredBox]) -> Picture {
    const COLOUR: [u8; 3] = [255, 176, 0];
    let [rows, columns] = dims;
    for found in boxes {
        let [left, top, right, bottom] = found.corners;
        let (left, right) = (left as usize, (right as usize).min(columns.saturating_sub(1)));
        let (top, bottom) = (top as usize, (bottom as usize).min(rows.saturating_sub(1)));
        for row in top..=bottom {
            for column in left..=right {
                let on_edge = row < top + 2 || row + 2 > bottom || column < left + 2 || column + 2 > right;
                if on_edge && row < rows && column < columns {
                    let place = 3 * (row * columns + column);
                    rgb[place..place + 3].copy_from_slice(&COLOUR);
                }
            }
        }
    }
    Picture { width: columns as u32, height: rows as u32, rgb }
}
