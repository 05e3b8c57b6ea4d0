//! Pictures: what callers send and what models paint.

use std::{sync::atomic::Ordering, time::Duration};

use atelier_core::{ContentHash, Reason};
use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{
        Action, ClassifyImageRequest, EmbedImageRequest, GenerateImageRequest, GenerateImageResponse, Stage,
        StreamGenerateImageRequest, stream_generate_image_response::Event,
    },
    image::v1::{ControlImage, ImageFormat, InitImage, OutputConfig, PreviewConfig},
};
use atelier_rpc::fault_of;
use tonic::{Code, Status};

use crate::sandbox::{Sandbox, WINDOW, policy};

fn closed() -> String {
    policy("fail_closed", "windowed", WINDOW)
}

fn prompt(prompt: &str) -> GenerateImageRequest {
    GenerateImageRequest { prompt: prompt.to_owned(), ..Default::default() }
}

async fn paint(sandbox: &Sandbox, request: GenerateImageRequest) -> Result<GenerateImageResponse, Status> {
    Ok(sandbox.client.clone().generate_image(request).await?.into_inner())
}

fn previewed() -> StreamGenerateImageRequest {
    let preview = Some(PreviewConfig { every_steps: 1 });
    StreamGenerateImageRequest { prompt: "a sea".to_owned(), preview, ..Default::default() }
}

/// Steps of the progress, previews, verdicts, and the result's pictures of a stream.
async fn watch(
    sandbox: &Sandbox,
    request: StreamGenerateImageRequest,
) -> Result<(Vec<u32>, Vec<String>, Vec<Action>, GenerateImageResponse), Status> {
    let mut stream = sandbox.client.clone().stream_generate_image(request).await?.into_inner();
    let (mut steps, mut previews, mut verdicts, mut result) = (Vec::new(), Vec::new(), Vec::new(), None);
    while let Some(message) = stream.message().await? {
        assert!(result.is_none(), "the result is the last event");
        match message.event.unwrap() {
            Event::Progress(progress) => {
                steps.push(progress.step);
                let shown = progress.previews.into_iter();
                previews.extend(shown.map(|image| String::from_utf8(image.data.to_vec()).unwrap()));
            }
            Event::Verdict(verdict) => verdicts.push(verdict.action()),
            Event::Result(made) => {
                result = Some(GenerateImageResponse { images: made.images, completion: made.completion });
            }
        }
    }
    Ok((steps, previews, verdicts, result.unwrap()))
}

#[tokio::test]
async fn a_picture_is_made_judged_and_accounted_for() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint(&["a calm sea", "a calmer sea"]);
    let request = GenerateImageRequest { negative_prompt: "waves".to_owned(), ..prompt("a sea") };
    let answer = paint(&sandbox, request).await.unwrap();
    let data: Vec<_> = answer.images.iter().map(|judged| judged.image.clone().unwrap().data).collect();
    assert_eq!(data, ["a calm sea", "a calmer sea"]);
    let verdict = answer.images[0].verdict.clone().unwrap();
    assert_eq!((verdict.action(), verdict.stage()), (Action::Allow, Stage::Output));

    let completion = answer.completion.unwrap();
    let generation = completion.generation.unwrap();
    assert_eq!((generation.finish_reason(), generation.seed), (FinishReason::Stop, 7));
    assert_eq!(completion.input_verdict.unwrap().stage(), Stage::Input);
    let provenance = completion.provenance.unwrap();
    assert_eq!(provenance.content_sha256, ContentHash::of(b"a calm seaa calmer sea").to_string());
    assert_eq!(provenance.generators[0].id, "painter");
    assert_eq!(provenance.detectors[0].id, "keywords");
    let asked = sandbox.image.0.asked.lock().unwrap().clone();
    assert_eq!(asked[0].model, "", "the service knows its default");
    assert_eq!(*sandbox.moderation.0.texts.lock().unwrap(), ["a sea", "waves"]);
    let id = provenance.request_id;

    let (trail, text) = sandbox.finish().await;
    assert!(!text.contains("sea") && !text.contains("waves"), "content is on the trail");
    let lines: Vec<_> = trail.iter().filter(|line| line["request_id"] == id.as_str()).collect();
    assert_eq!((lines[0]["stage"].as_str(), lines.len()), (Some("input"), 4));
    for (n, data) in [(0, "a calm sea"), (1, "a calmer sea")] {
        let line = lines[n + 1];
        assert_eq!((&line["window"], line["part"].as_str()), (&n.into(), Some("picture")));
        assert_eq!(line["content_sha256"], ContentHash::of(data.as_bytes()).to_string());
    }
    assert_eq!((&lines[3]["finish_reason"], &lines[3]["content_bytes"]), (&"complete".into(), &22.into()));
}

#[tokio::test]
async fn prompts_and_pictures_that_are_blocked_reach_no_model() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint(&["a calm sea"]);
    let image = |data: &str| Some(InitImage { data: data.to_owned().into(), ..Default::default() });
    let control = ControlImage { data: "BLOCKME".into(), ..Default::default() };
    for request in [
        prompt("a BLOCKME"),
        prompt("a BLO(CK:1.2)ME"),
        GenerateImageRequest { negative_prompt: "BLOCKME".to_owned(), ..prompt("a sea") },
        GenerateImageRequest { init_image: image("BLOCKME"), ..prompt("a sea") },
        GenerateImageRequest { control_images: vec![control], ..prompt("a sea") },
    ] {
        let refused = paint(&sandbox, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let fault = fault_of(&refused);
        assert_eq!(fault.reason(), Reason::ContentBlocked);
        assert!(fault.metadata().iter().any(|(key, value)| key == "stage" && value == "input"));
    }
    assert!(sandbox.image.0.asked.lock().unwrap().is_empty());

    let request = GenerateImageRequest { init_image: image("a FLAGME beach"), ..prompt("a sea") };
    let completion = paint(&sandbox, request).await.unwrap().completion.unwrap();
    assert_eq!(completion.input_verdict.unwrap().action(), Action::Flag);
    let (trail, _) = sandbox.finish().await;
    let blocked = trail.iter().filter(|line| line["stage"] == "input" && line["action"] == "block");
    assert_eq!(blocked.count(), 5);
}

#[tokio::test]
async fn requests_out_of_bounds_name_the_field_and_are_not_measured() {
    let sandbox = Sandbox::start(&closed()).await;
    let long = "x".repeat((16 << 10) + 1);
    let init = |data: Vec<u8>| Some(InitImage { data: data.into(), ..Default::default() });
    let many = vec![ControlImage { data: "x".into(), ..Default::default() }; 17];
    for (request, field) in [
        (prompt(&long), "prompt"),
        (GenerateImageRequest { negative_prompt: long.clone(), ..prompt("a") }, "negative_prompt"),
        (GenerateImageRequest { init_image: init(Vec::new()), ..prompt("a") }, "init_image.data"),
        (
            GenerateImageRequest { init_image: init(vec![0; (16 << 20) + 1]), ..prompt("a") },
            "init_image.data",
        ),
        (GenerateImageRequest { control_images: many, ..prompt("a") }, "control_images"),
        (
            GenerateImageRequest { control_images: vec![ControlImage::default()], ..prompt("a") },
            "control_images[0].data",
        ),
    ] {
        let fault = fault_of(&paint(&sandbox, request).await.unwrap_err());
        assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, field));
    }
    assert!(sandbox.moderation.0.texts.lock().unwrap().is_empty());

    // What the judge can't read is the caller's mistake, not a judge that is down.
    let request = GenerateImageRequest { init_image: init(vec![0xff, 0xfe]), ..prompt("a") };
    let fault = fault_of(&paint(&sandbox, request).await.unwrap_err());
    assert_eq!(fault.reason(), Reason::InvalidArgument);
    assert_eq!(fault.violations()[0].field, "init_image.data");
}

#[tokio::test]
async fn a_picture_that_is_blocked_leaves_a_gap() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint(&["a calm sea", "a BLOCKME", "a FLAGME"]);
    let answer = paint(&sandbox, prompt("a sea")).await.unwrap();
    let shown: Vec<_> = answer.images.iter().map(|judged| judged.image.clone().unwrap()).collect();
    assert_eq!(
        shown.iter().map(|image| &*image.data).collect::<Vec<_>>(),
        [&b"a calm sea"[..], b"", b"a FLAGME"]
    );
    assert_eq!((shown[1].width, shown[1].seed), (64, 1), "all but the data is told");
    let actions: Vec<_> =
        answer.images.iter().map(|judged| judged.verdict.as_ref().unwrap().action()).collect();
    assert_eq!(actions, [Action::Allow, Action::Block, Action::Flag]);
    let completion = answer.completion.unwrap();
    assert_eq!(completion.generation.unwrap().finish_reason(), FinishReason::ContentFilter);
    assert_eq!(completion.output_verdict.unwrap().findings[0].category, "hate");
    let hash = ContentHash::of(b"a calm seaa FLAGME").to_string();
    assert_eq!(completion.provenance.unwrap().content_sha256, hash);

    let (_, _, verdicts, streamed) = watch(&sandbox, previewed()).await.unwrap();
    assert_eq!(verdicts, [Action::Block, Action::Flag]);
    assert_eq!(streamed.images, answer.images);
}

#[tokio::test]
async fn previews_are_judged_beside_the_work() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint(&["a calm sea"]);
    sandbox.image.preview(&["fog", "BLOCKME", "a shore"], Duration::from_millis(60));
    let (steps, previews, verdicts, _) = watch(&sandbox, previewed()).await.unwrap();
    // Of previews the text is not read; of the picture it is.
    let shown = sandbox.moderation.0.shown.lock().unwrap().clone();
    assert!(shown.len() > 1 && shown.iter().rev().skip(1).all(|one| *one == (None, true)), "{shown:?}");
    assert_eq!(shown.last(), Some(&(None, false)));
    assert_eq!(previews, ["fog", "a shore"]);
    assert_eq!(verdicts, [Action::Block]);
    assert!(steps.is_sorted() && steps.len() == 5, "a preview comes with the latest step: {steps:?}");

    // A judge that is slower than the painter holds nothing up and lets nothing by.
    sandbox.moderation.0.pictures.lock().unwrap().clear();
    sandbox.moderation.take(Duration::from_millis(100));
    sandbox.image.preview(&["BLOCKME"; 40], Duration::ZERO);
    let (steps, previews, _, _) = watch(&sandbox, previewed()).await.unwrap();
    assert_eq!((steps.len(), previews.len()), (40, 0));
    let measured = sandbox.moderation.0.pictures.lock().unwrap().clone();
    assert!(measured.len() <= 3, "{measured:?}");
}

#[tokio::test]
async fn previews_can_be_withheld() {
    let withheld = closed().replace("      window:", "      images: {previews: withheld}\n      window:");
    let sandbox = Sandbox::start(&withheld).await;
    sandbox.image.paint(&["a calm sea"]);
    sandbox.image.preview(&["fog", "a shore"], Duration::from_millis(20));
    let (steps, previews, _, answer) = watch(&sandbox, previewed()).await.unwrap();
    assert_eq!((steps, previews.len()), (vec![1, 2], 0));
    assert_eq!(answer.images[0].image.as_ref().unwrap().data, "a calm sea");
    assert_eq!(*sandbox.moderation.0.pictures.lock().unwrap(), ["a calm sea"]);
}

#[tokio::test]
async fn pictures_that_no_judge_can_read_are_judged_by_their_copies() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint_unreadably(&["a calm sea", "BLOCKME"]);
    let output = OutputConfig { format: ImageFormat::Avif.into(), ..Default::default() };
    let request = GenerateImageRequest { output: Some(output), ..prompt("a sea") };
    let answer = paint(&sandbox, request).await.unwrap();
    let shown: Vec<_> = answer.images.iter().map(|judged| judged.image.clone().unwrap()).collect();
    assert_eq!((&*shown[0].data, &*shown[1].data), (&[0xff, 0xfe][..], &[][..]));
    assert!(shown.iter().all(|image| image.moderation_copy.is_empty()), "copies stay in the house");
    assert_eq!(*sandbox.moderation.0.pictures.lock().unwrap(), ["a calm sea", "BLOCKME"]);
    assert!(sandbox.image.0.asked.lock().unwrap()[0].output.unwrap().moderation_copy);
    let (trail, _) = sandbox.finish().await;
    let line = trail.iter().find(|line| line["part"] == "picture").unwrap();
    assert_eq!(line["content_sha256"], ContentHash::of(&[0xff, 0xfe]).to_string(), "of what left");
}

#[tokio::test]
async fn thresholds_of_pictures_can_differ_from_those_of_text() {
    let strict =
        closed().replace("      window:", "      images: {categories: {hate: {block: 0.5}}}\n      window:");
    let sandbox = Sandbox::start(&strict).await;
    sandbox.image.paint(&["a FLAGME"]);
    let answer = paint(&sandbox, prompt("a FLAGME")).await.unwrap();
    assert_eq!(answer.images[0].verdict.as_ref().unwrap().action(), Action::Block);
    assert_eq!(answer.completion.unwrap().input_verdict.unwrap().action(), Action::Flag);
}

#[tokio::test]
async fn when_moderation_fails_the_failure_mode_decides_about_pictures() {
    for (mode, passes) in [("fail_closed", false), ("fail_open", true)] {
        let sandbox = Sandbox::start(&policy(mode, "windowed", WINDOW)).await;
        sandbox.image.paint(&["a BLOCKME"]);
        sandbox.image.preview(&["fog"; 4], Duration::from_millis(100));
        let (request, mut client) = (previewed(), sandbox.client.clone());
        let mut stream = client.stream_generate_image(request).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        sandbox.moderation.switch_off(true);
        let end = loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if let Some(Event::Result(made)) = message.event {
                        break Ok(made);
                    }
                }
                Ok(None) => panic!("no result"),
                Err(status) => break Err(fault_of(&status).reason()),
            }
        };
        match end {
            Ok(made) => {
                assert!(passes);
                assert!(made.images[0].verdict.as_ref().unwrap().unmeasured);
                assert_eq!(made.images[0].image.as_ref().unwrap().data, "a BLOCKME");
            }
            Err(reason) => assert!(!passes && reason == Reason::ModerationUnavailable, "{reason:?}"),
        }
        sandbox.moderation.switch_off(false);
        let (trail, _) = sandbox.finish().await;
        let end = trail.iter().find(|line| line["event"] == "completion").unwrap();
        assert_eq!(end["finish_reason"], if passes { "complete" } else { "error" });
    }
}

#[tokio::test]
async fn a_caller_who_leaves_stops_the_painter() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint(&["a calm sea"]);
    sandbox.image.preview(&["fog"; 10_000], Duration::from_millis(5));
    let mut stream = sandbox.client.clone().stream_generate_image(previewed()).await.unwrap().into_inner();
    stream.message().await.unwrap();
    assert_eq!(sandbox.image.0.open.load(Ordering::SeqCst), 1);
    drop(stream);
    sandbox.until("the call has ended", async || sandbox.image.0.open.load(Ordering::SeqCst) == 0).await;
    assert!(sandbox.image.0.sent.load(Ordering::SeqCst) < 5000);

    let mut request = tonic::Request::new(prompt("a sea"));
    request.set_timeout(Duration::from_millis(200));
    let late = sandbox.client.clone().generate_image(request).await.unwrap_err();
    assert_eq!(fault_of(&late).reason(), Reason::DeadlineExceeded);
    sandbox.until("that too", async || sandbox.image.0.open.load(Ordering::SeqCst) == 0).await;
    let (trail, _) = sandbox.finish().await;
    let ends = trail.iter().filter(|line| line["event"] == "completion");
    assert_eq!(ends.filter(|line| line["finish_reason"] == "cancelled").count(), 2);
}

#[tokio::test]
async fn vectors_and_labels_are_passed_on_unjudged() {
    let sandbox = Sandbox::start(&closed()).await;
    let images = vec!["BLOCKME".into(), "a cat".into()];
    let request = EmbedImageRequest { images: images.clone(), ..Default::default() };
    let answer = sandbox.client.clone().embed_image(request).await.unwrap().into_inner();
    assert_eq!(answer.embeddings.len(), 2);
    let request = ClassifyImageRequest { images, top_k: Some(3), model: "seer".to_owned() };
    let answer = sandbox.client.clone().classify_image(request).await.unwrap().into_inner();
    let label = &answer.results[1].labels[0];
    assert_eq!((label.name.as_str(), label.index, answer.model.unwrap().id.as_str()), ("a cat", 3, "seer"));
    assert!(sandbox.moderation.0.pictures.lock().unwrap().is_empty());
}

#[tokio::test]
async fn metrics_tell_of_pictures() {
    let sandbox = Sandbox::start(&closed()).await;
    sandbox.image.paint(&["a calm sea", "a BLOCKME"]);
    paint(&sandbox, prompt("a sea")).await.unwrap();
    let metrics = sandbox.get("/metrics").await;
    let mut lines = metrics.lines().filter(|line| line.starts_with("atelier_gateway_pictures_total"));
    assert!(lines.any(|line| line.contains("part=\"picture\"") && line.contains("stage=\"output\"")));
    assert!(metrics.contains("kind=\"image\""), "the upstream is told of");
}

#[tokio::test]
async fn a_required_image_service_is_waited_for() {
    let sandbox = Sandbox::start_unready(&closed(), |config| {
        config.image.required = true;
        config.image.upstreams[0].connection.endpoint = "http://127.0.0.1:1".to_owned();
    })
    .await;
    // Text is there, so this much is known of it.
    sandbox.until("text is listed", async || sandbox.chat("hello").await.is_ok()).await;
    assert!(!sandbox.get("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn without_image_services_the_gateway_is_ready_and_has_no_such_model() {
    let sandbox = Sandbox::start_with(&closed(), |config| config.image.upstreams.clear()).await;
    let refused = paint(&sandbox, prompt("a sea")).await.unwrap_err();
    assert_eq!(fault_of(&refused).reason(), Reason::ModelNotFound);
    let down = Sandbox::start_with(&closed(), |config| {
        config.image.upstreams[0].connection.endpoint = "http://127.0.0.1:1".to_owned();
    })
    .await;
    let refused = paint(&down, prompt("a sea")).await.unwrap_err();
    assert_eq!(fault_of(&refused).reason(), Reason::UpstreamUnavailable);
}
