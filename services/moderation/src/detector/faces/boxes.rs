//! From what the model says of each cell of its grid to one box for each face.
//!
//! As MediaPipe's graph for faces within five metres has it: `TensorsToDetectionsCalculator` and `NonMaxSuppressionCalculator`,
//! weighted. Boxes of one face are not thrown away but averaged (Bazarevsky et al., "BlazeFace", 2019, section 3.4).

use super::views::SIDE;

/// Pixels of the model's input between two cells.
const STRIDE: usize = 4;
/// Cells of a row of the grid.
const ROW: usize = SIDE as usize / STRIDE;
/// Numbers of a cell: a logit, the middle less the cell's own middle, width and height.
const NUMBERS: usize = 5;
/// Logits are held between this and its negative.
const BOUND: f32 = 100.0;
/// What is less certain is no face.
const LEAST_SCORE: f32 = 0.6;
/// Boxes that share more of their area are of one face.
const LEAST_OVERLAP: f32 = 0.3;
/// Boxes that are looked at, the likeliest; each is compared with each face.
const MOST_BOXES: usize = 4096;
/// Faces of a picture, at most.
const MOST_FACES: usize = 256;

/// Where a face may be, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FaceBox {
    /// Left, top, right and bottom.
    pub(super) edges: [f32; 4],
    /// How certain it is, 0 to 1.
    pub(super) score: f32,
}

impl FaceBox {
    fn area(&self) -> f32 {
        let [left, top, right, bottom] = self.edges;
        (right - left).max(0.0) * (bottom - top).max(0.0)
    }

    /// The share of both together that both have, 0 to 1.
    fn overlap(&self, other: &Self) -> f32 {
        let (a, b) = (self.edges, other.edges);
        let both = Self {
            edges: [a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])],
            score: self.score,
        };
        let either = self.area() + other.area() - both.area();
        if either > 0.0 { both.area() / either } else { 0.0 }
    }
}

/// The likely boxes of one run, in pixels of what the model read; `None`: the row is no answer of the model's.
pub(super) fn likely(row: &[f32]) -> Option<Vec<FaceBox>> {
    let (cells, rest) = row.as_chunks::<NUMBERS>();
    if cells.len() != ROW * ROW || !rest.is_empty() || !row.iter().all(|number| number.is_finite()) {
        return None;
    }
    let middle = |place: usize| (place * STRIDE) as f32 + STRIDE as f32 / 2.0;
    let face = |(cell, &[logit, x, y, width, height]): (usize, &[f32; NUMBERS])| {
        let score = 1.0 / (1.0 + (-logit.clamp(-BOUND, BOUND)).exp());
        let (x, y) = (middle(cell % ROW) + x, middle(cell / ROW) + y);
        let edges = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
        (score >= LEAST_SCORE && width > 0.0 && height > 0.0).then_some(FaceBox { edges, score })
    };
    Some(cells.iter().enumerate().filter_map(face).collect())
}

/// One box for each face, the likeliest first: the mean of all that overlap with its likeliest, weighted by their scores.
pub(super) fn joined(mut boxes: Vec<FaceBox>) -> Vec<FaceBox> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    boxes.truncate(MOST_BOXES);
    let mut faces = Vec::new();
    while let Some(likeliest) = boxes.first().copied().filter(|_| faces.len() < MOST_FACES) {
        let (mut sums, mut weight, mut place) = ([0.0; 4], 0.0, 0);
        boxes.retain(|other| {
            let same = place == 0 || other.overlap(&likeliest) > LEAST_OVERLAP;
            place += 1;
            if same {
                for (sum, edge) in sums.iter_mut().zip(other.edges) {
                    *sum += edge * other.score;
                }
                weight += other.score;
            }
            !same
        });
        faces.push(FaceBox { edges: sums.map(|sum| sum / weight), score: likeliest.score });
    }
    faces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the model says where it sees nothing.
    fn nothing() -> Vec<f32> {
        [-9.0, 0.0, 0.0, 20.0, 20.0].repeat(ROW * ROW)
    }

    #[test]
    fn a_cell_says_where_its_face_is() {
        let mut row = nothing();
        // The third cell of the second row: its middle is at (10, 6).
        row[(ROW + 2) * NUMBERS..][..NUMBERS].copy_from_slice(&[2.0, 1.5, -1.0, 8.0, 6.0]);
        let [face] = likely(&row).unwrap()[..] else { panic!("one face") };
        assert_eq!(face.edges, [7.5, 2.0, 15.5, 8.0]);
        assert!((face.score - 0.880_797).abs() < 1e-6);
        row[(ROW + 2) * NUMBERS + 3] = -8.0;
        assert!(likely(&row).unwrap().is_empty(), "a width below 0");
    }

    #[test]
    fn logits_beyond_all_bounds_are_certainties() {
        let mut row = nothing();
        (row[0], row[NUMBERS]) = (1e30, -1e30);
        assert_eq!(likely(&row).unwrap().iter().map(|face| face.score).collect::<Vec<_>>(), [1.0]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let row = nothing();
        assert!(likely(&row[1..]).is_none() && likely(&[]).is_none());
        for broken in [f32::NAN, f32::INFINITY] {
            let mut row = row.clone();
            row[77] = broken;
            assert!(likely(&row).is_none());
        }
    }

    #[test]
    fn boxes_of_one_face_are_averaged_by_their_scores() {
        let at = |left: f32, score| FaceBox { edges: [left, 0.0, left + 10.0, 10.0], score };
        let faces = joined(vec![at(3.0, 0.6), at(100.0, 0.7), at(0.0, 0.9)]);
        assert_eq!(faces.len(), 2);
        assert!((faces[0].edges[0] - 1.2).abs() < 1e-5 && (faces[0].edges[2] - 11.2).abs() < 1e-5);
        assert_eq!((faces[0].score, faces[1]), (0.9, at(100.0, 0.7)));
    }

    fn face_box() -> impl Strategy<Value = FaceBox> {
        let numbers = (-50.0_f32..250.0, -50.0_f32..250.0, 0.1_f32..90.0, 0.1_f32..90.0, LEAST_SCORE..=1.0);
        numbers
            .prop_map(|(x, y, width, height, score)| FaceBox { edges: [x, y, x + width, y + height], score })
    }

    proptest! {
        #[test]
        fn every_box_is_a_face_or_lies_on_one(boxes in proptest::collection::vec(face_box(), 0..60)) {
            let faces = joined(boxes.clone());
            prop_assert!(faces.len() <= boxes.len() && faces.is_empty() == boxes.is_empty());
            prop_assert!(faces.is_sorted_by(|a, b| a.score >= b.score));
            let outer = |edge: usize, pick: fn(f32, f32) -> f32| {
                boxes.iter().map(|one| one.edges[edge]).reduce(pick).unwrap_or_default()
            };
            let within = [outer(0, f32::min), outer(1, f32::min), outer(2, f32::max), outer(3, f32::max)];
            for face in &faces {
                prop_assert!(face.edges[0] >= within[0] - 1e-2 && face.edges[2] <= within[2] + 1e-2);
                prop_assert!(face.edges[1] >= within[1] - 1e-2 && face.edges[3] <= within[3] + 1e-2);
            }
            // The likeliest boxes that overlap with no likelier one are faces of their own.
            let alone = boxes.iter().filter(|one| {
                boxes.iter().all(|other| std::ptr::eq(*one, other) || one.overlap(other) <= LEAST_OVERLAP)
            });
            for one in alone {
                prop_assert!(faces.iter().any(|face| face.overlap(one) > 0.99), "{one:?}");
            }
        }

        #[test]
        fn overlap_is_a_share_and_the_same_either_way(a in face_box(), b in face_box()) {
            prop_assert!((0.0..=1.0001).contains(&a.overlap(&b)));
            prop_assert!((a.overlap(&b) - b.overlap(&a)).abs() < 1e-6);
            prop_assert!((a.overlap(&a) - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn any_number_of_boxes_is_bounded() {
        let far = |n: usize| FaceBox { edges: [n as f32, 0.0, n as f32 + 0.5, 0.5], score: 0.7 };
        assert_eq!(joined((0..2 * MOST_BOXES).map(far).collect()).len(), MOST_FACES);
        // Areas beyond what a number holds overlap with nothing.
        let huge = FaceBox { edges: [-f32::MAX, -f32::MAX, f32::MAX, f32::MAX], score: 0.9 };
        assert_eq!(joined(vec![huge; 3]).len(), 3);
    }
}
