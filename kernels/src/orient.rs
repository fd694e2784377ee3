//! orient: permute and flip a volume's axes towards named patient directions. No value is interpolated.
use crate::{Grid, KernelError, Volume};

/// The directions in which the column, row and slice index grow, in this order: nibabel's convention, whose first axis is
/// the fastest one here.
///
/// `RAS`: columns towards the patient's right, rows towards anterior, slices towards superior.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation([Direction; 3]);

/// A patient axis (0 x, 1 y, 2 z) and whether along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direction {
    axis: usize,
    along: bool,
}

impl Orientation {
    /// Parses three letters out of R/L, A/P, S/I, each pair once: for columns, rows, slices.
    ///
    /// In LPS coordinates (PS3.3 C.7.6.2.1.1) x grows to the left, y to posterior, z to superior.
    pub fn parse(text: &str) -> Result<Self, KernelError> {
        let directions: Option<Vec<Direction>> = text.chars().map(Direction::parse).collect();
        match directions.as_deref() {
            Some(&[a, b, c]) if a.axis != b.axis && b.axis != c.axis && a.axis != c.axis => Ok(Self([a, b, c])),
            _ => Err(KernelError::Orientation(text.to_owned())),
        }
    }
}

impl Direction {
    fn parse(letter: char) -> Option<Self> {
        let (axis, along) = match letter {
            'L' => (0, true),
            'R' => (0, false),
            'P' => (1, true),
            'A' => (1, false),
            'S' => (2, true),
            'I' => (2, false),
            _ => return None,
        };
        Some(Self { axis, along })
    }
}

/// Turns a volume so that its index axes run in the named directions as nearly as permuting and flipping can.
///
/// The voxels keep their places in the patient: the grid is turned with them. Worked: 512 columns of 0.5 mm that run to the
/// patient's left (+x) from x = -128 are flipped by `RAS`; then they run to the right from x = 127.5.
/// A volume whose values do not fill its grid comes back as it is.
pub fn orient<T: Copy>(volume: &Volume<T>, to: Orientation) -> Volume<T> {
    let grid = &volume.grid;
    if volume.whole().is_err() || grid.is_empty() {
        return volume.clone();
    }
    let plan = plan(grid, to);
    let turned = oriented(grid, to);
    let dims = turned.dims;

    let stride = [grid.dims[1] * grid.dims[2], grid.dims[2], 1];
    // Where index n along new axis a starts in the old volume.
    let place = |a: usize, n: usize| stride[plan[a].0] * if plan[a].1 { dims[a] - 1 - n } else { n };
    let columns: Vec<usize> = (0..dims[2]).map(|i| place(2, i)).collect();
    let mut voxels = Vec::with_capacity(volume.voxels.len());
    for k in 0..dims[0] {
        for j in 0..dims[1] {
            let line = &volume.voxels[place(0, k) + place(1, j)..];
            voxels.extend(columns.iter().map(|column| line[*column]));
        }
    }
    Volume { grid: turned, voxels }
}

/// The grid that `orient` gives.
pub fn oriented(grid: &Grid, to: Orientation) -> Grid {
    if grid.is_empty() {
        return *grid;
    }
    let plan = plan(grid, to);
    let mut to_patient = grid.to_patient;
    for (new, old) in to_patient.iter_mut().zip(&grid.to_patient) {
        for (a, (from, reversed)) in plan.into_iter().enumerate() {
            new[a] = if reversed { -old[from] } else { old[from] };
            new[3] += if reversed { old[from] * (grid.dims[from] - 1) as f64 } else { 0.0 };
        }
    }
    Grid { dims: plan.map(|(old, _)| grid.dims[old]), to_patient }
}

/// For each new index axis (0 slice, 1 row, 2 column) the old one, and whether it is reversed.
fn plan(grid: &Grid, to: Orientation) -> [(usize, bool); 3] {
    let nearest = nearest_axes(grid);
    std::array::from_fn(|a| {
        let Direction { axis, along } = to.0[2 - a];
        let old = nearest.iter().position(|patient| *patient == axis).unwrap_or(a);
        (old, (grid.to_patient[axis][old] >= 0.0) != along)
    })
}

/// For each index axis the patient axis that it runs along most, each patient axis once, the largest cosine first.
fn nearest_axes(grid: &Grid) -> [usize; 3] {
    let spacing = grid.spacing();
    let cosine = |(index, patient): (usize, usize)| {
        let cosine = (grid.to_patient[patient][index] / spacing[index]).abs();
        // An axis without length points nowhere.
        if cosine.is_nan() { 0.0 } else { cosine }
    };
    let mut pairs: Vec<(usize, usize)> = (0..9).map(|n| (n / 3, n % 3)).collect();
    let mut nearest = [0; 3];
    while let Some(best) = pairs.iter().copied().rev().max_by(|a, b| cosine(*a).total_cmp(&cosine(*b))) {
        nearest[best.0] = best.1;
        pairs.retain(|pair| pair.0 != best.0 && pair.1 != best.1);
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_letters_name_each_axis_once() {
        for text in ["RAS", "LPS", "SLA", "PIR"] {
            assert!(Orientation::parse(text).is_ok());
        }
        for text in ["", "RA", "RLS", "RASx", "xRAS", "ras", "RASS", "R\u{c5}S"] {
            assert_eq!(Orientation::parse(text), Err(KernelError::Orientation(text.to_owned())));
        }
    }

    #[test]
    fn columns_that_run_to_the_left_are_flipped_by_ras() {
        let grid = Grid {
            dims: [1, 1, 512],
            to_patient: [[0.0, 0.0, 0.5, -128.0], [0.0, -0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]],
        };
        let volume = Volume { grid, voxels: (0..512u16).collect() };
        let turned = orient(&volume, Orientation::parse("RAS").unwrap());
        assert_eq!((turned.voxels[0], turned.voxels[511]), (511, 0));
        assert_eq!(turned.grid.to_patient[0], [0.0, 0.0, -0.5, 127.5]);
    }

    #[test]
    fn what_cannot_be_turned_comes_back_as_it_is() {
        let flat = Grid { dims: [2, 1, 2], to_patient: [[0.0; 4]; 3] };
        let to = Orientation::parse("SLA").unwrap();
        for voxels in [vec![], vec![1u8, 2, 3]] {
            let torn = Volume { grid: flat, voxels };
            assert_eq!(orient(&torn, to), torn);
        }
        assert_eq!(orient(&Volume { grid: flat, voxels: vec![1u8, 2, 3, 4] }, to).voxels.len(), 4);
    }
}
