//! The schedulers of a folder: its own, and the others with its noise schedule.

use atelier_inference::ModelFolder;
use atelier_scheduler::{Kind, Scheduler, SchedulerConfig, SchedulerError, Settings, strict_json};
use serde_json::{Map, Value, json};

use crate::{PipelineError, index::Family};

/// Where the folder keeps it.
const FILE: &str = "scheduler/scheduler_config.json";

/// A sampler by the name that requests use, with the options that make it that one.
struct Known {
    name: &'static str,
    kind: Kind,
    /// `algorithm_type`, for samplers that have several.
    algorithm: Option<&'static str>,
    /// `use_karras_sigmas`.
    karras: bool,
}

const fn plain(name: &'static str, kind: Kind) -> Known {
    Known { name, kind, algorithm: None, karras: false }
}

const fn solver(name: &'static str, algorithm: &'static str, karras: bool) -> Known {
    Known { name, kind: Kind::DpmSolver, algorithm: Some(algorithm), karras }
}

const KNOWN: [Known; 11] = [
    plain("ddim", Kind::Ddim),
    plain("pndm", Kind::Pndm),
    plain("euler", Kind::Euler),
    plain("euler_a", Kind::EulerAncestral),
    solver("dpmpp_2m", "dpmsolver++", false),
    solver("dpmpp_2m_karras", "dpmsolver++", true),
    solver("dpmpp_2m_sde", "sde-dpmsolver++", false),
    solver("dpmpp_2m_sde_karras", "sde-dpmsolver++", true),
    plain("unipc", Kind::UniPc),
    plain("lcm", Kind::Lcm),
    plain("flow_euler", Kind::FlowMatchEuler),
];

/// Schedulers by name, the folder's own first.
#[derive(Debug)]
pub(crate) struct Schedulers(Vec<(String, SchedulerConfig)>);

impl Schedulers {
    pub(crate) fn load(folder: &ModelFolder, family: Family) -> Result<Self, PipelineError> {
        let text = folder.text(FILE)?;
        Self::parse(&text, family)
            .map_err(|error| PipelineError::folder(folder.id(), format!("{FILE}: {error}")))
    }

    fn parse(text: &str, family: Family) -> Result<Self, SchedulerError> {
        let kind = SchedulerConfig::parse(text)?.kind();
        let malformed = |error: serde_json::Error| SchedulerError::Malformed(error.to_string());
        let mut keys: Map<String, Value> = serde_json::from_str(&strict_json(text)).map_err(malformed)?;
        keys.insert("_class_name".to_owned(), kind.class_name().into());
        if family == Family::StableDiffusion {
            // diffusers corrects old files in the same two ways.
            keys.insert("steps_offset".to_owned(), json!(1));
            keys.insert("clip_sample".to_owned(), json!(false));
        }
        let own = (name_of(kind, &keys), config(&keys)?);
        let mut all = vec![(own.0.to_owned(), own.1)];
        for other in &KNOWN {
            // A model that predicts a flow is of no use to the others, nor they to it.
            let is_flow = |kind| kind == Kind::FlowMatchEuler;
            if other.name == own.0 || is_flow(other.kind) != is_flow(kind) {
                continue;
            }
            let config = config(&with(&keys, other))?;
            // Some samplers don't take each prediction type.
            if Scheduler::new(&config, &Settings::steps(10)).is_ok() {
                all.push((other.name.to_owned(), config));
            }
        }
        Ok(Self(all))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The folder's own sampler.
    pub(crate) fn own_kind(&self) -> Option<Kind> {
        self.0.first().map(|(_, config)| config.kind())
    }

    /// The name and the configuration of one; without a name the folder's own.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&(String, SchedulerConfig)> {
        match name {
            None => self.0.first(),
            Some(name) => self.0.iter().find(|(known, _)| known == name),
        }
    }

    /// Adds one, or takes the place of the one of that name.
    pub(crate) fn insert(&mut self, name: &str, config: SchedulerConfig) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, present)) => *present = config,
            None => self.0.push((name.to_owned(), config)),
        }
    }
}

fn config(keys: &Map<String, Value>) -> Result<SchedulerConfig, SchedulerError> {
    SchedulerConfig::parse(&Value::Object(keys.clone()).to_string())
}

/// The same noise schedule for another sampler, as `from_config` of diffusers makes it.
fn with(keys: &Map<String, Value>, other: &Known) -> Map<String, Value> {
    let mut keys = keys.clone();
    // What a class filled in by itself is not what the file asks of another class.
    if let Some(Value::Array(filled_in)) = keys.remove("_use_default_values") {
        filled_in.iter().filter_map(Value::as_str).for_each(|key| {
            keys.remove(key);
        });
    }
    // Latents of these models are not pictures within -1 and 1.
    keys.entry("clip_sample").or_insert(json!(false));
    // The Runge-Kutta start of PNDM needs four steps and more runs; Stable Diffusion is used without it.
    keys.entry("skip_prk_steps").or_insert(json!(true));
    for key in ["solver_order", "solver_type", "final_sigmas_type"] {
        keys.remove(key);
    }
    keys.insert("algorithm_type".to_owned(), json!(other.algorithm));
    keys.insert("use_karras_sigmas".to_owned(), json!(other.karras));
    keys.insert("_class_name".to_owned(), other.kind.class_name().into());
    keys
}

/// The name of a sampler with these options.
fn name_of(kind: Kind, keys: &Map<String, Value>) -> &'static str {
    let karras = keys.get("use_karras_sigmas") == Some(&json!(true));
    let algorithm = keys.get("algorithm_type").and_then(Value::as_str);
    let alike = |known: &&Known| {
        let same_algorithm = known.algorithm.is_none_or(|own| own == algorithm.unwrap_or("dpmsolver++"));
        u8::from(same_algorithm) * 2 + u8::from(known.karras == karras)
    };
    // Of equals the last one: plain ones come first.
    KNOWN.iter().rev().filter(|known| known.kind == kind).max_by_key(alike).map_or("", |known| known.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        Schedulers::parse(text, Family::StableDiffusion).unwrap().names()
    }

    #[test]
    fn the_folders_own_comes_first() {
        let pndm = names(r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true}"#);
        assert_eq!(pndm[..3], ["pndm", "ddim", "euler"]);
        assert!(!pndm.contains(&"flow_euler".to_owned()));
        let flow = names(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#);
        assert_eq!(flow, ["flow_euler"]);
        let sde = r#"{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++",
            "use_karras_sigmas": true, "lambda_min_clipped": -Infinity}"#;
        assert_eq!(names(sde)[..2], ["dpmpp_2m_sde_karras", "ddim"]);
    }

    #[test]
    fn defaults_of_one_class_are_not_options_of_another() {
        let text = r#"{"_class_name": "PNDMScheduler", "timestep_spacing": "leading", "beta_end": 0.012,
            "_use_default_values": ["timestep_spacing"]}"#;
        let all = Schedulers::parse(text, Family::StableDiffusion).unwrap();
        let (_, euler) = all.find(Some("euler")).unwrap();
        let expected = r#"{"_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "steps_offset": 1,
            "clip_sample": false}"#;
        let times = |config| Scheduler::new(config, &Settings::steps(7)).unwrap().timesteps().to_vec();
        assert_eq!(times(euler), times(&SchedulerConfig::parse(expected).unwrap()));
        assert!(all.find(Some("heun")).is_none());
    }
}
