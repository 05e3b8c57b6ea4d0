//! Clips: judged frame by frame, and the file last.

use std::{sync::atomic::Ordering, time::Duration};

use atelier_core::{ContentHash, Reason};
use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{Action, GenerateVideoRequest, Verdict, VideoCompletion, generate_video_response::Event},
    image::v1::{ImageFormat, Keyframe, OutputConfig},
};
use atelier_rpc::fault_of;
use tonic::Status;

use crate::sandbox::{Sandbox, WINDOW, policy};

fn walk(prompts: &[&str]) -> GenerateVideoRequest {
    let keyframe = |prompt: &&str| Keyframe { prompt: (*prompt).to_owned(), ..Default::default() };
    GenerateVideoRequest { keyframes: prompts.iter().map(keyframe).collect(), ..Default::default() }
}

fn with_frames(request: GenerateVideoRequest) -> GenerateVideoRequest {
    GenerateVideoRequest { frames: Some(OutputConfig::default()), ..request }
}

/// A clip as it came in.
#[derive(Default)]
struct Clip {
    steps: usize,
    frames: Vec<String>,
    verdicts: Vec<Verdict>,
    file: Vec<u8>,
    completion: Option<VideoCompletion>,
}

async fn film(sandbox: &Sandbox, request: GenerateVideoRequest) -> Result<Clip, Status> {
    let mut stream = sandbox.client.clone().generate_video(request).await?.into_inner();
    let mut clip = Clip::default();
    while let Some(message) = stream.message().await? {
        assert!(clip.completion.is_none(), "the completion is the last event");
        match message.event.unwrap() {
            Event::Progress(_) => clip.steps += 1,
            Event::Frame(frame) => {
                assert_eq!(frame.index as usize, clip.frames.len());
                let image = frame.image.unwrap();
                assert!(image.moderation_copy.is_empty());
                clip.frames.push(String::from_utf8_lossy(&image.data).into_owned());
            }
            Event::Verdict(verdict) => clip.verdicts.push(verdict),
            Event::Chunk(chunk) => {
                assert_eq!(chunk.offset as usize, clip.file.len());
                clip.file.extend_from_slice(&chunk.data);
            }
            Event::Completion(completion) => clip.completion = Some(completion),
        }
    }
    Ok(clip)
}

async fn start() -> Sandbox {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    *sandbox.image.0.file.lock().unwrap() = vec![b"RIFF".to_vec(), b"moving".to_vec()];
    sandbox
}

/// Twelve frames a second, as is the default.
#[tokio::test]
async fn frames_are_judged_with_their_times_and_one_a_second_is_read() {
    let sandbox = start().await;
    let frames: Vec<String> = (0..30).map(|n| format!("sea {n}")).collect();
    sandbox.image.paint(&frames.iter().map(String::as_str).collect::<Vec<_>>());
    film(&sandbox, walk(&["a sea", "a shore"])).await.unwrap();
    let shown = sandbox.moderation.0.shown.lock().unwrap().clone();
    let expected = (0..30_u64).map(|n| (Some(n * 1000 / 12), n % 12 != 0));
    assert_eq!(shown, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn the_file_leaves_behind_frames_that_have_all_passed() {
    let sandbox = start().await;
    let frames: Vec<String> = (0..40).map(|n| format!("sea {n}")).collect();
    sandbox.image.paint(&frames.iter().map(String::as_str).collect::<Vec<_>>());
    let clip = film(&sandbox, walk(&["a sea", "a shore"])).await.unwrap();
    assert_eq!((clip.steps, clip.frames.len(), clip.file.as_slice()), (40, 0, &b"RIFFmoving"[..]));
    let measured = sandbox.moderation.0.pictures.lock().unwrap().clone();
    assert_eq!(measured, frames, "frames are judged that the caller does not want to see");
    let completion = clip.completion.unwrap();
    let video = completion.video.unwrap();
    assert_eq!((video.num_frames, video.file_bytes), (40, 10));
    let provenance = completion.provenance.unwrap();
    assert_eq!(provenance.content_sha256, ContentHash::of(b"RIFFmoving").to_string());
    assert_eq!(*sandbox.moderation.0.texts.lock().unwrap(), ["a sea", "a shore"]);

    let shown = film(&sandbox, with_frames(walk(&["a sea"]))).await.unwrap();
    assert_eq!(shown.frames, frames);
    let (trail, _) = sandbox.finish().await;
    let windows: Vec<_> =
        trail.iter().filter(|line| line["part"] == "frame").map(|line| &line["window"]).collect();
    assert_eq!((windows.len(), windows[39]), (80, &39.into()));
}

#[tokio::test]
async fn a_blocked_frame_cuts_the_clip_and_no_file_leaves() {
    let sandbox = start().await;
    let mut frames = vec!["a calm sea"; 2000];
    frames[2] = "a FLAGME";
    frames[5] = "BLOCKME";
    sandbox.image.paint(&frames);
    *sandbox.image.0.pace.lock().unwrap() = Duration::from_millis(2);
    let clip = film(&sandbox, with_frames(walk(&["a sea"]))).await.unwrap();
    assert_eq!((clip.frames.len(), clip.file.len()), (5, 0));
    let actions: Vec<_> = clip.verdicts.iter().map(Verdict::action).collect();
    assert_eq!(actions, [Action::Flag, Action::Block]);
    let completion = clip.completion.unwrap();
    let video = completion.video.unwrap();
    assert_eq!((video.num_frames, video.file_bytes), (5, 0));
    assert_eq!(video.completion.unwrap().finish_reason(), FinishReason::ContentFilter);
    assert_eq!(completion.output_verdict.unwrap().action(), Action::Block);
    assert_eq!(completion.provenance.unwrap().content_sha256, ContentHash::of(b"").to_string());
    sandbox.until("the call has ended", async || sandbox.image.0.open.load(Ordering::SeqCst) == 0).await;
    assert!(sandbox.image.0.sent.load(Ordering::SeqCst) < 2000, "the painter stops");

    let (trail, _) = sandbox.finish().await;
    let last = trail.iter().rfind(|line| line["part"] == "frame").unwrap();
    assert_eq!((&last["window"], last["action"].as_str()), (&5.into(), Some("block")));
    let end = trail.last().unwrap();
    assert_eq!(
        (end["event"].as_str(), end["finish_reason"].as_str()),
        (Some("completion"), Some("content_filter"))
    );
}

#[tokio::test]
async fn a_file_with_frames_that_nobody_judged_does_not_leave() {
    let sandbox = start().await;
    sandbox.image.paint(&["a calm sea"; 3]);
    sandbox.image.0.unseen_frames.store(1, Ordering::SeqCst);
    let fault = fault_of(&film(&sandbox, walk(&["a sea"])).await.err().unwrap());
    assert_eq!(fault.reason(), Reason::Internal);
}

#[tokio::test]
async fn frames_that_no_judge_can_read_are_judged_by_their_copies() {
    let sandbox = start().await;
    sandbox.image.paint_unreadably(&["a calm sea", "BLOCKME"]);
    let avif = OutputConfig { format: ImageFormat::Avif.into(), ..Default::default() };
    let request = GenerateVideoRequest { frames: Some(avif), ..walk(&["a sea"]) };
    let clip = film(&sandbox, request).await.unwrap();
    assert_eq!((clip.frames.len(), clip.file.len()), (1, 0));
}

#[tokio::test]
async fn files_are_held_in_bounded_memory() {
    let policy = policy("fail_closed", "windowed", WINDOW);
    let sandbox = Sandbox::start_with(&policy, |config| config.image.max_held_bytes = 3 << 20).await;
    sandbox.image.paint(&["a calm sea"]);
    let chunk = vec![0; 1 << 20];
    *sandbox.image.0.file.lock().unwrap() = vec![chunk.clone(); 3];
    for _ in 0..2 {
        let clip = film(&sandbox, walk(&["a sea"])).await.unwrap();
        assert_eq!(clip.file.len(), 3 << 20, "memory is given back");
    }
    *sandbox.image.0.file.lock().unwrap() = vec![chunk.clone(); 4];
    let fault = fault_of(&film(&sandbox, walk(&["a sea"])).await.err().unwrap());
    assert_eq!(fault.reason(), Reason::Overloaded);

    let roomy = Sandbox::start(&policy).await;
    roomy.image.paint(&["a calm sea"]);
    *roomy.image.0.file.lock().unwrap() = vec![chunk; 65];
    let fault = fault_of(&film(&roomy, walk(&["a sea"])).await.err().unwrap());
    assert_eq!(fault.reason(), Reason::MessageTooLarge);
}

#[tokio::test]
async fn every_prompt_of_a_walk_is_judged_and_within_bounds() {
    let sandbox = start().await;
    let refused = film(&sandbox, walk(&["a sea", "a BLOCKME"])).await.err().unwrap();
    assert_eq!(fault_of(&refused).reason(), Reason::ContentBlocked);
    let long = "x".repeat((16 << 10) + 1);
    for (request, field) in [
        (walk(&[]), "keyframes"),
        (walk(&["a"; 17]), "keyframes"),
        (walk(&["a", &long]), "keyframes[1].prompt"),
    ] {
        let fault = fault_of(&film(&sandbox, request).await.err().unwrap());
        assert_eq!(fault.violations()[0].field, field);
    }
    assert!(sandbox.image.0.asked_clip.lock().unwrap().is_none());
}

#[tokio::test]
async fn moderation_that_is_down_stops_a_clip_or_does_not() {
    for (mode, passes) in [("fail_closed", false), ("fail_open", true)] {
        let sandbox = Sandbox::start(&policy(mode, "windowed", WINDOW)).await;
        *sandbox.image.0.file.lock().unwrap() = vec![b"RIFF".to_vec()];
        sandbox.image.paint(&["a calm sea"; 20]);
        *sandbox.image.0.pace.lock().unwrap() = Duration::from_millis(10);
        let mut stream = sandbox.client.clone().generate_video(walk(&["a sea"])).await.unwrap().into_inner();
        stream.message().await.unwrap();
        sandbox.moderation.switch_off(true);
        let end = loop {
            match stream.message().await {
                Ok(Some(message)) => match message.event {
                    Some(Event::Chunk(_)) => assert!(passes, "a file left unjudged"),
                    Some(Event::Completion(completion)) => break Ok(completion),
                    _ => {}
                },
                Ok(None) => panic!("no completion"),
                Err(status) => break Err(fault_of(&status).reason()),
            }
        };
        match end {
            Ok(completion) => assert!(passes && completion.output_verdict.unwrap().unmeasured),
            Err(reason) => assert!(!passes && reason == Reason::ModerationUnavailable, "{reason:?}"),
        }
    }
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_clip() {
    let sandbox = start().await;
    sandbox.image.paint(&vec!["a calm sea"; 5000]);
    *sandbox.image.0.pace.lock().unwrap() = Duration::from_millis(5);
    let mut stream = sandbox.client.clone().generate_video(walk(&["a sea"])).await.unwrap().into_inner();
    stream.message().await.unwrap();
    drop(stream);
    sandbox.until("the call has ended", async || sandbox.image.0.open.load(Ordering::SeqCst) == 0).await;
    let (trail, _) = sandbox.finish().await;
    assert_eq!(trail.last().unwrap()["finish_reason"], "cancelled");
}
