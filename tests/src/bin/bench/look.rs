//! Pictures through the moderation service: that they are decoded and resized while the model runs.
//!
//! Decoding and the model have one thread each, so that on two processors they can only keep both busy at once.

use std::{io::Cursor, time::Instant};

use anyhow::Context as _;
use atelier_inference::{Model, ModelStore, RunControl, Runtime, SessionConfig, Tensor, home};
use atelier_media::{Filter, Header, decode, resize_rgb};
use atelier_moderation::{
    Config,
    detector::{DetectorConfig, KINDS},
};
use atelier_proto::moderation::v1::{
    ImageItem, ModerateImageRequest, image_item::Source, moderation_service_client::ModerationServiceClient,
};
use atelier_tests::Running;
use futures::future::try_join_all;
use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder};
use ndarray::ArrayD;
use prost::bytes::Bytes;
use tonic::transport::Channel;

use crate::report::{Goal, Report};

/// A model of one run, whose work for a picture is about that of decoding one.
const MODEL: &str = "open-nsfw";
/// The shape that it reads.
const SHAPE: [usize; 4] = [1, 224, 224, 3];
/// What pictures are resized to.
const SIDE: u32 = 256;
/// Pictures of one turn, all in flight at once.
const PICTURES: usize = 16;

/// A photograph's size and about its detail: soft colours with grain.
fn photograph() -> anyhow::Result<Bytes> {
    let pixel = |x: u32, y: u32| {
        let grain = (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77)) >> 27;
        Rgb([x / 16 + grain, y / 12 + grain, (x + y) / 24].map(|value| (value % 256) as u8))
    };
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, 85).encode_image(&RgbImage::from_fn(3_000, 2_000, pixel))?;
    Ok(bytes.into_inner().into())
}

pub(crate) async fn run(onnx: &Runtime, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let session = SessionConfig { intra_op_threads: Some(1), ..SessionConfig::default() };
    let folder = ModelStore::new(home().join("models")).open(MODEL)?;
    let mut model = Model::load(onnx, &folder, &session)?;
    let (input, output) = match (model.inputs(), model.outputs()) {
        ([input], [output, ..]) => (input.name.clone(), output.name.clone()),
        _ => anyhow::bail!("{MODEL} has other inputs or outputs"),
    };
    let kind = KINDS.iter().find(|kind| kind.name == MODEL).context("a kind of detector")?;
    let detectors = vec![DetectorConfig::new(kind, MODEL)?];
    let moderation =
        Running::moderation(Config { detectors, session, blocking_jobs: 1, ..Config::default() }).await?;
    let client = ModerationServiceClient::new(moderation.channel());
    let picture = photograph()?;

    let mut run_all = || -> anyhow::Result<()> {
        for _ in 0..PICTURES {
            let zeros = Tensor::F32(ArrayD::zeros(SHAPE.as_slice()));
            model.run(&[(&input, zeros)], &[&output], &RunControl::new())?;
        }
        Ok(())
    };
    let decode_all = || -> anyhow::Result<()> {
        for _ in 0..PICTURES {
            let header = Header::read(&picture)?;
            resize_rgb(&decode(&picture, &header)?, SIDE, SIDE, Filter::Bilinear)?;
        }
        Ok(())
    };
    let (mut in_turn, mut side_by_side) = (Vec::new(), Vec::new());
    for turn in 0..=rounds {
        let each = |start: Instant| start.elapsed().as_secs_f64() * 1e3 / PICTURES as f64;
        let start = Instant::now();
        run_all()?;
        decode_all()?;
        let serial = each(start);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let decoding = scope.spawn(decode_all);
            run_all()?;
            decoding.join().map_err(|_| anyhow::anyhow!("decoding panicked"))?
        })?;
        let parallel = each(start);
        let start = Instant::now();
        try_join_all((0..PICTURES).map(|_| moderate(&client, &picture))).await?;
        let served = each(start);
        if turn > 0 {
            in_turn.push((served, serial));
            side_by_side.push((served, parallel));
        }
    }
    report.add("pictures: service vs decoding and runs in turn, ms", in_turn, Goal::AtMost(0.90));
    report.add("pictures: service vs both on a thread each, ms", side_by_side, Goal::AtMost(1.15));
    moderation.drain();
    moderation.ended().await
}

async fn moderate(client: &ModerationServiceClient<Channel>, picture: &Bytes) -> anyhow::Result<()> {
    let items = vec![ImageItem { source: Some(Source::Data(picture.clone())), ..ImageItem::default() }];
    let request = ModerateImageRequest { items, ..ModerateImageRequest::default() };
    let answer = client.clone().moderate_image(request).await?.into_inner();
    anyhow::ensure!(answer.results.len() == 1);
    Ok(())
}
