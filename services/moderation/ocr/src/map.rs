//! The detector's answer: how likely each pixel belongs to text, and the connected parts of it.

use crate::{OcrError, Quad};

/// Probabilities of text, row by row.
#[derive(Clone, Debug)]
pub struct ProbabilityMap {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

/// Pixels of one row that are set, both ends included.
#[derive(Clone, Copy, Debug)]
struct Run {
    row: i32,
    first: i32,
    last: i32,
}

/// A connected part of the text pixels.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// How many pixels it has.
    pub(crate) pixels: usize,
    /// The first and last pixel of each of its runs.
    pub(crate) points: Vec<[i32; 2]>,
}

impl ProbabilityMap {
    /// A map of this width and height. Whatever the values are, they can be worked with: what is no number counts as 0.
    ///
    /// # Errors
    /// The values are more or fewer than that.
    pub fn new(width: usize, height: usize, values: Vec<f32>) -> Result<Self, OcrError> {
        let fits = width.checked_mul(height) == Some(values.len());
        // Places are counted in 32 bits.
        if !fits || width.max(height) > 1 << 20 {
            return Err(OcrError::Map { width, height, values: values.len() });
        }
        Ok(Self { width, height, values })
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The parts of what exceeds `threshold`, each pixel widened by one to the right and below (PP-OCR's dilation with a
    /// 2 x 2 kernel). Pixels that touch at a corner are connected.
    pub(crate) fn parts(&self, threshold: f32) -> Vec<Part> {
        let mut runs: Vec<Run> = Vec::new();
        let mut parents: Vec<usize> = Vec::new();
        let mut above = 0..0;
        for row in 0..self.height {
            let start = runs.len();
            self.push_runs(row, threshold, &mut runs);
            parents.extend(start..runs.len());
            let mut candidate = above.start;
            for run in start..runs.len() {
                while candidate < above.end && runs[candidate].last + 1 < runs[run].first {
                    candidate += 1;
                }
                let mut other = candidate;
                while other < above.end && runs[other].first <= runs[run].last + 1 {
                    let (a, b) = (root(&mut parents, other), root(&mut parents, run));
                    parents[a.max(b)] = a.min(b);
                    other += 1;
                }
            }
            above = start..runs.len();
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut part_of: Vec<usize> = vec![0; runs.len()];
        for (n, run) in runs.iter().enumerate() {
            let root = root(&mut parents, n);
            // The first run of a part is its root.
            if root == n {
                part_of[n] = parts.len();
                parts.push(Part::default());
            }
            let part = &mut parts[part_of[root]];
            part.pixels += (run.last - run.first) as usize + 1;
            part.points.extend([[run.first, run.row], [run.last, run.row]]);
        }
        parts
    }

    fn push_runs(&self, row: usize, threshold: f32, runs: &mut Vec<Run>) {
        let own = self.row(row);
        let before = if row > 0 { self.row(row - 1) } else { &[] };
        let text = |column: usize| {
            [own, before].into_iter().any(|row| row.get(column).is_some_and(|value| *value > threshold))
        };
        let mut open: Option<usize> = None;
        let mut left = false;
        for column in 0..self.width {
            let here = text(column);
            match (here || left, open) {
                (true, None) => open = Some(column),
                (false, Some(first)) => {
                    runs.push(Run { row: row as i32, first: first as i32, last: column as i32 - 1 });
                    open = None;
                }
                _ => {}
            }
            left = here;
        }
        if let Some(first) = open {
            runs.push(Run { row: row as i32, first: first as i32, last: self.width as i32 - 1 });
        }
    }

    /// The mean of the values in a convex quadrangle whose corners are cut down to whole pixels, and of all that its
    /// border touches.
    pub(crate) fn mean(&self, quad: &Quad) -> f32 {
        let corners = quad.map(|point| point.map(|value| f64::from(value.floor())));
        let (mut sum, mut count) = (0.0_f64, 0_u64);
        let rows = corners.map(|corner| corner[1]);
        let top = rows.into_iter().fold(f64::INFINITY, f64::min).max(0.0) as usize;
        let bottom = rows.into_iter().fold(0.0, f64::max) as usize;
        for row in top..=bottom.min(self.height.saturating_sub(1)) {
            let Some((first, last)) = crossing(&corners, row as f64) else { continue };
            let values = self.row(row);
            let (first, last) = (first.round() as usize, (last.round() as usize + 1).min(values.len()));
            for value in values.get(first..last).unwrap_or_default() {
                sum += if value.is_finite() { f64::from(*value) } else { 0.0 };
                count += 1;
            }
        }
        if count == 0 { 0.0 } else { (sum / count as f64) as f32 }
    }

    fn row(&self, row: usize) -> &[f32] {
        let start = row * self.width;
        self.values.get(start..start + self.width).unwrap_or_default()
    }
}

/// The leftmost and rightmost place of a convex polygon in a row, which is a pixel high.
fn crossing(corners: &[[f64; 2]; 4], row: f64) -> Option<(f64, f64)> {
    let mut found: Option<(f64, f64)> = None;
    for (a, b) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        let (upper, lower) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let (top, bottom) = (upper[1].max(row - 0.5), lower[1].min(row + 0.5));
        if top > bottom {
            continue;
        }
        let ends = match lower[1] - upper[1] {
            0.0 => [upper[0], lower[0]],
            height => [top, bottom].map(|y| upper[0] + (lower[0] - upper[0]) * (y - upper[1]) / height),
        };
        for x in ends {
            found = Some(found.map_or((x, x), |(least, most)| (least.min(x), most.max(x))));
        }
    }
    found
}

/// The representative of a run, with the way to it shortened.
fn root(parents: &mut [usize], mut run: usize) -> usize {
    while parents[run] != run {
        parents[run] = parents[parents[run]];
        run = parents[run];
    }
    run
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(rows: &[&str]) -> ProbabilityMap {
        let values = rows.iter().flat_map(|row| row.bytes().map(|byte| f32::from(u8::from(byte == b'#'))));
        ProbabilityMap::new(rows[0].len(), rows.len(), values.collect()).unwrap()
    }

    #[test]
    fn parts_are_widened_and_connected_at_corners() {
        let parts = map(&["#.......", "..#.....", "......#.", "........"]).parts(0.5);
        // Widened, the first two touch at a corner.
        let pixels: Vec<_> = parts.iter().map(|part| part.pixels).collect();
        assert_eq!(pixels, [8, 4]);
        let u = map(&["#..#", "#..#", "####"]).parts(0.5);
        assert_eq!(u.len(), 1);
    }

    #[test]
    fn means_are_of_what_is_inside() {
        let map = map(&["....", ".##.", ".##.", "...."]);
        assert_eq!(map.mean(&[[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]), 1.0);
        assert_eq!(map.mean(&[[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [0.0, 3.0]]), 0.25);
        assert_eq!(map.mean(&[[-9.0, -9.0], [-8.0, -9.0], [-8.0, -8.0], [-9.0, -8.0]]), 0.0);
    }

    #[test]
    fn sizes_must_fit() {
        assert!(matches!(ProbabilityMap::new(2, 2, vec![0.0; 5]), Err(OcrError::Map { values: 5, .. })));
        assert!(ProbabilityMap::new(usize::MAX, 2, vec![]).is_err());
        assert!(ProbabilityMap::new(0, 9, vec![]).unwrap().parts(0.3).is_empty());
    }

    proptest! {
        /// Against a flood of the widened map.
        #[test]
        fn parts_are_those_of_a_flood(width in 1_usize..12, bits in proptest::collection::vec(any::<bool>(), 1..120)) {
            let height = bits.len() / width;
            let values = bits[..width * height].iter().map(|bit| f32::from(u8::from(*bit))).collect();
            let parts = ProbabilityMap::new(width, height, values).unwrap().parts(0.5);
            let at = |x: usize, y: usize| x < width && y < height && bits[y * width + x];
            let near = |x: usize, y: usize| {
                (x.saturating_sub(1)..=x).any(|x| (y.saturating_sub(1)..=y).any(|y| at(x, y)))
            };
            let mut left: Vec<(usize, usize)> =
                (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|(x, y)| near(*x, *y)).collect();
            let mut sizes = Vec::new();
            while let Some(first) = left.pop() {
                let (mut open, mut size) = (vec![first], 0);
                while let Some((x, y)) = open.pop() {
                    size += 1;
                    left.retain(|other| {
                        let touches = other.0.abs_diff(x) <= 1 && other.1.abs_diff(y) <= 1;
                        if touches {
                            open.push(*other);
                        }
                        !touches
                    });
                }
                sizes.push(size);
            }
            let mut ours: Vec<_> = parts.iter().map(|part| part.pixels).collect();
            ours.sort_unstable();
            sizes.sort_unstable();
            prop_assert_eq!(ours, sizes);
        }
    }
}
