//! What is refused, and by which field.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod support;

use std::{fs, path::Path};

use atelier_core::Reason;
use atelier_inference::RunControl;
use atelier_pipeline::{Control, Init, Noise, Pipeline, Request};
use image::{GrayImage, RgbImage, RgbaImage};
use support::{load, load_with, request};

/// The field at fault.
fn refused(pipeline: &mut Pipeline, change: impl FnOnce(&mut Request)) -> String {
    let mut asked = request("a red cat", 7);
    change(&mut asked);
    let fault = pipeline.begin(&asked, &RunControl::new()).unwrap_err().into_fault();
    assert_eq!(fault.reason(), Reason::InvalidArgument, "{fault}");
    fault.violations()[0].field.clone()
}

fn init(strength: Option<f32>, mask: Option<GrayImage>) -> Option<Init> {
    Some(Init { picture: RgbaImage::new(16, 16), strength, mask })
}

#[test]
fn fields_out_of_range_are_named() {
    let mut pipeline = load("plain");
    let mut refused = |change: fn(&mut Request)| refused(&mut pipeline, change);
    for (change, field) in [
        ((|r| r.width = Some(0)) as fn(&mut Request), "diffusion.width"),
        (|r| r.width = Some(17), "diffusion.width"),
        (|r| r.height = Some(1 << 20), "diffusion.height"),
        (|r| r.height = Some(u32::MAX), "diffusion.height"),
        (|r| r.steps = Some(0), "diffusion.num_inference_steps"),
        (|r| r.steps = Some(1000), "diffusion.num_inference_steps"),
        (|r| r.steps = Some(1001), "diffusion.num_inference_steps"),
        (|r| r.guidance_scale = Some(-0.1), "diffusion.guidance_scale"),
        (|r| r.guidance_scale = Some(50.1), "diffusion.guidance_scale"),
        (|r| r.guidance_scale = Some(f32::NAN), "diffusion.guidance_scale"),
        (|r| r.guidance_rescale = 1.5, "diffusion.guidance_rescale"),
        (|r| r.eta = -1.0, "diffusion.eta"),
        (|r| r.scheduler = Some("heun".to_owned()), "diffusion.scheduler"),
        (|r| r.scheduler = Some("flow_euler".to_owned()), "diffusion.scheduler"),
        (|r| r.clip_skip = 3, "diffusion.clip_skip"),
        (|r| r.num_images = 17, "diffusion.num_images"),
        (|r| r.style = Some("ink".to_owned()), "diffusion.style"),
        (|r| r.init = init(Some(0.0), None), "init_image.strength"),
        (|r| r.init = init(Some(1.1), None), "init_image.strength"),
        (|r| r.init = init(Some(f32::NAN), None), "init_image.strength"),
        (|r| r.init = init(None, Some(GrayImage::new(16, 15))), "init_image.mask"),
        (|r| r.controls = vec![Control::new(RgbImage::new(8, 8))], "control_images"),
        (|r| r.noise = Noise::Given(vec![0.0; 3]), "noise"),
    ] {
        assert_eq!(refused(change), field);
    }
    let empty = |r: &mut Request| {
        r.init = Some(Init { picture: RgbaImage::new(0, 0), strength: None, mask: None });
    };
    assert_eq!(self::refused(&mut pipeline, empty), "init_image.data");
}

#[test]
fn messages_say_what_would_do() {
    let mut pipeline = load("plain");
    let fault = pipeline
        .begin(&Request { scheduler: Some("heun".to_owned()), ..request("", 1) }, &RunControl::new())
        .unwrap_err()
        .into_fault();
    assert!(fault.message().contains("pndm, ddim, euler"), "{fault}");
    let wide = Request { width: Some(18), height: Some(17), ..request("", 1) };
    let fault = pipeline.begin(&wide, &RunControl::new()).unwrap_err().into_fault();
    assert!(fault.message().contains("multiple of 4 between 4 and 1024"), "{fault}");
}

#[test]
fn control_images_are_checked_one_by_one() {
    let mut pipeline = load("controlled");
    let control = || Control::new(RgbImage::new(8, 8));
    let mut refused = |controls: Vec<Control>| refused(&mut pipeline, |request| request.controls = controls);
    assert_eq!(refused(vec![control(), control()]), "control_images");
    assert_eq!(refused(vec![Control { scale: 2.5, ..control() }]), "control_images[0].scale");
    assert_eq!(
        refused(vec![Control { guidance_start: -0.5, ..control() }]),
        "control_images[0].guidance_start"
    );
    let backwards = Control { guidance_start: 0.5, guidance_end: 0.4, ..control() };
    assert_eq!(refused(vec![backwards]), "control_images[0].guidance_end");
    assert_eq!(refused(vec![Control::new(RgbImage::new(0, 4))]), "control_images[0].data");
}

#[test]
fn small_models_have_one_size_and_named_styles() {
    let mut pipeline = load("flow");
    let mut refused = |change: fn(&mut Request)| refused(&mut pipeline, change);
    assert_eq!(refused(|r| r.width = Some(16)), "diffusion.width");
    assert_eq!(refused(|r| r.style = Some("oil".to_owned())), "diffusion.style");
    assert_eq!(refused(|r| r.clip_skip = 1), "diffusion.clip_skip");
}

#[test]
fn steps_that_consistency_was_not_distilled_for_are_refused() {
    let mut pipeline = load("consistency");
    assert_eq!(refused(&mut pipeline, |r| r.steps = Some(51)), "diffusion.num_inference_steps");
    let picture = |r: &mut Request| (r.steps, r.init) = (Some(9), init(Some(0.1), None));
    assert_eq!(refused(&mut pipeline, picture), "diffusion.num_inference_steps");
}

/// What is said of a folder that lacks something.
fn broken(name: &str, change: impl FnOnce(&Path)) -> String {
    let error = load_with(name, change).unwrap_err();
    let text = error.to_string();
    assert_ne!(error.into_fault().reason(), Reason::InvalidArgument);
    text
}

#[test]
fn broken_folders_are_named_by_their_file() {
    let write = |name: &'static str, text: &'static str| {
        move |folder: &Path| fs::write(folder.join(name), text).unwrap()
    };
    let remove = |name: &'static str| move |folder: &Path| fs::remove_file(folder.join(name)).unwrap();
    let unknown = broken("plain", write("model_index.json", r#"{"_class_name": "FluxPipeline"}"#));
    assert!(unknown.contains("FluxPipeline"), "{unknown}");
    for name in [
        "unet/model.onnx",
        "vae_decoder/model.onnx",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
    ] {
        let text = broken("plain", remove(name));
        let part = name.split('/').next().unwrap();
        assert!(text.contains(part), "{name}: {text}");
    }
    let text = broken(
        "plain",
        write("scheduler/scheduler_config.json", r#"{"_class_name": "HeunDiscreteScheduler"}"#),
    );
    assert!(text.contains("HeunDiscreteScheduler"), "{text}");
    let text = broken("masked", remove("vae_encoder/model.onnx"));
    assert!(text.contains("vae_encoder"), "{text}");
    let text = broken("flow", write("model_index.json", r#"{"_class_name": "LatentFlowPipeline"}"#));
    assert!(text.contains("text_encoder"), "{text}");
    let text =
        broken("flow", write("transformer/config.json", r#"{"sample_size": 4, "cross_attention_dim": 99}"#));
    assert!(text.contains("99"), "{text}");
}

#[test]
fn a_folder_without_an_encoder_reads_no_pictures() {
    let mut pipeline =
        load_with("plain", |folder| fs::remove_file(folder.join("vae_encoder/model.onnx")).unwrap()).unwrap();
    assert!(!pipeline.capabilities().image_to_image && !pipeline.capabilities().inpainting);
    assert_eq!(refused(&mut pipeline, |r| r.init = init(None, None)), "init_image");
}
