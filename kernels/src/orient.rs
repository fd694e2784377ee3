//! orient: permute and flip a volume's axes towards named patient directions. No value is interpolated.
use crate::{Grid, KernelError, Volume};

/// The directions in which the column, row and slice index grow, e.g. `RAS`: columns towards the patient's right, rows
/// towards anterior, slices towards superior.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation([(usize, bool); 3]);

impl Orientation {
    /// Parses three letters out of R/L, A/P, S/I, each pair once: for columns, rows, slices.
    ///
    /// In LPS coordinates (PS3.3 C.7.6.2.1.1) x grows to the left, y to posterior, z to superior.
    pub fn parse(text: &str) -> Result<Self, KernelError> {
        let axes: Vec<(usize, bool)> = text
            .chars()
            .filter_map(|letter| match letter {
                'L' => Some((0, true)),
                'R' => Some((0, false)),
                'P' => Some((1, true)),
                'A' => Some((1, false)),
                'S' => Some((2, true)),
                'I' => Some((2, false)),
                _ => None,
            })
            .collect();
        match axes[..] {
            [a, b, c] if a.0 != b.0 && b.0 != c.0 && a.0 != c.0 && text.len() == 3 => Ok(Self([a, b, c])),
            _ => Err(KernelError::Orientation(text.to_owned())),
        }
    }
}

/// Turns a volume so that its index axes run in the named directions as nearly as permuting and flipping can.
///
/// The voxels keep their places in the patient: the grid is turned with them. Worked: an axial volume whose rows run
/// right to left (+x) has its columns flipped by `RAS`.
pub fn orient<T: Copy>(volume: &Volume<T>, to: Orientation) -> Volume<T> {
    let grid = &volume.grid;
    let assigned = nearest_axes(grid);
    // For output index axis a (0 slice, 1 row, 2 column): the input axis, and whether it is reversed.
    let plan: [(usize, bool); 3] = std::array::from_fn(|a| {
        let (patient, positive) = to.0[2 - a];
        let source = assigned.iter().position(|axis| *axis == patient).unwrap_or(a);
        (source, (grid.to_patient[patient][source] >= 0.0) != positive)
    });
    let dims = plan.map(|(source, _)| grid.dims[source]);
    let mut to_patient = [[0.0; 4]; 3];
    for (r, row) in to_patient.iter_mut().enumerate() {
        let m = &grid.to_patient[r];
        row[3] = m[3];
        for (a, (source, reversed)) in plan.into_iter().enumerate() {
            row[a] = if reversed { -m[source] } else { m[source] };
            if reversed {
                row[3] += m[source] * (grid.dims[source].saturating_sub(1)) as f64;
            }
        }
    }
    let stride = [grid.dims[1] * grid.dims[2], grid.dims[2], 1];
    let step =
        plan.map(|(source, reversed)| if reversed { -(stride[source] as isize) } else { stride[source] as isize });
    let start: isize = plan
        .iter()
        .map(|(source, reversed)| if *reversed { (stride[*source] * (grid.dims[*source] - 1)) as isize } else { 0 })
        .sum();
    let mut voxels = Vec::with_capacity(volume.voxels.len());
    for k in 0..dims[0] as isize {
        for j in 0..dims[1] as isize {
            let line = start + k * step[0] + j * step[1];
            voxels.extend((0..dims[2] as isize).map(|i| volume.voxels[(line + i * step[2]) as usize]));
        }
    }
    Volume { grid: Grid { dims, to_patient }, voxels }
}

/// For each index axis the patient axis that it runs along most, each patient axis once (largest cosines first).
fn nearest_axes(grid: &Grid) -> [usize; 3] {
    let spacing = grid.spacing();
    let mut assigned = [usize::MAX; 3];
    let mut taken = [false; 3];
    for _ in 0..3 {
        let mut best = (-1.0, 0, 0);
        for index in (0..3).filter(|index| assigned[*index] == usize::MAX) {
            for patient in (0..3).filter(|patient| !taken[*patient]) {
                let cosine = (grid.to_patient[patient][index] / spacing[index]).abs();
                if cosine > best.0 {
                    best = (cosine, index, patient);
                }
            }
        }
        assigned[best.1] = best.2;
        taken[best.2] = true;
    }
    assigned
}
