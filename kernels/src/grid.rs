//! Where voxels lie in the patient.
use crate::KernelError;

/// A regular voxel lattice in the patient coordinate system (LPS, mm; PS3.3 C.7.6.2.1.1).
///
/// Voxel `(k, j, i)` is slice, row, column; its centre lies at
/// `to_patient * (k, j, i, 1)`. In memory `i` runs fastest: `index = (k * rows + j) * columns + i`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Slices, rows, columns.
    pub dims: [usize; 3],
    /// Rows x, y, z; columns: mm per slice step, per row step, per column step, centre of voxel (0, 0, 0).
    pub to_patient: [[f64; 4]; 3],
}

/// A scalar field on a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume<T> {
    /// Shape and place.
    pub grid: Grid,
    /// `dims[0] * dims[1] * dims[2]` values, column index fastest.
    pub voxels: Vec<T>,
}

impl Grid {
    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True where one of the sides is zero.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// Patient coordinates (mm) of a voxel index, which may be fractional.
    pub fn to_mm(&self, index: [f64; 3]) -> [f64; 3] {
        let m = &self.to_patient;
        std::array::from_fn(|r| m[r][0] * index[0] + m[r][1] * index[1] + m[r][2] * index[2] + m[r][3])
    }

    /// Step length in mm along slice, row and column index.
    pub fn spacing(&self) -> [f64; 3] {
        let m = &self.to_patient;
        std::array::from_fn(|c| (0..3).map(|r| m[r][c] * m[r][c]).sum::<f64>().sqrt())
    }

    /// Volume of one voxel in mm³ (the determinant's magnitude).
    pub fn voxel_mm3(&self) -> f64 {
        self.determinant().abs()
    }

    /// The inverse of `to_patient`: rows slice, row, column index; columns x, y, z in mm, offset.
    ///
    /// `KernelError::Singular` where the axes lie in one plane to within a millionth.
    pub fn from_patient(&self) -> Result<[[f64; 4]; 3], KernelError> {
        let determinant = self.determinant();
        // Relative to the steps, so that a microscope's voxels are as good as a scanner's. NaN is refused too.
        let upright = determinant.abs() / self.spacing().iter().product::<f64>();
        if !upright.is_finite() || upright < 1e-6 {
            return Err(KernelError::Singular);
        }
        let m = &self.to_patient;
        Ok(std::array::from_fn(|r| {
            // Cofactors with cyclic indices carry their sign.
            let (c1, c2) = ((r + 1) % 3, (r + 2) % 3);
            let row: [f64; 3] = std::array::from_fn(|c| {
                let (r1, r2) = ((c + 1) % 3, (c + 2) % 3);
                (m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]) / determinant
            });
            [row[0], row[1], row[2], -(row[0] * m[0][3] + row[1] * m[1][3] + row[2] * m[2][3])]
        }))
    }

    fn determinant(&self) -> f64 {
        let m = &self.to_patient;
        let c = |a: usize, b: usize, d: usize| m[0][a] * (m[1][b] * m[2][d] - m[2][b] * m[1][d]);
        c(0, 1, 2) - c(1, 0, 2) + c(2, 0, 1)
    }
}

impl<T> Volume<T> {
    /// A volume whose values fill its grid; `KernelError::Shape` where they do not.
    pub fn new(grid: Grid, voxels: Vec<T>) -> Result<Self, KernelError> {
        let volume = Self { grid, voxels };
        volume.whole()?;
        Ok(volume)
    }

    /// Checks that the values fill the grid.
    pub(crate) fn whole(&self) -> Result<(), KernelError> {
        let expected = voxels_of(self.grid.dims)?;
        if self.voxels.len() == expected {
            return Ok(());
        }
        Err(KernelError::Shape { expected, found: self.voxels.len() })
    }
}

/// The number of voxels, where it can be counted at all.
pub(crate) fn voxels_of(dims: [usize; 3]) -> Result<usize, KernelError> {
    dims.iter().try_fold(1usize, |n, side| n.checked_mul(*side)).ok_or(KernelError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_leads_back_to_the_index() {
        let grid = Grid {
            dims: [3, 4, 5],
            to_patient: [[0.1, -0.7, 0.2, 10.0], [0.3, 0.4, 0.6, -20.0], [-3.0, 0.1, 0.0, 30.0]],
        };
        let (m, mm) = (grid.from_patient().unwrap(), grid.to_mm([1.0, 2.5, 4.0]));
        for (r, want) in [1.0, 2.5, 4.0].into_iter().enumerate() {
            let index = m[r][0] * mm[0] + m[r][1] * mm[1] + m[r][2] * mm[2] + m[r][3];
            assert!((index - want).abs() < 1e-12);
        }
    }

    #[test]
    fn axes_in_one_plane_have_no_inverse_however_fine_but_micrometres_have() {
        let scaled = |s: f64, tilt: f64| Grid {
            dims: [1, 1, 1],
            to_patient: [[s, 0.0, 0.0, 0.0], [0.0, s, 0.0, 0.0], [0.0, s, tilt, 0.0]],
        };
        assert!(scaled(2.5e-5, 2.5e-5).from_patient().is_ok());
        assert_eq!(scaled(1.0, 0.0).from_patient(), Err(KernelError::Singular));
        assert_eq!(scaled(f64::NAN, 1.0).from_patient(), Err(KernelError::Singular));
    }

    #[test]
    fn values_that_do_not_fill_the_grid_are_refused() {
        let grid = Grid { dims: [2, 2, 2], to_patient: [[0.0; 4]; 3] };
        assert_eq!(Volume::new(grid, vec![0u8; 7]), Err(KernelError::Shape { expected: 8, found: 7 }));
        let endless = Grid { dims: [usize::MAX, 2, 2], ..grid };
        assert_eq!(Volume::new(endless, vec![0u8; 7]), Err(KernelError::TooLarge));
    }
}
