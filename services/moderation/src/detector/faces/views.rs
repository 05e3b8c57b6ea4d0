//! What of a picture the model is shown: all of it, and tiles of a larger picture, in which small faces are large enough.
//!
//! The model finds faces from about a tenth of its input's side on. A picture is shrunk to that side, put in the middle of black
//! (MediaPipe's letterbox, but smoothed where MediaPipe skips pixels), and a larger one is also shrunk to [`LARGE`] and cut
//! into tiles that overlap: a face that is cut by a tile's edge is whole in the next one, or large enough to be found in all
//! of the picture.

use atelier_media::{Filter, MediaError, resize_rgb};
use image::{RgbImage, imageops};

use super::boxes::FaceBox;

/// Side of what the model reads, in pixels.
pub(super) const SIDE: u32 = 192;
/// Longer side at which tiles are cut from a picture that is larger.
const LARGE: u32 = 480;
/// Pixels that neighbouring tiles share, at least.
const OVERLAP: u32 = 48;

/// One input of the model: up to [`SIDE`] pixels either way of a picture that was shrunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Width and height of the picture.
    picture: [u32; 2],
    /// What it was shrunk to; or enlarged, where it is smaller than the input.
    resized: [u32; 2],
    /// Pixels of that before the view, left and above.
    start: [u32; 2],
}

/// The views of a picture of this width and height: at most ten.
pub(super) fn views(picture: [u32; 2]) -> Vec<View> {
    let longer = picture[0].max(picture[1]).max(1);
    let mut views = Vec::new();
    for side in [SIDE, LARGE].into_iter().filter(|side| *side == SIDE || longer > *side) {
        let resized = picture.map(|of| ((of as f32 * side as f32 / longer as f32).round() as u32).max(1));
        for left in starts(resized[0]) {
            views.extend(starts(resized[1]).map(|top| View { picture, resized, start: [left, top] }));
        }
    }
    views
}

/// Where tiles begin along a side: evenly from one end to the other.
fn starts(side: u32) -> impl Iterator<Item = u32> {
    let beyond = side.saturating_sub(SIDE);
    let gaps = beyond.div_ceil(SIDE - OVERLAP);
    (0..=gaps).map(move |n| (n as f32 * beyond as f32 / gaps.max(1) as f32).round() as u32)
}

/// What the views show: RGB, [`SIDE`] rows of [`SIDE`] pixels.
///
/// # Errors
/// The resizer refused, which no picture with at least one pixel is known to cause.
pub(super) fn pixels(picture: &RgbImage) -> Result<Vec<Vec<u8>>, MediaError> {
    let mut all = Vec::new();
    let mut shrunk: Option<RgbImage> = None;
    for view in views(picture.dimensions().into()) {
        let [width, height] = view.resized;
        let resized = match shrunk.take() {
            Some(known) if known.dimensions() == (width, height) => known,
            _ => resize_rgb(picture, width, height, Filter::Bilinear)?,
        };
        let ([left, top], [before, above]) = (view.start, view.margins());
        let tile = imageops::crop_imm(&resized, left, top, SIDE.min(width), SIDE.min(height));
        let mut canvas = RgbImage::new(SIDE, SIDE);
        imageops::replace(&mut canvas, &*tile, before.into(), above.into());
        all.push(canvas.into_raw());
        shrunk = Some(resized);
    }
    Ok(all)
}

impl View {
    /// Black before what is shown, left and above.
    fn margins(&self) -> [u32; 2] {
        self.resized.map(|side| SIDE.saturating_sub(side) / 2)
    }

    /// A box in pixels of the view as one of the picture; none where it is cut by an edge behind which the picture goes on.
    pub(super) fn in_picture(&self, seen: FaceBox) -> Option<FaceBox> {
        let margins = self.margins();
        let mut edges = [0.0; 4];
        for axis in [0, 1] {
            let (start, resized) = (self.start[axis], self.resized[axis]);
            let (low, high) = (seen.edges[axis], seen.edges[axis + 2]);
            if start > 0 && low < 0.0 || start + SIDE < resized && high > SIDE as f32 {
                return None;
            }
            let scale = self.picture[axis] as f32 / resized as f32;
            let place = |edge: f32| (edge - margins[axis] as f32 + start as f32) * scale;
            (edges[axis], edges[axis + 2]) = (place(low), place(high));
        }
        Some(FaceBox { edges, ..seen })
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    const BYTES: usize = (SIDE * SIDE * 3) as usize;

    fn seen(edges: [f32; 4]) -> FaceBox {
        FaceBox { edges, score: 0.7 }
    }

    #[test]
    fn a_picture_is_put_in_the_middle_of_black() {
        let white = RgbImage::from_pixel(400, 200, Rgb([255; 3]));
        let [pixels] = &pixels(&white).unwrap()[..] else { panic!("one view") };
        assert_eq!(pixels.len(), BYTES);
        let row = |n: u32| &pixels[(n * SIDE * 3) as usize..][..(SIDE * 3) as usize];
        for n in 0..SIDE {
            let expected = if (48..144).contains(&n) { 255 } else { 0 };
            assert!(row(n).iter().all(|value| *value == expected), "row {n}");
        }
        let whole = views([400, 200])[0].in_picture(seen([0.0, 48.0, 192.0, 144.0])).unwrap();
        assert_eq!(whole.edges, [0.0, 0.0, 400.0, 200.0]);
    }

    #[test]
    fn large_pictures_are_cut_into_tiles() {
        let count = |width, height| views([width, height]).len();
        assert_eq!((count(480, 480), count(481, 481), count(1920, 1080), count(4000, 100)), (1, 10, 7, 4));
        // What a tile shows is what is there.
        let picture = RgbImage::from_fn(960, 960, |x, y| Rgb([(x / 4) as u8, (y / 4) as u8, 9]));
        let pixels = pixels(&picture).unwrap();
        for (view, pixels) in views([960, 960]).iter().zip(pixels).skip(1) {
            let middle = view.in_picture(seen([96.0; 4])).unwrap().edges;
            let pixel = &pixels[(96 * SIDE as usize + 96) * 3..][..3];
            let close = |value: u8, place: f32| (f32::from(value) - place / 4.0).abs() <= 1.0;
            assert!(
                close(pixel[0], middle[0]) && close(pixel[1], middle[1]),
                "{view:?}: {pixel:?} {middle:?}"
            );
        }
    }

    #[test]
    fn what_an_inner_edge_cuts_is_left_to_the_next_tile() {
        let views = views([960, 960]);
        // The tile in the upper left corner of the picture.
        let corner = views[1];
        assert!(corner.in_picture(seen([-3.0, -3.0, 30.0, 30.0])).is_some());
        assert!(corner.in_picture(seen([170.0, 20.0, 193.0, 40.0])).is_none());
        let last = views[views.len() - 1];
        assert!(last.in_picture(seen([170.0, 170.0, 195.0, 195.0])).is_some());
        assert!(last.in_picture(seen([-1.0, 20.0, 30.0, 40.0])).is_none());
    }

    proptest! {
        #[test]
        fn every_small_face_is_whole_in_a_view(
            width in 1_u32..5000, height in 1_u32..5000, at in (0.0_f32..1.0, 0.0_f32..1.0),
        ) {
            let views = views([width, height]);
            prop_assert!((1..=10).contains(&views.len()));
            let at = [at.0, at.1];
            let shows = |view: &View| [0, 1].into_iter().all(|axis| {
                // A face as large as tiles overlap, somewhere in the picture.
                let size = OVERLAP.min(view.resized[axis]) as f32;
                let low = at[axis] * (view.resized[axis] as f32 - size) - view.start[axis] as f32;
                low >= -1e-3 && low + size <= SIDE as f32 + 1e-3
            });
            let finest = views[views.len() - 1].resized;
            prop_assert!(views.iter().any(|view| view.resized == finest && shows(view)));
        }
    }

    #[test]
    fn pictures_of_any_shape_are_shown() {
        for (width, height) in [(1, 1), (1, 3000), (3000, 1), (192, 192)] {
            let pixels = pixels(&RgbImage::new(width, height)).unwrap();
            assert_eq!(pixels.len(), views([width, height]).len());
            assert!(pixels.iter().all(|view| view.len() == BYTES));
        }
    }
}
