//! Pictures that move, frames of clips, and tags.

use std::fs;

use atelier_proto::moderation::v1::{
    ImageItem, ModerateImageRequest, Scores, StreamModerateImageRequest, image_item::Source,
    stream_moderate_image_response::Outcome,
};
use futures::{StreamExt, stream};
use image::{
    Delay, Frame, Rgb, RgbImage,
    codecs::gif::{GifEncoder, Repeat},
};
use tonic::{Code, Status};

use crate::harness::{Client, fields, golden, score, test};

/// Milliseconds of a frame.
const DELAY: u32 = 40;
const FRAMES: usize = 40;
const CONTACT: &str = "personal-data/contact";

/// A code that says an e-mail address: what is found in it rests on no model's judgement.
fn code() -> RgbImage {
    image::open(golden("ocr/code.png")).unwrap().into_rgb8()
}

/// A GIF as large as the code, grey and a little brighter with each frame, but for one frame.
fn gif(odd: Option<usize>) -> Vec<u8> {
    let code = code();
    let mut data = Vec::new();
    let mut encoder = GifEncoder::new(&mut data);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for n in 0..FRAMES {
        let grey = RgbImage::from_pixel(code.width(), code.height(), Rgb([100 + n as u8 / 4; 3]));
        let picture = if odd == Some(n) { code.clone() } else { grey };
        let picture = image::DynamicImage::from(picture).into_rgba8();
        let delay = Delay::from_numer_denom_ms(DELAY, 1);
        encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    data
}

fn item(data: Vec<u8>, time_ms: Option<u64>) -> ImageItem {
    ImageItem { id: String::new(), source: Some(Source::Data(data.into())), time_ms, ..ImageItem::default() }
}

async fn moderate(client: &mut Client, item: ImageItem, tags: u32) -> Result<Scores, Status> {
    let categories = [CONTACT, "sexual", "weapons"].map(str::to_owned).into();
    let request =
        ModerateImageRequest { items: vec![item], categories, tags, ..ModerateImageRequest::default() };
    let answer = client.moderate_image(request).await?.into_inner();
    Ok(answer.results[0].scores.clone().unwrap())
}

#[test]
fn one_frame_of_many_is_found_with_its_time() {
    test(async |mut client| {
        for odd in [0, 1, 7, 23, FRAMES - 1] {
            let scores = moderate(&mut client, item(gif(Some(odd)), None), 0).await.unwrap();
            assert_eq!(scores.frames, FRAMES as u32);
            assert!((2..=16).contains(&scores.windows), "{}", scores.windows);
            assert!(score(&scores, CONTACT) >= 0.5, "{odd}: {scores:?}");
            let found: Vec<_> = scores
                .findings
                .iter()
                .map(|one| (one.category.as_str(), one.reason.as_str(), one.time_ms))
                .collect();
            let time = Some(odd as u64 * u64::from(DELAY));
            assert_eq!(found, [(CONTACT, "qr-code:personal-data:email", time)], "{odd}");
        }
        let scores = moderate(&mut client, item(gif(None), None), 0).await.unwrap();
        assert!(scores.unsupported_categories.contains(&CONTACT.to_owned()) && scores.findings.is_empty());
    });
}

#[test]
fn frames_of_a_clip_keep_the_times_they_come_with() {
    test(async |mut client| {
        let frame = |picture: &RgbImage| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        let (code, grey) = (frame(&code()), frame(&RgbImage::from_pixel(71, 61, Rgb([100; 3]))));
        let requests: Vec<_> = (0..10_u64)
            .map(|n| StreamModerateImageRequest {
                item: Some(item(if n == 6 { code.clone() } else { grey.clone() }, Some(n * 500))),
                categories: vec![CONTACT.to_owned()],
                ..StreamModerateImageRequest::default()
            })
            .collect();
        let answers = client.stream_moderate_image(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(|answer| answer.unwrap().outcome.unwrap()).collect().await;
        let scores = answers.into_iter().map(|outcome| match outcome {
            Outcome::Scores(scores) => scores,
            Outcome::Error(error) => panic!("{error:?}"),
        });
        let found: Vec<_> =
            scores.flat_map(|scores| scores.findings).map(|finding| finding.time_ms).collect();
        assert_eq!(found, [Some(3000)]);
        // Within a moving frame, times count from the frame's.
        let scores = moderate(&mut client, item(gif(Some(5)), Some(10_000)), 0).await.unwrap();
        assert_eq!(scores.findings[0].time_ms, Some(10_200));
        // A picture of its own has none.
        let scores = moderate(&mut client, item(code, None), 0).await.unwrap();
        assert!(score(&scores, CONTACT) >= 0.5 && scores.frames == 1);
        assert_eq!(scores.findings.iter().map(|finding| finding.time_ms).collect::<Vec<_>>(), [None]);
    });
}

#[test]
fn tags_are_given_where_they_are_asked_for() {
    test(async |mut client| {
        let coffee = fs::read(golden("../image/pictures/coffee.png")).unwrap();
        let scores = moderate(&mut client, item(coffee.clone(), None), 3).await.unwrap();
        assert!((1..=3).contains(&scores.tags.len()));
        assert_eq!(scores.tags[0].label, "espresso");
        // What the model says with the preparation of Pillow: 0.891.
        assert!((scores.tags[0].score - 0.891).abs() < 0.03, "{}", scores.tags[0].score);
        assert!(scores.tags.is_sorted_by(|a, b| a.score >= b.score));
        assert!(score(&scores, "weapons") < 0.05);
        let scores = moderate(&mut client, item(coffee.clone(), None), 0).await.unwrap();
        assert!(scores.tags.is_empty());
        let refused = moderate(&mut client, item(coffee, None), 51).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["tags".to_owned()]));
    });
}

#[test]
fn what_moves_too_long_or_is_a_video_is_refused_by_field() {
    test(async |mut client| {
        let dot = image::RgbaImage::new(1, 1);
        let mut bomb = Vec::new();
        let mut encoder = GifEncoder::new_with_speed(&mut bomb, 30);
        for _ in 0..=atelier_core::limits::MAX_FRAMES {
            encoder.encode_frame(Frame::new(dot.clone())).unwrap();
        }
        drop(encoder);
        for (data, word) in [(bomb, "5000 frames"), (b"\0\0\0\x20ftypisom\0\0\0\0".to_vec(), "video")] {
            let refused = moderate(&mut client, item(data, None), 0).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(fields(&refused), ["items[0].data"]);
            assert!(refused.message().contains(word), "{}", refused.message());
        }
    });
}
