//! Where voxels lie in the patient.

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
        self.len() == 0
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
        let m = &self.to_patient;
        let c = |a: usize, b: usize, d: usize| m[0][a] * (m[1][b] * m[2][d] - m[2][b] * m[1][d]);
        (c(0, 1, 2) - c(1, 0, 2) + c(2, 0, 1)).abs()
    }
}
