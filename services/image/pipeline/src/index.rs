//! `model_index.json`: which pipeline a folder holds, and the parts that lie outside of it.

use atelier_inference::ModelFolder;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::PipelineError;

/// Pipelines that are stepped alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Stable Diffusion 1.x and 2.x.
    StableDiffusion,
    /// Stable Diffusion XL, its refiner too.
    StableDiffusionXl,
    /// Latent consistency models, which are told the guidance scale instead of running twice.
    LatentConsistency,
    /// Rectified flow over the latents of small pictures, with a sentence encoder.
    LatentFlow,
}

/// Exporters put these before the name of a class.
const EXPORTERS: [&str; 4] = ["ORT", "Ort", "ONNX", "Onnx"];

/// What a class name says beside its family, in the order in which diffusers puts it together.
const VARIANTS: [&str; 8] = [
    "",
    "Img2Img",
    "Inpaint",
    "InpaintLegacy",
    "ControlNet",
    "ControlNetImg2Img",
    "ControlNetInpaint",
    "ControlNetUnion",
];

impl Family {
    fn of(class: &str) -> Option<Self> {
        let class = EXPORTERS.iter().find_map(|exporter| class.strip_prefix(exporter)).unwrap_or(class);
        let name = class.strip_suffix("Pipeline")?;
        let families = [
            ("StableDiffusionXL", Self::StableDiffusionXl),
            ("StableDiffusion", Self::StableDiffusion),
            ("LatentConsistencyModel", Self::LatentConsistency),
            ("LatentFlow", Self::LatentFlow),
        ];
        families
            .into_iter()
            .find(|(prefix, _)| name.strip_prefix(prefix).is_some_and(|rest| VARIANTS.contains(&rest)))
            .map(|(_, family)| family)
    }
}

/// The file.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(rename = "_class_name")]
    class_name: String,
    #[serde(rename = "_name_or_path", default)]
    name_or_path: Option<String>,
    #[serde(default)]
    force_zeros_for_empty_prompt: Option<bool>,
    #[serde(default)]
    requires_aesthetics_score: Option<bool>,
    #[serde(flatten)]
    components: Map<String, Value>,
}

/// What the folder's manifest may say about its use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    num_inference_steps: Option<usize>,
    guidance_scale: Option<f32>,
}

/// What the file says that pipelines need to know.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) family: Family,
    /// Distilled to very few steps without guidance, as far as the model's name tells.
    pub(crate) turbo: bool,
    /// An absent negative prompt is zeros rather than the encoding of an empty text.
    pub(crate) zeros_for_empty_prompt: bool,
    /// The model is told how beautiful the picture is to be (the refiner of SDXL).
    pub(crate) aesthetics_score: bool,
    /// Steps of a request that names none, where the manifest says so.
    pub(crate) steps: Option<usize>,
    /// Guidance of a request that names none, where the manifest says so.
    pub(crate) guidance_scale: Option<f32>,
    components: Map<String, Value>,
}

impl Index {
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, PipelineError> {
        let file: File = folder.json("model_index.json")?;
        let options: Options = folder.options()?;
        let family = Family::of(&file.class_name).ok_or_else(|| {
            PipelineError::folder(
                folder.id(),
                format!("model_index.json: pipelines of class {:?} are not known", file.class_name),
            )
        })?;
        let names = [folder.id().as_str(), file.name_or_path.as_deref().unwrap_or_default()];
        Ok(Self {
            family,
            turbo: names.iter().any(|name| name.to_ascii_lowercase().contains("turbo")),
            zeros_for_empty_prompt: file.force_zeros_for_empty_prompt.unwrap_or(true),
            aesthetics_score: file.requires_aesthetics_score.unwrap_or(false),
            steps: options.num_inference_steps,
            guidance_scale: options.guidance_scale,
            components: file.components,
        })
    }

    /// The model of the store that a component is, `["atelier", "<id>"]`.
    pub(crate) fn store_model(&self, component: &str) -> Option<&str> {
        match self.components.get(component)?.as_array()?.as_slice() {
            [library, id] if library == "atelier" => id.as_str(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_all_exporters_are_known() {
        for (class, family) in [
            ("StableDiffusionPipeline", Some(Family::StableDiffusion)),
            ("OnnxStableDiffusionPipeline", Some(Family::StableDiffusion)),
            ("ORTStableDiffusionXLImg2ImgPipeline", Some(Family::StableDiffusionXl)),
            ("StableDiffusionControlNetPipeline", Some(Family::StableDiffusion)),
            ("LatentConsistencyModelPipeline", Some(Family::LatentConsistency)),
            ("LatentFlowPipeline", Some(Family::LatentFlow)),
            ("StableDiffusion3Pipeline", None),
            ("StableDiffusionUpscalePipeline", None),
            ("FluxPipeline", None),
        ] {
            assert_eq!(Family::of(class), family, "{class}");
        }
    }
}
