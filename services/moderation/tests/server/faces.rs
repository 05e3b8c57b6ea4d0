//! Faces in pictures, beside what the model says where it was made for.

use std::{collections::BTreeMap, fs};

use atelier_core::TenantId;
use atelier_inference::Ticket;
use atelier_moderation::{
    Config,
    call::Call,
    categories::CategorySet,
    detector::{DetectorConfig, KINDS},
    load,
    moderator::Picture,
};
use atelier_proto::moderation::v1::{
    Face, ImageItem, ModerateImageRequest, Scores, StreamModerateImageRequest, image_item::Source,
    stream_moderate_image_response::Outcome,
};
use futures::{StreamExt, stream};
use image::{
    Delay, Frame, Rgb, RgbImage,
    codecs::gif::{GifEncoder, Repeat},
};

use crate::harness::{Client, golden, test};

/// Left, top, right, bottom and score of each face, by the names of pictures.
type Expected = BTreeMap<String, Vec<[f32; 5]>>;

fn picture(name: &str) -> Vec<u8> {
    fs::read(golden("faces").join(name)).unwrap()
}

fn item(data: Vec<u8>, time_ms: Option<u64>) -> ImageItem {
    ImageItem { source: Some(Source::Data(data.into())), time_ms, ..ImageItem::default() }
}

async fn moderate(client: &mut Client, data: Vec<u8>, count_faces: bool) -> Scores {
    let request = ModerateImageRequest {
        items: vec![item(data, None)],
        categories: vec!["weapons".to_owned()],
        count_faces,
        ..ModerateImageRequest::default()
    };
    let answer = client.moderate_image(request).await.unwrap().into_inner();
    let took_part = answer.models.iter().any(|model| model.id == "blazeface-full-range");
    assert_eq!(took_part, count_faces, "{:?}", answer.models);
    answer.results[0].scores.clone().unwrap()
}

fn edges(face: &Face) -> [f32; 4] {
    let region = face.region.as_ref().unwrap();
    let ends = [region.left + region.width, region.top + region.height];
    [region.left, region.top, ends[0], ends[1]].map(|edge| edge as f32)
}

/// The share of both that both have.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |of: [f32; 4]| (of[2] - of[0]).max(0.0) * (of[3] - of[1]).max(0.0);
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (area(a) + area(b) - both)
}

#[test]
fn faces_are_found_where_the_reference_finds_them() {
    test(async |mut client| {
        let expected: Expected = serde_json::from_slice(&picture("expected.json")).unwrap();
        assert_eq!(expected.values().map(Vec::len).collect::<Vec<_>>(), [0, 1, 6]);
        for (name, expected) in expected {
            let faces = moderate(&mut client, picture(&name), true).await.faces.unwrap().faces;
            assert_eq!(faces.len(), expected.len(), "{name}: {faces:?}");
            assert!(faces.is_sorted_by(|a, b| a.score >= b.score));
            for [left, top, right, bottom, score] in expected {
                let near = |face: &&Face| overlap(edges(face), [left, top, right, bottom]) > 0.8;
                let found =
                    faces.iter().find(near).unwrap_or_else(|| panic!("{name}: {left} {top}: {faces:?}"));
                // Pictures are resized and decoded a little differently.
                assert!((found.score - score).abs() < 0.05, "{name}: {found:?} {score}");
                assert_eq!(found.time_ms, None);
            }
        }
    });
}

#[test]
fn faces_are_counted_where_that_is_asked_for() {
    test(async |mut client| {
        let scores = moderate(&mut client, picture("astronaut.jpg"), false).await;
        assert_eq!(scores.faces, None);
        let scores = moderate(&mut client, picture("astronaut.jpg"), true).await;
        assert_eq!(scores.categories.len(), 1, "the categories asked for are measured beside them");
    });
}

#[test]
fn frames_of_a_clip_have_faces_of_their_own() {
    test(async |mut client| {
        let frames = [("astronaut.jpg", 1), ("../../image/pictures/coffee.png", 0), ("group.jpg", 6)];
        let request = |(n, (name, _)): (usize, &(&str, usize))| StreamModerateImageRequest {
            item: Some(ImageItem { id: n.to_string(), ..item(picture(name), Some(n as u64 * 40)) }),
            count_faces: true,
            ..StreamModerateImageRequest::default()
        };
        let requests: Vec<_> = frames.iter().enumerate().map(request).collect();
        let answers = client.stream_moderate_image(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
        assert_eq!(answers.len(), frames.len());
        for answer in answers {
            let n: usize = answer.id.parse().unwrap();
            let Some(Outcome::Scores(scores)) = answer.outcome else { panic!("{answer:?}") };
            let faces = scores.faces.unwrap().faces;
            assert_eq!(faces.len(), frames[n].1, "{n}");
            assert!(faces.iter().all(|face| face.time_ms == Some(n as u64 * 40)));
        }
    });
}

#[test]
fn of_a_moving_picture_the_frame_with_most_faces_tells() {
    test(async |mut client| {
        let portrait = image::load_from_memory(&picture("astronaut.jpg")).unwrap().into_rgb8();
        // More than a megapixel: frames are shrunk before they are looked at.
        let grey = RgbImage::from_pixel(1300, 1000, Rgb([110; 3]));
        let mut astronaut = grey.clone();
        image::imageops::replace(&mut astronaut, &portrait, 700, 400);
        let mut data = Vec::new();
        let mut encoder = GifEncoder::new_with_speed(&mut data, 30);
        encoder.set_repeat(Repeat::Infinite).unwrap();
        for picture in [&grey, &grey, &astronaut, &grey] {
            let picture = image::DynamicImage::from(picture.clone()).into_rgba8();
            encoder
                .encode_frame(Frame::from_parts(picture, 0, 0, Delay::from_numer_denom_ms(40, 1)))
                .unwrap();
        }
        drop(encoder);
        let scores = moderate(&mut client, data, true).await;
        let faces = scores.faces.unwrap().faces;
        assert_eq!((scores.frames, faces.len()), (4, 1));
        assert_eq!(faces[0].time_ms, Some(80));
        assert!(overlap(edges(&faces[0]), [871.0, 466.0, 980.0, 576.0]) > 0.7, "{faces:?}");
    });
}

#[tokio::test]
async fn without_a_detector_of_faces_none_are_counted() {
    let kind = |name: &str| KINDS.iter().find(|known| known.name == name).unwrap();
    let config = |detectors| Config { detectors, ..Config::default() };
    let nsfw = DetectorConfig::new(kind("open-nsfw"), "open-nsfw").unwrap();
    let moderator = load(&config(vec![nsfw])).unwrap();
    let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 4);
    let asked = Picture { data: picture("astronaut.jpg").into(), faces: true, ..Picture::default() };
    let result = moderator.score_image(asked, CategorySet::all(), &call).await.unwrap();
    assert_eq!(result.scores.faces, None, "unknown, which is not none");

    let faces = DetectorConfig::new(kind("faces"), "blazeface-full-range").unwrap();
    let wrong = DetectorConfig { categories: Some(Vec::new()), ..faces };
    assert!(load(&config(vec![wrong])).unwrap_err().to_string().contains("measures no category"));
}
