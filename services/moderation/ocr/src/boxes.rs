//! From the detector's map to boxes around lines of text, in reading order.
//!
//! The steps and constants are those of PP-OCR (Liao et al., "Real-time Scene Text Detection with Differentiable
//! Binarization", 2020; rapidocr 3.10.0 `DBPostProcess`).

use crate::{
    LineImage, Page, ProbabilityMap, Quad,
    rectangle::{Rectangle, clockwise},
};

/// Above this a pixel of the map is text.
const TEXT: f32 = 0.3;
/// A box whose pixels' mean is below this is no text.
const BOX: f32 = 0.5;
/// The maps are trained to show text shrunk; by this times area over perimeter a box grows.
const UNCLIP: f64 = 1.6;
/// Shorter sides that a box must have in the map, before and after it grows.
const MIN_SIDE: f64 = 3.0;
const MIN_GROWN_SIDE: f64 = 5.0;
/// Sides that it must have in the page, in whole pixels.
const MIN_PAGE_SIDE: f32 = 4.0;
/// Parts of the map that are looked at, the largest first.
const MAX_PARTS: usize = 1000;

/// A box around a line of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextBox {
    /// Its corners, in pixels of the page.
    pub quad: Quad,
    /// Mean probability of its pixels, 0 to 1.
    pub score: f32,
    /// Which row of the page it stands in: boxes side by side share one.
    pub row: usize,
}

/// How much of a page is read: reading takes time for each line and each column of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lines.
    pub lines: usize,
    /// Columns of all lines together, as wide as they are read: 48 pixels high.
    pub columns: usize,
}

/// The boxes that a page has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Boxes {
    /// From top to bottom, and in a row from left to right.
    pub boxes: Vec<TextBox>,
    /// There are more of them, left out for the limits.
    pub truncated: bool,
}

/// The boxes of a page; where the limits have no room for all, the largest that they have room for.
#[must_use]
pub fn text_boxes(map: &ProbabilityMap, page: &Page, limits: Limits) -> Boxes {
    let mut parts = map.parts(TEXT);
    parts.sort_by_key(|part| std::cmp::Reverse(part.pixels));
    parts.truncate(MAX_PARTS);
    let mut boxes: Vec<TextBox> =
        parts.into_iter().filter_map(|part| text_box(map, page, Rectangle::around(part.points)?)).collect();
    boxes.sort_by(|a, b| area(&b.quad).total_cmp(&area(&a.quad)));
    let (all, mut left) = (boxes.len(), limits.columns);
    boxes.retain(|one| match left.checked_sub(LineImage::filled_width_of(&one.quad)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    boxes.truncate(limits.lines);
    put_in_reading_order(&mut boxes);
    Boxes { truncated: boxes.len() < all, boxes }
}

fn text_box(map: &ProbabilityMap, page: &Page, found: Rectangle) -> Option<TextBox> {
    if found.shorter_side() < MIN_SIDE {
        return None;
    }
    let score = map.mean(&found.corners());
    let grown = found.grown(found.area() * UNCLIP / found.perimeter());
    if score < BOX || grown.shorter_side() < MIN_GROWN_SIDE {
        return None;
    }
    let (width, height) = page.pixels().dimensions();
    let to = [width as f32, height as f32];
    let from = [map.size().0 as f32, map.size().1 as f32];
    let place = |axis: usize, value: f32| (value / from[axis] * to[axis]).round().clamp(0.0, to[axis] - 1.0);
    let quad = clockwise(grown.corners().map(|[x, y]| [place(0, x), place(1, y)]));
    let (across, down) = (distance(quad[0], quad[1]), distance(quad[0], quad[3]));
    (across >= MIN_PAGE_SIDE && down >= MIN_PAGE_SIDE).then_some(TextBox { quad, score, row: 0 })
}

/// Boxes share a row where the middle of one lies within the middle half of the row's first.
fn put_in_reading_order(boxes: &mut [TextBox]) {
    let middle = |one: &TextBox| one.quad.iter().map(|point| point[1]).sum::<f32>() / 4.0;
    boxes.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
    let mut row = 0;
    let mut first: Option<TextBox> = None;
    for one in boxes.iter_mut() {
        match &first {
            Some(first) if middle(one) - middle(first) < upright_height(first) / 4.0 => {}
            Some(_) => {
                row += 1;
                first = Some(*one);
            }
            None => first = Some(*one),
        }
        one.row = row;
    }
    let left = |one: &TextBox| one.quad.iter().map(|point| point[0]).fold(f32::INFINITY, f32::min);
    boxes.sort_by(|a, b| a.row.cmp(&b.row).then(left(a).total_cmp(&left(b))));
}

fn upright_height(one: &TextBox) -> f32 {
    distance(one.quad[0], one.quad[3])
}

fn area(quad: &Quad) -> f32 {
    distance(quad[0], quad[1]) * distance(quad[0], quad[3])
}

pub(crate) fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use proptest::prelude::*;

    use super::*;

    fn page(width: u32, height: u32) -> Page {
        Page::new(&RgbImage::new(width, height)).unwrap()
    }

    /// A map with upright rectangles of 1: left, top, width, height.
    fn map(rectangles: &[[usize; 4]]) -> ProbabilityMap {
        let inside = |x: usize, y: usize| {
            rectangles.iter().any(|[left, top, width, height]| {
                (*left..left + width).contains(&x) && (*top..top + height).contains(&y)
            })
        };
        let values = (0..128).flat_map(|y| (0..128).map(move |x| f32::from(u8::from(inside(x, y)))));
        ProbabilityMap::new(128, 128, values.collect()).unwrap()
    }

    #[test]
    fn boxes_come_in_reading_order_and_grow() {
        let map = map(&[[70, 12, 40, 8], [10, 40, 60, 8], [10, 10, 40, 8], [2, 100, 2, 1]]);
        let limits = |lines, columns| Limits { lines, columns };
        let Boxes { boxes, truncated } = text_boxes(&map, &page(256, 256), limits(9, 10_000));
        assert!(!truncated);
        let lefts: Vec<_> = boxes.iter().map(|one| (one.row, one.quad[0][0] as u32 / 10)).collect();
        assert_eq!(lefts.len(), 3);
        assert_eq!(boxes.iter().map(|one| one.row).collect::<Vec<_>>(), [0, 0, 1]);
        // 40 x 8 pixels, widened by one: grows by 41 * 9 * 1.6 / 100, less what lies between pixels.
        let quad = boxes[0].quad;
        assert!(quad[0][0] > 4.0 && quad[0][0] < 12.0 && quad[2][1] > 44.0 && quad[2][1] < 52.0, "{quad:?}");
        // What there is no room for is left out, and that is said: of lines, then of columns, of which each has 192.
        for (limits, left) in [(limits(1, 10_000), 1), (limits(9, 400), 2), (limits(9, 0), 0)] {
            let few = text_boxes(&map, &page(256, 256), limits);
            assert!(few.truncated && few.boxes.len() == left, "{limits:?}: {few:?}");
        }
    }

    proptest! {
        #[test]
        fn any_map_gives_boxes_within_the_page(
            width in 1_usize..40,
            values in proptest::collection::vec(prop_oneof![
                Just(f32::NAN), Just(f32::INFINITY), Just(-1.0_f32), Just(1.0), 0.0_f32..1.0,
            ], 1..1500),
            most in 0_usize..20,
        ) {
            let height = values.len() / width;
            let map = ProbabilityMap::new(width, height, values[..width * height].to_vec()).unwrap();
            let page = page(90, 70);
            let limits = Limits { lines: most, columns: 50 * most };
            let Boxes { boxes, .. } = text_boxes(&map, &page, limits);
            prop_assert!(boxes.len() <= most);
            let columns: usize = boxes.iter().map(|one| LineImage::filled_width_of(&one.quad)).sum();
            prop_assert!(columns <= limits.columns);
            prop_assert!(boxes.is_sorted_by_key(|one| one.row));
            for point in boxes.iter().flat_map(|one| one.quad) {
                prop_assert!((0.0..90.0).contains(&point[0]) && (0.0..70.0).contains(&point[1]));
            }
        }
    }
}
