//! From the recogniser's probabilities to text.

use crate::OcrError;

/// The characters that a recogniser tells apart: column 0 is none, then the characters of its list, then a space.
#[derive(Clone, Debug)]
pub struct Charset(Vec<String>);

/// The text of a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What it says.
    pub text: String,
    /// How sure the recogniser is of each character, 0 to 1.
    pub confidences: Vec<f32>,
}

impl Charset {
    /// A list with one character a line.
    ///
    /// # Errors
    /// The list is empty.
    pub fn parse(list: &str) -> Result<Self, OcrError> {
        let characters = list.strip_suffix('\n').unwrap_or(list).split('\n');
        let characters = characters.map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned());
        match list.is_empty() {
            true => Err(OcrError::Charset),
            false => Ok(Self(characters.chain([" ".to_owned()]).collect())),
        }
    }

    /// Columns of the recogniser's answer.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.0.len() + 1
    }

    /// Reads a line's probabilities, `[steps, columns]`: in each step the likeliest column, repeats dropped, then the
    /// steps without a character (greedy decoding of connectionist temporal classification, Graves et al., 2006).
    ///
    /// # Errors
    /// There is no whole number of steps.
    pub fn read(&self, probabilities: &[f32]) -> Result<Reading, OcrError> {
        let columns = self.columns();
        if !probabilities.len().is_multiple_of(columns) {
            return Err(OcrError::Columns { columns, values: probabilities.len() });
        }
        let mut reading = Reading::default();
        let mut before = 0;
        for step in probabilities.chunks_exact(columns) {
            let (column, confidence) = likeliest(step);
            if column != before && column > 0 {
                reading.text.extend(self.0.get(column - 1).map(String::as_str));
                reading.confidences.push(confidence);
            }
            before = column;
        }
        Ok(reading)
    }
}

impl Reading {
    /// Mean of the characters' confidences; 0 for no text.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.confidences.iter().sum::<f32>() / self.confidences.len().max(1) as f32
    }
}

/// The first of the greatest; what is no number counts as less than all.
fn likeliest(step: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (column, value) in step.iter().enumerate() {
        if *value > best.1 {
            best = (column, *value);
        }
    }
    (best.0, if best.1.is_finite() { best.1.clamp(0.0, 1.0) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(columns: &[usize]) -> Vec<f32> {
        columns.iter().flat_map(|column| (0..4).map(move |n| if n == *column { 0.8 } else { 0.05 })).collect()
    }

    #[test]
    fn repeats_and_gaps_are_dropped() {
        let charset = Charset::parse("a\n好").unwrap();
        assert_eq!(charset.columns(), 4);
        let reading = charset.read(&steps(&[0, 1, 1, 0, 1, 3, 3, 2, 0])).unwrap();
        assert_eq!(reading.text, "aa 好");
        assert_eq!(reading.confidences.len(), 4);
        assert!((reading.confidence() - 0.8).abs() < 1e-6);
        assert_eq!(charset.read(&[]).unwrap().confidence(), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(Charset::parse(""), Err(OcrError::Charset)));
        let charset = Charset::parse("a\nb\n").unwrap();
        assert!(matches!(charset.read(&[0.0; 5]), Err(OcrError::Columns { columns: 4, values: 5 })));
    }

    proptest! {
        #[test]
        fn any_values_read_as_something(values in proptest::collection::vec(prop_oneof![
            any::<f32>(), Just(f32::NAN), 0.0_f32..1.0
        ], 0..400)) {
            let charset = Charset::parse("a\nb\nc").unwrap();
            let whole = values.len() / charset.columns() * charset.columns();
            let reading = charset.read(&values[..whole]).unwrap();
            prop_assert_eq!(reading.text.chars().count(), reading.confidences.len());
            prop_assert!((0.0..=1.0).contains(&reading.confidence()));
        }
    }
}
