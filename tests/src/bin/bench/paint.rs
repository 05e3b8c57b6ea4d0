//! Pictures: the pipeline and the service against the sum of their bare model runs.

use std::{path::Path, process::Command, time::Instant};

use atelier_inference::{Model, ModelFolder, ModelStore, RunControl, Runtime, SessionConfig, Tensor, home};
use atelier_pipeline::{Conditioning, Noise, Pipeline, Request};
use atelier_proto::image::v1::{
    DiffusionConfig, GenerateImageRequest, image_service_client::ImageServiceClient,
};
use atelier_tests::Running;
use ndarray::ArrayD;
use tonic::transport::Channel;

use crate::report::{Goal, Report};

const MODEL: &str = "emoji-flow";
const STEPS: usize = 20;
const PROMPT: &str = "a red apple";

/// The graphs of the default model, run as a guided picture needs them.
struct Raw {
    transformer: Model,
    decoder: Model,
    channels: usize,
    tokens: usize,
}

impl Raw {
    fn load(onnx: &Runtime, folder: &ModelFolder, tokens: usize) -> anyhow::Result<Self> {
        let load = |file| Model::load_file(onnx, folder, file, &SessionConfig::default());
        let (transformer, decoder) = (load("transformer/model.onnx")?, load("vae_decoder/model.onnx")?);
        let hidden = transformer.inputs().iter().find(|port| port.name == "hidden_states");
        let channels = hidden.and_then(|port| port.dimensions.get(1).copied().flatten()).unwrap_or(16);
        Ok(Self { transformer, decoder, channels, tokens })
    }

    /// One picture: with and without the prompt in each step, then pixels.
    fn picture(&mut self) -> anyhow::Result<()> {
        let (rows, control) = (2, RunControl::new());
        for step in 0..STEPS {
            let time = 1000.0 * (1.0 - step as f32 / STEPS as f32);
            let inputs = [
                ("hidden_states", Tensor::F32(ArrayD::zeros(vec![rows, self.channels, 8, 8]))),
                ("timestep", Tensor::F32(ArrayD::from_elem(vec![rows], time))),
                ("encoder_hidden_states", Tensor::F32(ArrayD::zeros(vec![rows, self.tokens, 384]))),
                ("encoder_attention_mask", Tensor::I64(ArrayD::ones(vec![rows, self.tokens]))),
                ("style", Tensor::I64(ArrayD::zeros(vec![rows]))),
            ];
            self.transformer.run(&inputs, &["sample"], &control)?;
        }
        let latents = Tensor::F32(ArrayD::zeros(vec![1, self.channels, 8, 8]));
        self.decoder.run(&[("latent_sample", latents)], &["sample"], &control)?;
        Ok(())
    }
}

pub(crate) async fn run(onnx: &Runtime, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let store = ModelStore::new(home().join("models"));
    let folder = store.open(MODEL)?;
    let mut pipeline = Pipeline::load(onnx, &store, &folder, &SessionConfig::default())?;
    // Start, end, "query", ":", and the words.
    let mut raw = Raw::load(onnx, &folder, 7)?;
    let service = Running::image(atelier_image::Config::default()).await?;
    let client = ImageServiceClient::new(service.channel());

    let (mut pipelines, mut services) = (Vec::new(), Vec::new());
    for turn in 0..=rounds {
        let time = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        raw.picture()?;
        let bare = time(start);
        let start = Instant::now();
        picture(&mut pipeline)?;
        let through_pipeline = time(start);
        let start = Instant::now();
        ask(&client).await?;
        let through_service = time(start);
        // The first turn warms up; it also fills the cache of encoded prompts.
        if turn > 0 {
            pipelines.push((through_pipeline, bare));
            services.push((through_service, bare));
        }
    }
    report.add("picture, 20 guided steps: pipeline vs its bare runs, ms", pipelines, Goal::AtMost(1.03));
    report.add("picture, 20 guided steps: service (PNG) vs the bare runs, ms", services, Goal::AtMost(1.10));
    service.drain();
    service.ended().await
}

/// A Stable Diffusion folder, here and in optimum under a Python, each with one thread.
pub(crate) fn against_peer(
    onnx: &Runtime,
    (python, folder): (&Path, &Path),
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/optimum_pipeline.py");
    let mut peer = Command::new(python);
    peer.arg(script).arg(folder);
    let output = peer.args([STEPS.to_string(), rounds.to_string(), "1".to_owned()]).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout)?;
    let theirs = theirs.lines().map(str::parse).collect::<Result<Vec<f64>, _>>()?;

    let session = SessionConfig { intra_op_threads: Some(1), ..SessionConfig::default() };
    let store = ModelStore::new(home().join("models"));
    let mut pipeline = Pipeline::load(onnx, &store, &ModelFolder::open(folder)?, &session)?;
    picture(&mut pipeline)?;
    let mut pairs = Vec::new();
    for theirs in theirs {
        let start = Instant::now();
        picture(&mut pipeline)?;
        pairs.push((start.elapsed().as_secs_f64() * 1e3, theirs));
    }
    report.add("picture, 20 guided steps: pipeline vs optimum, ms", pairs, Goal::AtMost(1.0));
    Ok(())
}

fn picture(pipeline: &mut Pipeline) -> anyhow::Result<()> {
    let control = RunControl::new();
    let prompt = Conditioning::prompt(PROMPT);
    let request = Request { prompt, noise: Noise::Seed(1), steps: Some(STEPS), ..Request::default() };
    let mut job = pipeline.begin(&request, &control)?;
    while !job.is_done() {
        pipeline.step(&mut [&mut job], &control)?;
    }
    pipeline.finish(job, &control)?;
    Ok(())
}

async fn ask(client: &ImageServiceClient<Channel>) -> anyhow::Result<()> {
    let diffusion = DiffusionConfig {
        num_inference_steps: Some(STEPS as u32),
        seed: Some(1),
        ..DiffusionConfig::default()
    };
    let (prompt, diffusion) = (PROMPT.to_owned(), Some(diffusion));
    let request = GenerateImageRequest { prompt, diffusion, ..GenerateImageRequest::default() };
    let answer = client.clone().generate_image(request).await?.into_inner();
    anyhow::ensure!(answer.images.len() == 1);
    Ok(())
}
