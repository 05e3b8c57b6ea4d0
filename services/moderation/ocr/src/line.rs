//! Lines of text cut out of the page and laid level, as the recogniser reads them.

use image::RgbImage;

use crate::{Point, Quad, boxes::distance};

/// Rows of a line: what the recogniser was trained on.
pub const LINE_HEIGHT: usize = 48;
/// Most columns of a line; a longer one is squeezed. PaddleOCR's `MAX_IMAGE_WIDTH` is the same.
pub const MAX_LINE_WIDTH: usize = 3200;
/// Lines are filled up to a multiple of this: lines of like widths share a run, and a line reads the same in any batch.
const WIDTH_STEP: usize = 64;
/// A box so many times as high as wide holds text that runs downwards and is turned.
const UPRIGHT_RATIO: f32 = 1.5;
/// Most samples across a pixel of the line: letters of up to 192 pixels are averaged without gaps.
const MAX_SAMPLES: usize = 4;

/// A line of text: RGB, row by row, 48 rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineImage {
    width: usize,
    pixels: Vec<u8>,
}

impl LineImage {
    /// Cuts a line out. Its width is in proportion, 1 to 3,200 pixels.
    #[must_use]
    pub fn cut(page: &RgbImage, quad: &Quad) -> Self {
        let quad = level(quad);
        let (across, down) = sides(&quad);
        let width = width(across, down);
        let samples = (down / LINE_HEIGHT as f32).ceil().clamp(1.0, MAX_SAMPLES as f32) as usize;
        let plane = Plane::onto(&quad);
        let mut pixels = Vec::with_capacity(width * LINE_HEIGHT * 3);
        for row in 0..LINE_HEIGHT {
            for column in 0..width {
                let mut sum = [0.0; 3];
                for sample in 0..samples * samples {
                    let part = |n: usize| (n as f32 + 0.5) / samples as f32;
                    let u = (column as f32 + part(sample % samples)) / width as f32;
                    let v = (row as f32 + part(sample / samples)) / LINE_HEIGHT as f32;
                    // In pixels of the level line, whose first centre lies half a pixel in.
                    let [x, y] = plane.at(u - 0.5 / across, v - 0.5 / down);
                    let pixel = pixel_between(page, x, y);
                    (0..3).for_each(|channel| sum[channel] += pixel[channel]);
                }
                let count = (samples * samples) as f32;
                pixels.extend(sum.map(|value| (value / count).round() as u8));
            }
        }
        Self { width, pixels }
    }

    /// The [`LineImage::filled_width`] of the line that would be cut out.
    #[must_use]
    pub fn filled_width_of(quad: &Quad) -> usize {
        let (across, down) = sides(&level(quad));
        width(across, down).next_multiple_of(WIDTH_STEP)
    }

    /// A line without any text on it, to warm a model up.
    #[must_use]
    pub fn blank() -> Self {
        Self { width: WIDTH_STEP, pixels: vec![u8::MAX; WIDTH_STEP * LINE_HEIGHT * 3] }
    }

    /// Its columns with what it is filled up with.
    #[must_use]
    pub fn filled_width(&self) -> usize {
        self.width.next_multiple_of(WIDTH_STEP)
    }

    /// What the recogniser reads: `[3, 48, filled width]`, blue, green, red, -1 to 1; filled up with 0.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        let wide = self.filled_width();
        let value = move |channel: usize, row: usize, column: usize| {
            let value = self.pixels.get((row * self.width + column) * 3 + channel)?;
            (column < self.width).then(|| f32::from(*value) / 127.5 - 1.0)
        };
        let row = move |channel, row| (0..wide).map(move |column| value(channel, row, column).unwrap_or(0.0));
        [2, 1, 0].into_iter().flat_map(move |channel| (0..LINE_HEIGHT).flat_map(move |n| row(channel, n)))
    }
}

/// The corners in the order in which the text reads level.
fn level(quad: &Quad) -> Quad {
    let [a, b, c, d] = *quad;
    if side(a, d, b, c) >= UPRIGHT_RATIO * side(a, b, d, c) { [b, c, d, a] } else { *quad }
}

/// How far a level box goes across and down, in pixels.
fn sides([a, b, c, d]: &Quad) -> (f32, f32) {
    (side(*a, *b, *d, *c), side(*a, *d, *b, *c))
}

/// Columns of a line that is brought to its height.
fn width(across: f32, down: f32) -> usize {
    (LINE_HEIGHT as f32 * across / down).ceil().clamp(1.0, MAX_LINE_WIDTH as f32) as usize
}

/// The longer of two sides that face each other, in whole pixels; 1 where corners are nowhere.
fn side(a: Point, b: Point, c: Point, d: Point) -> f32 {
    let longer = distance(a, b).max(distance(c, d));
    if longer.is_finite() { longer.floor().max(1.0) } else { 1.0 }
}

/// The projective map of the unit square onto a quadrangle (Heckbert, "Fundamentals of Texture Mapping", 1989, 2.2.3).
struct Plane {
    across: [f32; 2],
    down: [f32; 2],
    origin: Point,
    /// How fast it recedes across and down.
    depth: [f32; 2],
}

impl Plane {
    fn onto([a, b, c, d]: &Quad) -> Self {
        let between = |from: &Point, to: &Point| [to[0] - from[0], to[1] - from[1]];
        let cross = |a: [f32; 2], b: [f32; 2]| a[0] * b[1] - a[1] * b[0];
        let (first, second) = (between(c, b), between(c, d));
        let skew = [a[0] - b[0] + c[0] - d[0], a[1] - b[1] + c[1] - d[1]];
        let whole = cross(first, second);
        let depth = match whole == 0.0 {
            true => [0.0; 2],
            false => [cross(skew, second) / whole, cross(first, skew) / whole],
        };
        let edge = |to: &Point, depth: f32| [to[0] - a[0] + depth * to[0], to[1] - a[1] + depth * to[1]];
        Self { across: edge(b, depth[0]), down: edge(d, depth[1]), origin: *a, depth }
    }

    fn at(&self, u: f32, v: f32) -> Point {
        let depth = self.depth[0] * u + self.depth[1] * v + 1.0;
        [0, 1].map(|axis| (self.across[axis] * u + self.down[axis] * v + self.origin[axis]) / depth)
    }
}

/// The colour at a place between pixels; beyond the edges that of the edge.
fn pixel_between(page: &RgbImage, x: f32, y: f32) -> [f32; 3] {
    let place = |value: f32, side: u32| {
        let last = side.saturating_sub(1);
        let value = value.max(0.0).min(last as f32);
        let low = (value as u32).min(last);
        (low, (low + 1).min(last), value - low as f32)
    };
    let ((left, right, along), (top, bottom, down)) = (place(x, page.width()), place(y, page.height()));
    let pixel = |x, y| page.get_pixel_checked(x, y).map_or([0; 3], |pixel| pixel.0);
    let (a, b, c, d) = (pixel(left, top), pixel(right, top), pixel(left, bottom), pixel(right, bottom));
    std::array::from_fn(|channel| {
        let mix = |a: f32, b: f32, part: f32| a + (b - a) * part;
        let of = |pixel: [u8; 3]| f32::from(pixel[channel]);
        mix(mix(of(a), of(b), along), mix(of(c), of(d), along), down)
    })
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_level_box_is_copied() {
        let page = RgbImage::from_fn(96, 60, |x, y| Rgb([x as u8, y as u8, 9]));
        let line = LineImage::cut(&page, &[[10.0, 5.0], [74.0, 5.0], [74.0, 53.0], [10.0, 53.0]]);
        assert_eq!((line.width, line.filled_width()), (64, 64));
        for (x, y) in [(0, 0), (63, 0), (30, 47)] {
            let at = (y * 64 + x) * 3;
            assert_eq!(line.pixels[at..at + 3], [10 + x as u8, 5 + y as u8, 9]);
        }
        let values: Vec<f32> = line.values().collect();
        assert_eq!((values.len(), values[0]), (3 * 48 * 64, 9.0 / 127.5 - 1.0));
    }

    #[test]
    fn text_that_runs_down_is_turned_to_the_left() {
        let page = RgbImage::from_fn(50, 200, |_, y| Rgb([y as u8; 3]));
        let line = LineImage::cut(&page, &[[1.0, 0.0], [49.0, 0.0], [49.0, 190.0], [1.0, 190.0]]);
        assert_eq!(line.width, 190);
        assert_eq!(line.pixels[100 * 3], 100);
    }

    #[test]
    fn a_tilted_plane_meets_its_corners() {
        let quad = [[0.0, 0.0], [10.0, 2.0], [9.0, 8.0], [1.0, 6.0]];
        let plane = Plane::onto(&quad);
        for ((u, v), corner) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].into_iter().zip(quad) {
            assert!(distance(plane.at(u, v), corner) < 1e-4);
        }
    }

    proptest! {
        #[test]
        fn any_box_gives_a_bounded_line(quad in proptest::array::uniform4(proptest::array::uniform2(prop_oneof![
            -9.0_f32..60.0, Just(f32::NAN), Just(f32::INFINITY), Just(0.0)
        ]))) {
            let line = LineImage::cut(&RgbImage::new(40, 30), &quad);
            prop_assert!((1..=MAX_LINE_WIDTH).contains(&line.width));
            prop_assert_eq!(LineImage::filled_width_of(&quad), line.filled_width());
            prop_assert_eq!(line.pixels.len(), line.width * LINE_HEIGHT * 3);
            prop_assert!(line.values().all(|value| (-1.0..=1.0).contains(&value)));
        }
    }
}
