//! The lines of a picture as one text that remembers where they stand.

use std::ops::Range;

use crate::Region;

/// A line that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// Where it stands.
    pub region: Region,
    /// Which row of the page it stands in.
    pub row: usize,
}

/// All text of a picture: rows on lines of their own, what stands side by side with a space between.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PictureText {
    text: String,
    places: Vec<(Range<usize>, Region)>,
}

impl PictureText {
    /// Joins lines that are in reading order.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut whole = Self::default();
        let mut row = None;
        for line in lines {
            match row {
                None => {}
                Some(row) if row == line.row => whole.text.push(' '),
                Some(_) => whole.text.push('\n'),
            }
            row = Some(line.row);
            let start = whole.text.len();
            whole.text.push_str(&line.text);
            whole.places.push((start..whole.text.len(), line.region));
        }
        whole
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where in the picture these bytes of the text stand: around all lines that hold some of them.
    #[must_use]
    pub fn region(&self, bytes: &Range<usize>) -> Option<Region> {
        let touched =
            self.places.iter().filter(|(place, _)| place.start < bytes.end && bytes.start < place.end);
        touched.map(|(_, region)| *region).reduce(Region::union)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lead_back_to_the_picture() {
        let line = |text: &str, left, top, row| Line {
            text: text.to_owned(),
            region: Region { left, top, width: 10, height: 5 },
            row,
        };
        let text = PictureText::of(&[line("One", 0, 0, 0), line("two", 20, 0, 0), line("three", 0, 9, 1)]);
        assert_eq!(text.text(), "One two\nthree");
        assert_eq!(text.region(&(4..5)), Some(Region { left: 20, top: 0, width: 10, height: 5 }));
        assert_eq!(text.region(&(0..13)), Some(Region { left: 0, top: 0, width: 30, height: 14 }));
        assert_eq!(text.region(&(3..4)), None);
        assert_eq!(PictureText::of(&[]).region(&(0..9)), None);
    }
}
