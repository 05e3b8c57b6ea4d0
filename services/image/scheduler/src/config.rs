//! `scheduler_config.json`, as diffusers writes it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::SchedulerError;

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `DDIMScheduler`.
    Ddim,
    /// `PNDMScheduler`.
    Pndm,
    /// `EulerDiscreteScheduler`.
    Euler,
    /// `EulerAncestralDiscreteScheduler`.
    EulerAncestral,
    /// `DPMSolverMultistepScheduler`: DPM-Solver and DPM-Solver++, plain and SDE.
    DpmSolver,
    /// `UniPCMultistepScheduler`.
    UniPc,
    /// `LCMScheduler`.
    Lcm,
    /// `FlowMatchEulerDiscreteScheduler`.
    FlowMatchEuler,
}

/// Classes by their names in diffusers, with a key that no other class has where a file may come without a name.
const CLASSES: [(&str, Kind, &[&str]); 8] = [
    ("LCMScheduler", Kind::Lcm, &["original_inference_steps"]),
    ("PNDMScheduler", Kind::Pndm, &["skip_prk_steps"]),
    ("UniPCMultistepScheduler", Kind::UniPc, &["predict_x0", "disable_corrector"]),
    ("DPMSolverMultistepScheduler", Kind::DpmSolver, &["algorithm_type", "use_lu_lambdas"]),
    ("FlowMatchEulerDiscreteScheduler", Kind::FlowMatchEuler, &["shift", "base_shift"]),
    ("EulerDiscreteScheduler", Kind::Euler, &["interpolation_type", "timestep_type"]),
    ("DDIMScheduler", Kind::Ddim, &["set_alpha_to_one", "clip_sample"]),
    ("EulerAncestralDiscreteScheduler", Kind::EulerAncestral, &["timestep_spacing"]),
];

impl Kind {
    /// The name of its class in diffusers.
    #[must_use]
    pub fn class_name(self) -> &'static str {
        CLASSES.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, ..)| name)
    }

    fn of(object: &Map<String, Value>) -> Result<Self, SchedulerError> {
        let found = match object.get("_class_name").and_then(Value::as_str) {
            Some(name) => CLASSES.iter().find(|(class, ..)| *class == name).ok_or(name),
            None => CLASSES
                .iter()
                .find(|(_, _, keys)| keys.iter().any(|key| object.contains_key(*key)))
                .ok_or("without a name"),
        };
        found.map(|(_, kind, _)| *kind).map_err(|name| SchedulerError::UnknownScheduler(name.to_owned()))
    }
}

/// What the model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity `alpha * noise - sigma * sample` (Salimans and Ho, 2022).
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The clean sample.
    #[serde(alias = "original_sample")]
    Sample,
    /// The flow `noise - sample`.
    #[serde(rename = "flow_prediction")]
    Flow,
}

impl Prediction {
    pub(crate) fn refuse<T>(self) -> Result<T, SchedulerError> {
        let name = match self {
            Self::Epsilon => "epsilon",
            Self::Velocity => "v_prediction",
            Self::Sample => "sample",
            Self::Flow => "flow_prediction",
        };
        Err(SchedulerError::unsupported("prediction_type", name))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BetaSchedule {
    Linear,
    ScaledLinear,
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spacing {
    Linspace,
    Leading,
    Trailing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinalSigma {
    Zero,
    SigmaMin,
}

/// How the sigmas between the first and the last are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Those of the training times.
    Trained,
    Karras,
    Exponential,
    Beta,
    /// Even in the logarithm (Lu et al., 2022).
    Lu,
    Flow,
}

/// A sampler and its options. Keys that a file leaves out have the default of diffusers for its class; keys that no
/// sampler here knows are ignored, as diffusers does.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    pub(crate) kind: Kind,
    pub(crate) keys: Keys,
}

/// The keys of all classes. `None` where classes have different defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Keys {
    pub(crate) num_train_timesteps: usize,
    pub(crate) beta_start: Option<f64>,
    pub(crate) beta_end: Option<f64>,
    pub(crate) beta_schedule: Option<BetaSchedule>,
    pub(crate) trained_betas: Option<Vec<f32>>,
    pub(crate) rescale_betas_zero_snr: bool,
    pub(crate) prediction_type: Prediction,
    pub(crate) timestep_spacing: Option<Spacing>,
    pub(crate) steps_offset: usize,
    pub(crate) set_alpha_to_one: Option<bool>,
    pub(crate) clip_sample: Option<bool>,
    pub(crate) clip_sample_range: f32,
    pub(crate) thresholding: bool,
    pub(crate) dynamic_thresholding_ratio: f64,
    pub(crate) sample_max_value: f32,
    pub(crate) skip_prk_steps: bool,
    pub(crate) final_sigmas_type: FinalSigma,
    pub(crate) interpolation_type: String,
    pub(crate) timestep_type: String,
    pub(crate) sigma_min: Option<f64>,
    pub(crate) sigma_max: Option<f64>,
    pub(crate) use_karras_sigmas: Option<bool>,
    pub(crate) use_exponential_sigmas: Option<bool>,
    pub(crate) use_beta_sigmas: Option<bool>,
    pub(crate) use_lu_lambdas: Option<bool>,
    pub(crate) use_flow_sigmas: Option<bool>,
    pub(crate) flow_shift: f64,
    pub(crate) solver_order: usize,
    pub(crate) algorithm_type: String,
    pub(crate) solver_type: Option<String>,
    pub(crate) lower_order_final: bool,
    pub(crate) euler_at_final: bool,
    pub(crate) lambda_min_clipped: Option<f32>,
    pub(crate) variance_type: Option<String>,
    pub(crate) predict_x0: bool,
    pub(crate) disable_corrector: Vec<usize>,
    pub(crate) original_inference_steps: usize,
    pub(crate) timestep_scaling: f64,
    pub(crate) shift: f64,
    pub(crate) use_dynamic_shifting: bool,
    pub(crate) base_shift: f64,
    pub(crate) max_shift: f64,
    pub(crate) base_image_seq_len: f64,
    pub(crate) max_image_seq_len: f64,
    pub(crate) invert_sigmas: bool,
    pub(crate) shift_terminal: Option<f64>,
    pub(crate) time_shift_type: String,
    pub(crate) stochastic_sampling: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: None,
            beta_end: None,
            beta_schedule: None,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
            steps_offset: 0,
            set_alpha_to_one: None,
            clip_sample: None,
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            skip_prk_steps: false,
            final_sigmas_type: FinalSigma::Zero,
            interpolation_type: "linear".to_owned(),
            timestep_type: "discrete".to_owned(),
            sigma_min: None,
            sigma_max: None,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
            use_lu_lambdas: None,
            use_flow_sigmas: None,
            flow_shift: 1.0,
            solver_order: 2,
            algorithm_type: "dpmsolver++".to_owned(),
            solver_type: None,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: None,
            variance_type: None,
            predict_x0: true,
            disable_corrector: Vec::new(),
            original_inference_steps: 50,
            timestep_scaling: 10.0,
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256.0,
            max_image_seq_len: 4096.0,
            invert_sigmas: false,
            shift_terminal: None,
            time_shift_type: "exponential".to_owned(),
            stochastic_sampling: false,
        }
    }
}

impl Keys {
    /// Where the sigmas come from.
    pub(crate) fn layout(&self) -> Result<Layout, SchedulerError> {
        let asked = [
            (self.use_karras_sigmas, Layout::Karras),
            (self.use_lu_lambdas, Layout::Lu),
            (self.use_exponential_sigmas, Layout::Exponential),
            (self.use_beta_sigmas, Layout::Beta),
            (self.use_flow_sigmas, Layout::Flow),
        ];
        let mut asked = asked.into_iter().filter(|(on, _)| on.unwrap_or(false)).map(|(_, layout)| layout);
        match (asked.next(), asked.next()) {
            (None, _) => Ok(Layout::Trained),
            (Some(layout), None) => Ok(layout),
            (Some(first), Some(second)) => {
                Err(SchedulerError::unsupported("use_*_sigmas", format!("{first:?} and {second:?}")))
            }
        }
    }
}

impl SchedulerConfig {
    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// It is no JSON, names an unknown class, or gives a key a value of the wrong type.
    pub fn parse(json: &str) -> Result<Self, SchedulerError> {
        let malformed = |error: serde_json::Error| SchedulerError::Malformed(error.to_string());
        let object: Map<String, Value> = serde_json::from_str(&strict_json(json)).map_err(malformed)?;
        let kind = Kind::of(&object)?;
        // Python writes an absent value as null; serde takes null only for an Option.
        let present = object.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let keys: Keys = serde_json::from_value(Value::Object(present)).map_err(malformed)?;
        let longest = 1_000_000;
        if !(2..=longest).contains(&keys.num_train_timesteps) {
            return Err(SchedulerError::unsupported("num_train_timesteps", keys.num_train_timesteps));
        }
        Ok(Self { kind, keys })
    }

    /// The sampler.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same options with another sampler, as far as it knows them.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

/// Python's `Infinity`, `-Infinity` and `NaN`, which JSON does not have, become null.
#[must_use]
pub fn strict_json(json: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !WORDS.iter().any(|word| json.contains(word)) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let (mut rest, mut in_string) = (json, false);
    while let Some(next) = rest.chars().next() {
        if !in_string && let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        let mut taken = next.len_utf8();
        if next == '\\' && in_string {
            // An escape and what it escapes.
            taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
        } else if next == '"' {
            in_string = !in_string;
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_class_is_known_by_name_or_by_its_keys() {
        for (name, kind, keys) in CLASSES {
            let named = SchedulerConfig::parse(&format!(r#"{{"_class_name": "{name}"}}"#)).unwrap();
            assert_eq!(named.kind(), kind);
            assert_eq!(kind.class_name(), name);
            let by_key =
                SchedulerConfig::parse(&format!(r#"{{"{}": null, "timestep_spacing": null}}"#, keys[0]));
            assert_eq!(by_key.unwrap().kind(), kind);
        }
        let unknown = SchedulerConfig::parse(r#"{"_class_name": "HeunScheduler"}"#).unwrap_err();
        assert_eq!(unknown, SchedulerError::UnknownScheduler("HeunScheduler".into()));
        assert!(SchedulerConfig::parse("{}").is_err());
        assert!(SchedulerConfig::parse("[]").is_err());
    }

    #[test]
    fn pythons_numbers_are_read() {
        let text =
            r#"{"algorithm_type": "dpmsolver++", "lambda_min_clipped": -Infinity, "x": "NaN \" Infinity"}"#;
        assert_eq!(SchedulerConfig::parse(text).unwrap().keys.lambda_min_clipped, None);
        assert_eq!(strict_json(r#"["NaN", NaN, "\\", Infinity]"#), r#"["NaN", null, "\\", null]"#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[{\"a:,\\\\\\]}NaInfinity_-]{0,60}") {
            let _ = SchedulerConfig::parse(&text);
            prop_assert!(strict_json(&text).len() <= text.len() + 4 * text.len());
        }
    }
}
