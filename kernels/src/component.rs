//! Connected components: the largest one, holes, and the components of a picture.
//!
//! A component is built of runs (neighbouring voxels of one row) that are united where they touch: one pass over the voxels,
//! no recursion, memory by the number of runs.
use crate::Volume;

/// The mask's largest 26-connected component (faces, edges and corners touch), the first of equals, as 0 and 1.
///
/// Worked: of a cube of 27 voxels and a lone voxel the cube stays. A mask whose values do not fill its grid comes back as it is.
pub fn largest_component(mask: &Volume<u8>) -> Volume<u8> {
    if mask.whole().is_err() {
        return mask.clone();
    }
    let mut runs = Runs::find(mask.grid.dims, Touch::Corners, |n| mask.voxels[n] > 0);
    let roots = runs.roots();
    let mut sizes = vec![0usize; roots.len()];
    roots.iter().zip(&runs.all).for_each(|(root, run)| sizes[*root] += run.len());
    let largest = (0..sizes.len()).rev().max_by_key(|root| sizes[*root]);
    runs.painted(mask, 0, |run| (Some(roots[run]) == largest).then_some(1))
}

/// The mask, as 0 and 1, with its holes filled: background that does not reach the volume's edge through faces
/// (scipy's `binary_fill_holes`).
///
/// Worked: a hollow cube of 26 voxels becomes one of 27. A mask whose values do not fill its grid comes back as it is.
pub fn fill_holes(mask: &Volume<u8>) -> Volume<u8> {
    if mask.whole().is_err() {
        return mask.clone();
    }
    let [slices, rows, columns] = mask.grid.dims;
    let mut runs = Runs::find(mask.grid.dims, Touch::Faces, |n| mask.voxels[n] == 0);
    let roots = runs.roots();
    let mut is_open = vec![false; roots.len()];
    for (line, range) in runs.lines() {
        let (k, j) = (line / rows, line % rows);
        let edge_line = k == 0 || k + 1 == slices || j == 0 || j + 1 == rows;
        for run in range {
            is_open[roots[run]] |= edge_line || runs.all[run].start == 0 || runs.all[run].end as usize == columns;
        }
    }
    runs.painted(mask, 1, |run| is_open[roots[run]].then_some(0))
}

/// An 8-connected component of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// First column and row, last column and row.
    pub bounds: [usize; 4],
    /// Pixels of the component.
    pub area: usize,
    /// Mean score over the rectangle of its bounds.
    pub score: f32,
}

/// The components of `scores > above` in a picture of `rows` x `columns`, in the order of their first pixel; none where the
/// scores do not fill the picture.
///
/// Worked: scores 0.9 and 0.7 at corners that touch, 0.5 between: one component of area 2.
pub fn components(scores: &[f32], rows: usize, columns: usize, above: f32) -> Vec<Component> {
    if rows.checked_mul(columns) != Some(scores.len()) {
        return Vec::new();
    }
    let mut runs = Runs::find([1, rows, columns], Touch::Corners, |n| scores[n] > above);
    let roots = runs.roots();
    let mut found: Vec<Component> = Vec::new();
    let mut place = vec![0; roots.len()];
    for (row, range) in runs.lines() {
        for run in range {
            let Run { start, end } = runs.all[run];
            let (first, last) = (start as usize, end as usize - 1);
            // A root is its component's first run.
            if roots[run] == run {
                place[run] = found.len();
                found.push(Component { bounds: [first, row, last, row], area: 0, score: 0.0 });
            }
            let component = &mut found[place[roots[run]]];
            let [left, top, right, _] = component.bounds;
            component.bounds = [left.min(first), top, right.max(last), row];
            component.area += runs.all[run].len();
        }
    }
    for component in &mut found {
        let [left, top, right, bottom] = component.bounds;
        let lines = (top..=bottom).map(|row| &scores[row * columns + left..=row * columns + right]);
        let sum: f64 = lines.flatten().map(|score| f64::from(*score)).sum();
        component.score = (sum / ((right - left + 1) * (bottom - top + 1)) as f64) as f32;
    }
    found
}

/// Which voxels touch.
#[derive(Clone, Copy, PartialEq)]
enum Touch {
    /// Those with a common face.
    Faces,
    /// Those with a common face, edge or corner.
    Corners,
}

/// Neighbouring voxels of one row: columns `start..end`.
#[derive(Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
}

impl Run {
    fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// The runs of a volume and which of them belong together.
struct Runs {
    /// In the order of memory.
    all: Vec<Run>,
    /// For each line (slice * rows + row) its first run, and the number of runs.
    first: Vec<usize>,
    /// An earlier run of the same component, or itself.
    parent: Vec<usize>,
    columns: usize,
}

impl Runs {
    fn find([slices, rows, columns]: [usize; 3], touch: Touch, belongs: impl Fn(usize) -> bool) -> Self {
        let mut runs = Self { all: Vec::new(), first: vec![0], parent: Vec::new(), columns };
        for line in 0..slices * rows {
            let mut column = 0;
            let at = |column: usize| belongs(line * columns + column);
            while let Some(start) = (column..columns).find(|c| at(*c)) {
                let end = (start..columns).find(|c| !at(*c)).unwrap_or(columns);
                runs.parent.push(runs.all.len());
                runs.all.push(Run { start: start as u32, end: end as u32 });
                column = end;
            }
            runs.first.push(runs.all.len());
            let (k, j) = (line / rows, line % rows);
            if j > 0 {
                runs.join(line, line - 1, touch);
            }
            if k > 0 {
                runs.join(line, line - rows, touch);
            }
            if k > 0 && touch == Touch::Corners {
                if j > 0 {
                    runs.join(line, line - rows - 1, touch);
                }
                if j + 1 < rows {
                    runs.join(line, line - rows + 1, touch);
                }
            }
        }
        runs
    }

    /// Each line with the range of its runs.
    fn lines(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        self.first.windows(2).map(|pair| pair[0]..pair[1]).enumerate()
    }

    /// Unites the runs of two lines that touch.
    fn join(&mut self, line: usize, earlier: usize, touch: Touch) {
        let reach = u32::from(touch == Touch::Corners);
        let (mut a, mut b) = (self.first[line], self.first[earlier]);
        while a < self.first[line + 1] && b < self.first[earlier + 1] {
            let (one, other) = (self.all[a], self.all[b]);
            if one.start < other.end + reach && other.start < one.end + reach {
                self.unite(a, b);
            }
            if one.end < other.end { a += 1 } else { b += 1 }
        }
    }

    /// The earlier of two roots becomes the root of both.
    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn root(&mut self, mut run: usize) -> usize {
        while self.parent[run] != run {
            // Halving the path keeps it short.
            self.parent[run] = self.parent[self.parent[run]];
            run = self.parent[run];
        }
        run
    }

    /// For each run the first run of its component.
    fn roots(&mut self) -> Vec<usize> {
        (0..self.all.len()).map(|run| self.root(run)).collect()
    }

    /// A mask of `ground`, with the runs that have a value painted in it.
    fn painted(&self, like: &Volume<u8>, ground: u8, value: impl Fn(usize) -> Option<u8>) -> Volume<u8> {
        let mut voxels = vec![ground; like.voxels.len()];
        for (line, range) in self.lines() {
            for run in range {
                if let Some(value) = value(run) {
                    let Run { start, end } = self.all[run];
                    voxels[line * self.columns + start as usize..line * self.columns + end as usize].fill(value);
                }
            }
        }
        Volume { grid: like.grid, voxels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    fn mask(dims: [usize; 3], is_set: impl Fn([usize; 3]) -> bool) -> Volume<u8> {
        let grid = Grid { dims, to_patient: [[0.0; 4]; 3] };
        let index = |n: usize| [n / (dims[1] * dims[2]), n / dims[2] % dims[1], n % dims[2]];
        Volume { grid, voxels: (0..grid.len()).map(|n| u8::from(is_set(index(n)))).collect() }
    }

    fn count(mask: &Volume<u8>) -> usize {
        mask.voxels.iter().map(|v| usize::from(*v)).sum()
    }

    #[test]
    fn a_hollow_cube_is_kept_and_filled_and_a_lone_voxel_goes() {
        let hollow =
            mask([6, 6, 6], |at| at == [5, 5, 5] || (at.iter().all(|n| (1..4).contains(n)) && at != [2, 2, 2]));
        let largest = largest_component(&hollow);
        assert_eq!((count(&hollow), count(&largest)), (27, 26));
        let filled = fill_holes(&largest);
        assert_eq!(count(&filled), 27);
        assert_eq!(filled, mask([6, 6, 6], |at| at.iter().all(|n| (1..4).contains(n))));
    }

    #[test]
    fn corners_join_voxels_but_let_no_background_out() {
        let diagonal = mask([4, 4, 4], |[k, j, i]| k == j && i == 3 - j);
        assert_eq!(largest_component(&diagonal), diagonal);
        // Without its eight corners the shell still holds its hole: background leaves through faces alone.
        let shell = mask([5, 5, 5], |at| {
            let off = at.map(|n| n.abs_diff(2));
            off.iter().max() == Some(&1) && off != [1, 1, 1]
        });
        assert_eq!(count(&fill_holes(&shell)), count(&shell) + 1);
        let pierced = mask([5, 5, 5], |at| {
            let off = at.map(|n| n.abs_diff(2));
            off.iter().max() == Some(&1) && at != [1, 2, 2]
        });
        assert_eq!(fill_holes(&pierced), pierced);
    }

    #[test]
    fn the_first_of_equals_stays_and_nothing_stays_of_nothing() {
        let twins = mask([1, 1, 5], |at| at[2] % 4 < 1);
        assert_eq!(largest_component(&twins).voxels, [1, 0, 0, 0, 0]);
        assert_eq!(count(&largest_component(&mask([2, 3, 4], |_| false))), 0);
        assert_eq!(largest_component(&mask([0, 3, 4], |_| true)).voxels, []);
        let torn = Volume { voxels: vec![1], ..mask([2, 2, 2], |_| true) };
        assert_eq!((largest_component(&torn), fill_holes(&torn)), (torn.clone(), torn));
    }

    #[test]
    fn a_picture_has_its_components_in_the_order_of_their_first_pixels() {
        let found = components(&[0.0, 0.9, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0, 0.7], 3, 3, 0.5);
        assert_eq!((found.len(), found[0].bounds, found[0].area), (1, [1, 0, 2, 2], 3));
        assert!((found[0].score - 0.4).abs() < 1e-6);
        // A hook that only its lower end joins, left of and below a dot.
        let scores: Vec<f32> =
            "1.1.1 1.1.. 111.1".bytes().filter(|b| *b != b' ').map(|b| f32::from(u8::from(b == b'1'))).collect();
        let found = components(&scores, 3, 5, 0.5);
        assert_eq!(
            found.iter().map(|c| (c.bounds, c.area)).collect::<Vec<_>>(),
            [([0, 0, 2, 2], 7), ([4, 0, 4, 0], 1), ([4, 2, 4, 2], 1)]
        );
        assert_eq!(components(&scores, 4, 5, 0.5), []);
    }
}
