//! Clips: frames, progress, one file.

use atelier_proto::image::v1::{self as proto, generate_video_response::Event};
use image::AnimationDecoder;

use crate::common::{Client, client, decoded, quick};

fn keyframe(prompt: &str, seed: Option<u64>) -> proto::Keyframe {
    proto::Keyframe { prompt: prompt.into(), seed, ..Default::default() }
}

fn request(format: proto::VideoFormat) -> proto::GenerateVideoRequest {
    proto::GenerateVideoRequest {
        keyframes: vec![keyframe("a red heart", Some(1)), keyframe("a blue heart", None)],
        diffusion: Some(proto::DiffusionConfig { num_images: None, ..quick(1) }),
        video: Some(proto::VideoConfig {
            format: format.into(),
            num_frames: Some(5),
            frames_per_second: Some(10),
            ..Default::default()
        }),
        ..Default::default()
    }
}

struct Clip {
    frames: Vec<proto::VideoFrame>,
    file: Vec<u8>,
    progress: Vec<u32>,
    completion: proto::VideoCompletion,
}

async fn make(client: &mut Client, request: proto::GenerateVideoRequest) -> Clip {
    let mut stream = client.generate_video(request).await.unwrap().into_inner();
    let (mut frames, mut file, mut progress, mut completion) = (Vec::new(), Vec::new(), Vec::new(), None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.event.unwrap() {
            Event::Progress(at) => progress.push(at.step),
            Event::Frame(frame) => frames.push(frame),
            Event::Chunk(chunk) => {
                assert_eq!(chunk.offset, file.len() as u64);
                file.extend_from_slice(&chunk.data);
            }
            Event::Completion(end) => completion = Some(end),
        }
    }
    let completion = completion.expect("a clip has an end");
    assert_eq!(completion.file_bytes, file.len() as u64);
    Clip { frames, file, progress, completion }
}

#[tokio::test]
async fn an_animated_webp_has_all_frames_in_their_order() {
    let mut client = client().await;
    let frames = Some(proto::OutputConfig::default());
    let clip =
        make(&mut client, proto::GenerateVideoRequest { frames, ..request(proto::VideoFormat::Webp) }).await;
    assert_eq!(clip.progress, [1, 2, 3, 4, 5]);
    assert_eq!(clip.frames.iter().map(|frame| frame.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!((clip.completion.num_frames, clip.completion.width, clip.completion.height), (5, 128, 128));
    let file = image::codecs::webp::WebPDecoder::new(std::io::Cursor::new(&clip.file)).unwrap();
    let written = file.into_frames().collect_frames().unwrap();
    assert_eq!(written.len(), 5);
    for (frame, written) in clip.frames.iter().zip(&written) {
        let (sent, written) = (decoded(frame.image.as_ref().unwrap()), written.buffer());
        let apart = sent.as_raw().iter().zip(written.as_raw()).map(|(&a, &b)| f64::from(a.abs_diff(b)));
        let apart = apart.sum::<f64>() / sent.as_raw().len() as f64;
        assert!(apart < 8.0, "frame {} differs by {apart} of 255", frame.index);
    }
}

#[tokio::test]
async fn every_format_is_written_and_frames_stay_home_unless_asked_for() {
    let mut client = client().await;
    for (format, signature, at) in [
        (proto::VideoFormat::Gif, b"GIF89a".as_slice(), 0),
        (proto::VideoFormat::Mp4, b"ftyp", 4),
        (proto::VideoFormat::Webm, &[0x1a, 0x45, 0xdf, 0xa3], 0),
    ] {
        let clip = make(&mut client, request(format)).await;
        assert!(clip.frames.is_empty());
        assert_eq!(&clip.file[at..at + signature.len()], signature, "{format:?}");
        assert_eq!(clip.completion.format(), format);
    }
}

#[tokio::test]
async fn a_gan_walks_between_seeds() {
    let mut client = client().await;
    let walk = proto::GenerateVideoRequest {
        model: "emoji-gan".into(),
        keyframes: vec![keyframe("", Some(1)), keyframe("", Some(2))],
        diffusion: None,
        ..request(proto::VideoFormat::Gif)
    };
    let clip = make(&mut client, walk).await;
    assert_eq!(clip.completion.num_frames, 5);
}
