use std::{collections::BTreeMap, fs, io::Cursor};

use atelier_proto::moderation::v1::{
    ImageItem, ModerateImageRequest, ModerateImageResponse, StreamModerateImageRequest, image_item::Source,
    stream_moderate_image_response::Outcome,
};
use futures::{StreamExt, stream};
use image::{DynamicImage, ImageFormat};
use serde::Deserialize;
use tonic::{Code, Status};

use crate::harness::{Client, fields, golden, score, test};

#[derive(Deserialize)]
struct Golden {
    images: BTreeMap<String, GoldenImage>,
}

#[derive(Deserialize)]
struct GoldenImage {
    sexual: f32,
}

fn item(id: impl ToString, data: &[u8]) -> ImageItem {
    ImageItem { id: id.to_string(), source: Some(Source::Data(data.to_vec().into())) }
}

async fn moderate(
    client: &mut Client,
    items: Vec<ImageItem>,
    categories: &[&str],
) -> Result<ModerateImageResponse, Status> {
    let categories = categories.iter().map(|category| (*category).to_owned()).collect();
    client.moderate_image(ModerateImageRequest { items, categories }).await.map(tonic::Response::into_inner)
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn pictures() -> Vec<(String, Vec<u8>, f32)> {
    let golden_scores = fs::read_to_string(golden("image_scores.json")).unwrap();
    let golden_scores: Golden = serde_json::from_str(&golden_scores).unwrap();
    let picture = |(name, image): (String, GoldenImage)| {
        let data = fs::read(golden("images").join(&name)).unwrap();
        (name, data, image.sexual)
    };
    golden_scores.images.into_iter().map(picture).collect()
}

/// JPEG decoders differ by a level here and there; lossless pictures agree much better than this.
const TOLERANCE: f32 = 0.02;

#[test]
fn scores_equal_the_reference() {
    test(async |mut client| {
        let pictures = pictures();
        assert!(!pictures.is_empty());
        let items = pictures.iter().map(|(name, data, _)| item(name, data)).collect();
        let response = moderate(&mut client, items, &["sexual"]).await.unwrap();
        assert_eq!(response.models[0].id, "open-nsfw");
        for ((name, _, expected), result) in pictures.iter().zip(response.results) {
            assert_eq!(&result.id, name);
            let scores = result.scores.unwrap();
            let difference = (score(&scores, "sexual") - expected).abs();
            assert!(difference <= TOLERANCE, "{name}: {difference} from {expected}");
            assert_eq!((scores.windows, scores.unsupported_categories.len()), (1, 0));
        }
    });
}

#[test]
fn what_no_detector_measures_is_unsupported() {
    test(async |mut client| {
        let white = encoded(&DynamicImage::new_rgb8(30, 20), ImageFormat::Png);
        let all = moderate(&mut client, vec![item("", &white)], &[]).await.unwrap();
        let scores = all.results[0].scores.clone().unwrap();
        assert_eq!(scores.categories.len(), 1);
        assert_eq!(scores.unsupported_categories.len(), atelier_core::CategoryId::ALL.len() - 1);
        let none = moderate(&mut client, vec![item("", &white)], &["hate"]).await.unwrap();
        let scores = none.results[0].scores.clone().unwrap();
        assert_eq!(scores.unsupported_categories, ["hate"]);
        assert!(scores.categories.is_empty() && none.models.is_empty());
    });
}

#[test]
fn what_is_no_picture_is_refused_by_field() {
    test(async |mut client| {
        let good = encoded(&DynamicImage::new_rgb8(64, 64), ImageFormat::Png);
        let mut huge = good.clone();
        // The width in the header; its checksum is wrong now, as a hostile sender's might be.
        huge[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        let cases: [&[u8]; 5] = [b"", b"no picture at all", &good[..good.len() / 2], &huge, &good[..8]];
        for bad in cases {
            let items = vec![item(0, &good), item(1, bad)];
            let status = moderate(&mut client, items, &["sexual"]).await.unwrap_err();
            assert_eq!(
                (status.code(), fields(&status)),
                (Code::InvalidArgument, vec!["items[1].data".to_owned()])
            );
        }
        let status = moderate(&mut client, vec![], &[]).await.unwrap_err();
        assert_eq!(fields(&status), ["items"]);
        let status = moderate(&mut client, vec![item("", &good); 65], &[]).await.unwrap_err();
        assert_eq!(fields(&status), ["items"]);
        let missing = vec![ImageItem { id: "x".to_owned(), source: None }];
        let status = moderate(&mut client, missing, &[]).await.unwrap_err();
        assert_eq!(fields(&status), ["items[0].data"]);
    });
}

#[test]
fn a_stream_goes_on_after_a_broken_picture() {
    test(async |mut client| {
        let good = encoded(&DynamicImage::new_rgb8(300, 200), ImageFormat::Jpeg);
        let requests: Vec<_> = (0..60)
            .map(|n| {
                let data: &[u8] = if n % 3 == 0 { b"broken" } else { &good };
                StreamModerateImageRequest { item: Some(item(n, data)), categories: vec![] }
            })
            .collect();
        let answers = client.stream_moderate_image(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
        let mut ids: Vec<usize> = answers.iter().map(|answer| answer.id.parse().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..60).collect::<Vec<_>>());
        for answer in answers {
            let broken = answer.id.parse::<usize>().unwrap() % 3 == 0;
            match answer.outcome.unwrap() {
                Outcome::Error(error) => assert!(broken && error.field == "item.data", "{error:?}"),
                Outcome::Scores(scores) => assert!(!broken && score(&scores, "sexual") < 0.5),
            }
        }
    });
}
