//! Grey planes and how they shrink.

use image::RgbImage;

/// Pictures are first brought to at most this side: all that follows takes the same time for all pictures.
const WORKING_SIDE: usize = 512;

/// Brightness, row by row.
pub(super) struct Plane {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Plane {
    /// Luma after ITU-R BT.601, 0 to 255, at most [`WORKING_SIDE`] wide and high. A picture without pixels is `None`.
    pub(super) fn of(picture: &RgbImage) -> Option<Self> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return None;
        }
        let pixels = picture.as_raw().as_chunks::<3>().0;
        // The weights in 16 bits and the rounding are Pillow's, so that hashes agree with Python's imagehash.
        let luma = |&[r, g, b]: &[u8; 3]| {
            let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
            ((sum + 0x8000) >> 16) as f32
        };
        let columns = Spans::new(0.0, width as f64, width, width.min(WORKING_SIDE));
        let mut row_values = vec![0.0; width];
        let mut narrow = Vec::with_capacity(columns.len() * height);
        for row in pixels.chunks_exact(width) {
            row_values.iter_mut().zip(row).for_each(|(value, pixel)| *value = luma(pixel));
            columns.means(&row_values, &mut narrow);
        }
        let narrow = Self { width: columns.len(), height, values: narrow };
        Some(narrow.shrink_rows(&Spans::new(0.0, height as f64, height, height.min(WORKING_SIDE))))
    }

    /// The mean brightness of `width` x `height` equal fields of what is left without a margin on each side, `margin`
    /// being a share of the side (0 to below 0.5).
    pub(super) fn fields(&self, margin: f64, width: usize, height: usize) -> Vec<f32> {
        let (from_x, from_y) = (margin * self.width as f64, margin * self.height as f64);
        let columns = Spans::new(from_x, self.width as f64 - from_x, self.width, width);
        let rows = Spans::new(from_y, self.height as f64 - from_y, self.height, height);
        let mut narrow = Vec::with_capacity(width * self.height);
        for row in self.values.chunks_exact(self.width) {
            columns.means(row, &mut narrow);
        }
        Self { width, height: self.height, values: narrow }.shrink_rows(&rows).values
    }

    fn shrink_rows(self, rows: &Spans) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for span in &rows.0 {
            let mut sums = vec![0.0; self.width];
            let lines = self.values.chunks_exact(self.width).skip(span.first).zip(&span.weights);
            for (line, weight) in lines {
                sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * value);
            }
            values.append(&mut sums);
        }
        Self { width: self.width, height: rows.len(), values }
    }
}

/// Which samples each field covers, and with which share of its mean.
struct Spans(Vec<Span>);

struct Span {
    first: usize,
    weights: Vec<f32>,
}

impl Spans {
    /// `fields` equal parts of `from..to`, in units of samples, out of `samples`.
    fn new(from: f64, to: f64, samples: usize, fields: usize) -> Self {
        let length = (to - from) / fields as f64;
        let span = |n: usize| {
            let (start, end) = (from + n as f64 * length, from + (n + 1) as f64 * length);
            let first = (start as usize).min(samples - 1);
            let last = (end.ceil() as usize).clamp(first + 1, samples);
            let covered = |sample: usize| (end.min((sample + 1) as f64) - start.max(sample as f64)).max(0.0);
            Span { first, weights: (first..last).map(|sample| (covered(sample) / length) as f32).collect() }
        };
        Self((0..fields).map(span).collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn means(&self, samples: &[f32], into: &mut Vec<f32>) {
        into.extend(self.0.iter().map(|span| {
            span.weights
                .iter()
                .zip(samples.iter().skip(span.first))
                .map(|(weight, value)| weight * value)
                .sum::<f32>()
        }));
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn fields_are_means() {
        let picture = RgbImage::from_fn(4, 2, |x, y| Rgb([(10 * x + 100 * y) as u8; 3]));
        let plane = Plane::of(&picture).unwrap();
        assert_eq!(plane.fields(0.0, 2, 1), [55.0, 75.0]);
        assert_eq!(plane.fields(0.25, 1, 1), [65.0]);
        let wide: Vec<i32> = plane.fields(0.0, 8, 2).iter().map(|value| value.round() as i32).collect();
        assert_eq!(wide[..8], [0, 0, 10, 10, 20, 20, 30, 30]);
        assert!(Plane::of(&RgbImage::new(0, 3)).is_none());
    }

    #[test]
    fn large_pictures_keep_their_mean() {
        let picture = RgbImage::from_fn(1_333, 700, |x, _| Rgb([if x % 2 == 0 { 0 } else { 200 }; 3]));
        let plane = Plane::of(&picture).unwrap();
        assert_eq!((plane.width, plane.height), (512, 512));
        let mean = plane.fields(0.0, 1, 1)[0];
        assert!((mean - 200.0 * 666.0 / 1_333.0).abs() < 0.01, "{mean}");
    }
}
