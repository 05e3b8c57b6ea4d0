//! One vector made of the vectors of a text's tokens, in the ways of sentence-transformers' `Pooling` module.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use serde::Deserialize;
use serde_json::Value;

/// What is made of a text's tokens: the results of these modes one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pooling(Vec<Mode>);

/// A way to pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The first token's vector.
    FirstToken,
    /// The largest of each number.
    Max,
    /// The mean.
    Mean,
    /// The sum by the square root of how many there are.
    MeanSqrtLength,
    /// The mean, the n-th token counted n times.
    WeightedMean,
    /// The last token's vector.
    LastToken,
}

/// Names of the modes since version 5 of sentence-transformers and before it, in the order of their results where a file of the
/// older kind sets several.
const MODES: [(&str, &str, Mode); 6] = [
    ("cls", "pooling_mode_cls_token", Mode::FirstToken),
    ("max", "pooling_mode_max_tokens", Mode::Max),
    ("mean", "pooling_mode_mean_tokens", Mode::Mean),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Mode::MeanSqrtLength),
    ("weightedmean", "pooling_mode_weightedmean_tokens", Mode::WeightedMean),
    ("lasttoken", "pooling_mode_lasttoken", Mode::LastToken),
];

/// `config.json` of the module.
#[derive(Debug, Deserialize)]
pub(crate) struct PoolingFile {
    pooling_mode: Option<Names>,
    include_prompt: Option<bool>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl PoolingFile {
    /// The modes that it names.
    ///
    /// # Errors
    /// What of it is not supported: a mode of another name, prompts that are left out of pooling, or no mode at all.
    pub(crate) fn pooling(self) -> Result<Pooling, String> {
        if self.include_prompt == Some(false) {
            return Err("include_prompt: prompts can't be left out of pooling".to_owned());
        }
        let modes: Vec<_> = match self.pooling_mode {
            Some(Names::One(name)) => vec![named(&name)?],
            Some(Names::Many(names)) => names.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
            None => set(&self.others)?,
        };
        if modes.is_empty() { Err("it names no pooling mode".to_owned()) } else { Ok(Pooling(modes)) }
    }
}

fn named(name: &str) -> Result<Mode, String> {
    let known = MODES.iter().find(|(known, _, _)| *known == name);
    known.map(|(_, _, mode)| *mode).ok_or_else(|| format!("pooling_mode: no mode {name:?} is known"))
}

fn set(keys: &BTreeMap<String, Value>) -> Result<Vec<Mode>, String> {
    let is_set = |key: &str| keys.get(key) == Some(&Value::Bool(true));
    let is_known = |key: &str| MODES.iter().any(|(_, known, _)| *known == key);
    match keys.keys().find(|key| key.starts_with("pooling_mode_") && is_set(key) && !is_known(key)) {
        Some(unknown) => Err(format!("{unknown}: no such mode is known")),
        None => Ok(MODES.iter().filter(|(_, key, _)| is_set(key)).map(|(_, _, mode)| *mode).collect()),
    }
}

impl Pooling {
    /// Of a text's tokens `[s, h]`, padding left out: `h` numbers for each mode. Without a token all are 0.
    pub(crate) fn pool(&self, tokens: ArrayView2<'_, f32>) -> Vec<f32> {
        self.0.iter().flat_map(|mode| mode.pool(tokens)).collect()
    }
}

impl Mode {
    fn pool(self, tokens: ArrayView2<'_, f32>) -> Vec<f32> {
        let count = tokens.nrows();
        let Some(last) = count.checked_sub(1) else { return vec![0.0; tokens.ncols()] };
        match self {
            Self::FirstToken => tokens.row(0).to_vec(),
            Self::LastToken => tokens.row(last).to_vec(),
            Self::Max => max(tokens),
            Self::Mean => weighted_sum(tokens, |_| 1.0 / count as f64),
            Self::MeanSqrtLength => weighted_sum(tokens, |_| 1.0 / (count as f64).sqrt()),
            Self::WeightedMean => {
                let all = (1..=count).sum::<usize>() as f64;
                weighted_sum(tokens, |place| (place + 1) as f64 / all)
            }
        }
    }
}

fn max(tokens: ArrayView2<'_, f32>) -> Vec<f32> {
    let mut most = vec![f32::NEG_INFINITY; tokens.ncols()];
    for row in tokens.rows() {
        most.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(*value));
    }
    most
}

/// `weight`: of the token at a place.
fn weighted_sum(tokens: ArrayView2<'_, f32>, weight: impl Fn(usize) -> f64) -> Vec<f32> {
    let mut sum = vec![0.0; tokens.ncols()];
    for (place, row) in tokens.rows().into_iter().enumerate() {
        let weight = weight(place);
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
    }
    sum.into_iter().map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};
    use proptest::prelude::*;

    use super::*;

    fn read(file: &str) -> Result<Pooling, String> {
        serde_json::from_str::<PoolingFile>(file).expect("it parses").pooling()
    }

    #[test]
    fn each_mode_by_hand() {
        let tokens = array![[1.0, -2.0], [3.0, 0.0], [-4.0, 8.0], [4.0, -2.0]];
        for (name, expected) in [
            ("cls", [1.0, -2.0]),
            ("max", [4.0, 8.0]),
            ("mean", [1.0, 1.0]),
            ("mean_sqrt_len_tokens", [2.0, 2.0]),
            // 1 + 6 - 12 + 16 and -2 + 0 + 24 - 8, by 1 + 2 + 3 + 4.
            ("weightedmean", [1.1, 1.4]),
            ("lasttoken", [4.0, -2.0]),
        ] {
            let pooling = read(&format!(r#"{{"pooling_mode": "{name}"}}"#)).expect("it is known");
            let pooled = pooling.pool(tokens.view());
            let near = pooled.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6);
            assert!(near && pooled.len() == 2, "{name}: {pooled:?}");
            assert_eq!(pooling.pool(tokens.slice(s![..0, ..])), [0.0, 0.0], "{name}");
        }
    }

    #[test]
    fn files_of_both_kinds_name_modes() {
        let old = r#"{"word_embedding_dimension": 2, "pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": true,
            "pooling_mode_cls_token": true, "pooling_mode_max_tokens": false, "include_prompt": true}"#;
        assert_eq!(read(old), Ok(Pooling(vec![Mode::FirstToken, Mode::Mean, Mode::LastToken])));
        let new =
            r#"{"embedding_dimension": 2, "pooling_mode": ["lasttoken", "cls"], "include_prompt": true}"#;
        assert_eq!(read(new), Ok(Pooling(vec![Mode::LastToken, Mode::FirstToken])));
        assert_eq!(read(r#"{"pooling_mode": "mean"}"#), Ok(Pooling(vec![Mode::Mean])));
        let unused = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_median_tokens": false}"#;
        assert_eq!(read(unused), Ok(Pooling(vec![Mode::Mean])));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (file, name) in [
            (r#"{"pooling_mode": "median"}"#, "\"median\""),
            (r#"{"pooling_mode": ["mean", "median"]}"#, "\"median\""),
            (
                r#"{"pooling_mode_mean_tokens": true, "pooling_mode_median_tokens": true}"#,
                "pooling_mode_median_tokens",
            ),
            (r#"{"pooling_mode": "mean", "include_prompt": false}"#, "include_prompt"),
            (r#"{"pooling_mode_mean_tokens": false}"#, "no pooling mode"),
            (r#"{"pooling_mode": []}"#, "no pooling mode"),
        ] {
            let problem = read(file).expect_err(file);
            assert!(problem.contains(name), "{file}: {problem}");
        }
    }

    /// As sentence-transformers computes it: of padded tokens and a mask, in single precision.
    fn reference(mode: Mode, padded: &Array2<f32>, mask: &[f32]) -> Vec<f32> {
        let column = |column: ndarray::ArrayView1<'_, f32>| -> f32 {
            let masked = || column.iter().zip(mask);
            let sum: f32 = masked().map(|(value, mask)| value * mask).sum();
            let count: f32 = mask.iter().sum();
            let weights = (1_u8..).map(f32::from).zip(mask).map(|(weight, mask)| weight * mask);
            match mode {
                Mode::FirstToken => column[0],
                Mode::Max => masked()
                    .filter(|(_, mask)| **mask > 0.0)
                    .map(|(value, _)| *value)
                    .fold(f32::MIN, f32::max),
                Mode::Mean => sum / count,
                Mode::MeanSqrtLength => sum / count.sqrt(),
                Mode::WeightedMean => {
                    let weighted: f32 =
                        column.iter().zip(weights.clone()).map(|(value, weight)| value * weight).sum();
                    weighted / weights.sum::<f32>()
                }
                Mode::LastToken => {
                    column[mask.iter().rposition(|mask| *mask > 0.0).expect("a token is left")]
                }
            }
        };
        padded.columns().into_iter().map(column).collect()
    }

    proptest! {
        #[test]
        fn padding_counts_for_nothing(
            values in prop::collection::vec(-10.0_f32..10.0, 60),
            length in 1_usize..=20,
        ) {
            let padded = Array2::from_shape_vec((20, 3), values).expect("it is of that size");
            let mask: Vec<f32> = (0..20).map(|place| if place < length { 1.0 } else { 0.0 }).collect();
            let all = Pooling(MODES.iter().map(|(_, _, mode)| *mode).collect());
            let expected: Vec<f32> =
                MODES.iter().flat_map(|(_, _, mode)| reference(*mode, &padded, &mask)).collect();
            let pooled = all.pool(padded.slice(s![..length, ..]));
            prop_assert_eq!(pooled.len(), expected.len());
            for (one, other) in pooled.iter().zip(&expected) {
                prop_assert!((one - other).abs() < 1e-4, "{:?} {:?}", pooled, expected);
            }
        }
    }
}
