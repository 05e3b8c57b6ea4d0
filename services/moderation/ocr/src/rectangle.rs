//! The smallest rectangle around points, turned in any way.

use crate::{Point, Quad};

/// A rectangle turned in any way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rectangle {
    centre: [f64; 2],
    /// Unit vector along the first side.
    along: [f64; 2],
    /// Lengths of the sides.
    sides: [f64; 2],
}

impl Rectangle {
    /// The one with the least area; none without points. One of its sides lies on a side of the convex hull
    /// (Freeman and Shapira, 1975).
    pub(crate) fn around(points: Vec<[i32; 2]>) -> Option<Self> {
        let hull = hull(points);
        let first = *hull.first()?;
        let edges = hull.iter().zip(hull.iter().cycle().skip(1));
        let directions = edges.filter_map(|(a, b)| unit([f64::from(b[0] - a[0]), f64::from(b[1] - a[1])]));
        let rectangles = directions.map(|along| Self::along(along, &hull));
        let alone = Self { centre: first.map(f64::from), along: [1.0, 0.0], sides: [0.0; 2] };
        Some(rectangles.min_by(|a, b| a.area().total_cmp(&b.area())).unwrap_or(alone))
    }

    fn along(along: [f64; 2], points: &[[i32; 2]]) -> Self {
        let across = [-along[1], along[0]];
        let extent = |axis: [f64; 2]| {
            let places =
                points.iter().map(|point| f64::from(point[0]) * axis[0] + f64::from(point[1]) * axis[1]);
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), place| {
                (least.min(place), most.max(place))
            })
        };
        let ((start, end), (top, bottom)) = (extent(along), extent(across));
        let (middle, height) = ((start + end) / 2.0, (top + bottom) / 2.0);
        let centre = std::array::from_fn(|axis| along[axis] * middle + across[axis] * height);
        Self { centre, along, sides: [end - start, bottom - top] }
    }

    pub(crate) fn area(&self) -> f64 {
        self.sides[0] * self.sides[1]
    }

    pub(crate) fn perimeter(&self) -> f64 {
        2.0 * (self.sides[0] + self.sides[1])
    }

    pub(crate) fn shorter_side(&self) -> f64 {
        self.sides[0].min(self.sides[1])
    }

    /// With so much more on each side.
    pub(crate) fn grown(self, by: f64) -> Self {
        Self { sides: self.sides.map(|side| side + 2.0 * by), ..self }
    }

    /// The corners from the top left on, clockwise: of the two on the left the upper one is the top left.
    pub(crate) fn corners(&self) -> Quad {
        let [dx, dy] = self.along.map(|part| part * self.sides[0] / 2.0);
        let [ex, ey] = [-self.along[1], self.along[0]].map(|part| part * self.sides[1] / 2.0);
        let [x, y] = self.centre;
        clockwise(
            [
                [x - dx - ex, y - dy - ey],
                [x + dx - ex, y + dy - ey],
                [x + dx + ex, y + dy + ey],
                [x - dx + ex, y - dy + ey],
            ]
            .map(|point| point.map(|value| value as f32)),
        )
    }
}

/// Four points as a [`Quad`].
pub(crate) fn clockwise(mut points: Quad) -> Quad {
    let by = |axis: usize| move |a: &Point, b: &Point| a[axis].total_cmp(&b[axis]);
    points.sort_by(by(0));
    points[..2].sort_by(by(1));
    points[2..].sort_by(by(1));
    let [top_left, bottom_left, top_right, bottom_right] = points;
    [top_left, top_right, bottom_right, bottom_left]
}

fn unit([x, y]: [f64; 2]) -> Option<[f64; 2]> {
    let length = x.hypot(y);
    (length > 0.0).then(|| [x / length, y / length])
}

/// The convex hull (Andrew's monotone chain, 1979).
fn hull(mut points: Vec<[i32; 2]>) -> Vec<[i32; 2]> {
    points.sort_unstable();
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let half = |points: &mut dyn Iterator<Item = [i32; 2]>| {
        let mut chain: Vec<[i32; 2]> = Vec::new();
        for point in points {
            while let [.., a, b] = chain[..] {
                if turn(a, b, point) > 0 {
                    break;
                }
                chain.pop();
            }
            chain.push(point);
        }
        // The last point is the first of the other half.
        chain.pop();
        chain
    };
    let mut whole = half(&mut points.iter().copied());
    whole.extend(half(&mut points.iter().rev().copied()));
    whole
}

/// Positive where the way from `a` over `b` to `c` turns left.
fn turn(a: [i32; 2], b: [i32; 2], c: [i32; 2]) -> i64 {
    let by = |from: [i32; 2], to: [i32; 2], axis: usize| i64::from(to[axis]) - i64::from(from[axis]);
    by(a, b, 0) * by(a, c, 1) - by(a, b, 1) * by(a, c, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_diamond_is_turned() {
        let diamond = Rectangle::around(vec![[10, 0], [0, 10], [10, 20], [20, 10], [10, 10]]).unwrap();
        assert!(
            (diamond.area() - 200.0).abs() < 1e-9 && (diamond.shorter_side() - 200_f64.sqrt()).abs() < 1e-9
        );
        assert!((diamond.grown(1.0).perimeter() - diamond.perimeter() - 8.0).abs() < 1e-9);
    }

    #[test]
    fn points_in_a_line_have_no_area() {
        assert!(Rectangle::around(vec![]).is_none());
        for line in [vec![[3, 4]], vec![[3, 4], [6, 8]], vec![[0, 0], [1, 1], [2, 2]]] {
            assert!(Rectangle::around(line).unwrap().shorter_side() < 1e-9);
        }
    }

    proptest! {
        #[test]
        fn all_points_are_inside(points in proptest::collection::vec([-500_i32..500, -500..500], 1..60)) {
            let rectangle = Rectangle::around(points.clone()).unwrap();
            let across = [-rectangle.along[1], rectangle.along[0]];
            for point in points {
                let from = [0, 1].map(|axis| f64::from(point[axis]) - rectangle.centre[axis]);
                for (axis, side) in [rectangle.along, across].into_iter().zip(rectangle.sides) {
                    prop_assert!((from[0] * axis[0] + from[1] * axis[1]).abs() <= side / 2.0 + 1e-6);
                }
            }
            let corners = rectangle.corners();
            prop_assert!(corners[0][0] <= corners[1][0] && corners[3][0] <= corners[2][0]);
        }
    }
}
