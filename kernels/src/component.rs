//! Connected components: the largest one, holes, and rectangles in an image.
use crate::Volume;

/// The mask's largest 26-connected component, the first of equals.
pub fn largest_component(mask: &Volume<u8>) -> Volume<u8> {
    let mut neighbours = Vec::with_capacity(26);
    for k in -1..=1 {
        for j in -1..=1 {
            for i in -1..=1 {
                if (k, j, i) != (0, 0, 0) {
                    neighbours.push([k, j, i]);
                }
            }
        }
    }
    let mut labels = vec![0u32; mask.voxels.len()];
    let mut best = (0, 0);
    let mut label = 0;
    for seed in 0..mask.voxels.len() {
        if mask.voxels[seed] == 0 || labels[seed] != 0 {
            continue;
        }
        label += 1;
        let size = flood(mask.grid.dims, seed, &neighbours, &mut labels, label, |n| mask.voxels[n] > 0);
        if size > best.0 {
            best = (size, label);
        }
    }
    let voxels = labels.into_iter().map(|l| u8::from(l != 0 && l == best.1)).collect();
    Volume { grid: mask.grid, voxels }
}

/// The mask with its holes filled: background that does not reach the edge through 6-connected background.
pub fn fill_holes(mask: &Volume<u8>) -> Volume<u8> {
    const FACES: [[isize; 3]; 6] = [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]];
    let dims = mask.grid.dims;
    let mut labels = vec![0u32; mask.voxels.len()];
    for seed in 0..mask.voxels.len() {
        let index = [seed / (dims[1] * dims[2]), seed / dims[2] % dims[1], seed % dims[2]];
        let on_edge = (0..3).any(|a| index[a] == 0 || index[a] + 1 == dims[a]);
        if on_edge && mask.voxels[seed] == 0 && labels[seed] == 0 {
            flood(dims, seed, &FACES, &mut labels, 1, |n| mask.voxels[n] == 0);
        }
    }
    Volume { grid: mask.grid, voxels: labels.into_iter().map(|l| u8::from(l == 0)).collect() }
}

/// A rectangle around an 8-connected component of an image's mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// First column and row, last column and row.
    pub bounds: [usize; 4],
    /// Pixels of the component.
    pub area: usize,
    /// Mean score over the rectangle.
    pub score: f32,
}

/// The components of `scores > above` in a picture of `rows` x `columns`, in the order of their first pixel.
pub fn components(scores: &[f32], rows: usize, columns: usize, above: f32) -> Vec<Component> {
    const AROUND: [[isize; 3]; 8] =
        [[0, -1, -1], [0, -1, 0], [0, -1, 1], [0, 0, -1], [0, 0, 1], [0, 1, -1], [0, 1, 0], [0, 1, 1]];
    let mut labels = vec![0u32; scores.len()];
    let mut found = Vec::new();
    for seed in 0..scores.len().min(rows * columns) {
        if scores[seed] <= above || labels[seed] != 0 {
            continue;
        }
        let label = found.len() as u32 + 1;
        let mut bounds = [usize::MAX, usize::MAX, 0, 0];
        let area = flood([1, rows, columns], seed, &AROUND, &mut labels, label, |n| {
            let inside = scores[n] > above;
            if inside {
                let (row, column) = (n / columns, n % columns);
                bounds = [bounds[0].min(column), bounds[1].min(row), bounds[2].max(column), bounds[3].max(row)];
            }
            inside
        });
        let mut sum = 0.0;
        for row in bounds[1]..=bounds[3] {
            sum += scores[row * columns + bounds[0]..=row * columns + bounds[2]].iter().sum::<f32>();
        }
        let score = sum / ((bounds[2] - bounds[0] + 1) * (bounds[3] - bounds[1] + 1)) as f32;
        found.push(Component { bounds, area, score });
    }
    found
}

/// Labels everything that is connected to `seed`; its size. A list of places instead of recursion.
fn flood(
    dims: [usize; 3],
    seed: usize,
    neighbours: &[[isize; 3]],
    labels: &mut [u32],
    label: u32,
    mut belongs: impl FnMut(usize) -> bool,
) -> usize {
    let mut open = Vec::new();
    if belongs(seed) {
        labels[seed] = label;
        open.push(seed);
    }
    let mut size = 0;
    while let Some(at) = open.pop() {
        size += 1;
        let index = [at / (dims[1] * dims[2]), at / dims[2] % dims[1], at % dims[2]];
        for step in neighbours {
            let next: [Option<usize>; 3] =
                std::array::from_fn(|a| index[a].checked_add_signed(step[a]).filter(|n| *n < dims[a]));
            let [Some(k), Some(j), Some(i)] = next else { continue };
            let next = (k * dims[1] + j) * dims[2] + i;
            if labels[next] == 0 && belongs(next) {
                labels[next] = label;
                open.push(next);
            }
        }
    }
    size
}
