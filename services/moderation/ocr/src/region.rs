//! Places in a picture.

/// A point, in pixels from the top left; the centre of the first pixel is (0, 0).
pub type Point = [f32; 2];

/// Four corners: top left, top right, bottom right, bottom left, as the text is turned.
pub type Quad = [Point; 4];

/// An upright rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Columns left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

impl Region {
    /// The smallest one around these points, within a picture of this width and height.
    #[must_use]
    pub fn around(points: &[Point], (width, height): (u32, u32)) -> Self {
        let side = |axis: usize, most: u32| {
            let values = points.iter().map(|point| point[axis]);
            let least = values.clone().fold(f32::INFINITY, f32::min).floor();
            let greatest = values.fold(f32::NEG_INFINITY, f32::max).ceil();
            // Casts from floating point stop at the ends of the range.
            let start = (least as u32).min(most);
            (start, (greatest as u32).clamp(start, most) - start)
        };
        let ((left, width), (top, height)) = (side(0, width), side(1, height));
        Self { left, top, width, height }
    }

    /// The same part of a picture that was resized from one width and height to another.
    #[must_use]
    pub fn resized(self, from: (u32, u32), to: (u32, u32)) -> Self {
        let scaled = |place: u32, from: u32, to: u32| place as f32 * (to as f32 / from.max(1) as f32);
        let corner = |x: u32, y: u32| [scaled(x, from.0, to.0), scaled(y, from.1, to.1)];
        let (right, bottom) = (self.left.saturating_add(self.width), self.top.saturating_add(self.height));
        Self::around(&[corner(self.left, self.top), corner(right, bottom)], to)
    }

    /// The smallest one around both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let side = |start: u32, length: u32, other_start: u32, other_length: u32| {
            let least = start.min(other_start);
            let end = start.saturating_add(length).max(other_start.saturating_add(other_length));
            (least, end - least)
        };
        let (left, width) = side(self.left, self.width, other.left, other.width);
        let (top, height) = side(self.top, self.height, other.top, other.height);
        Self { left, top, width, height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_hold_their_points_and_stay_in_the_picture() {
        let region = Region::around(&[[1.5, 2.0], [-3.0, 99.0]], (10, 20));
        assert_eq!(region, Region { left: 0, top: 2, width: 2, height: 18 });
        let other = Region { left: 5, top: 0, width: 1, height: 1 };
        assert_eq!(region.union(other), Region { left: 0, top: 0, width: 6, height: 20 });
        let small = Region { left: 3, top: 1, width: 2, height: 9 };
        let large = Region { left: 6, top: 3, width: 4, height: 27 };
        assert_eq!(small.resized((5, 10), (10, 30)), large);
        assert_eq!(large.resized((10, 30), (5, 10)), small);
        let nowhere = Region::around(&[[f32::NAN; 2]], (10, 20));
        assert!(nowhere.left + nowhere.width <= 10 && nowhere.top + nowhere.height <= 20);
    }
}
