use std::{collections::BTreeSet, io::Cursor};

use atelier_core::{CategoryId, TenantId};
use atelier_inference::Ticket;
use atelier_moderation::{
    Config,
    call::Call,
    categories::CategorySet,
    load,
    moderator::{Picture, TextInPicture},
};
use atelier_proto::moderation::v1::{
    ImageItem, ModerateImageRequest, ModerateImageResponse, StreamModerateImageRequest, image_item::Source,
    stream_moderate_image_response::Outcome,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use image::{DynamicImage, ImageFormat};
use tonic::{Code, Status};

use crate::harness::{Client, fields, score, test};

fn item(id: impl ToString, data: &[u8]) -> ImageItem {
    ImageItem { id: id.to_string(), source: Some(Source::Data(data.to_vec().into())), ..ImageItem::default() }
}

async fn moderate(
    client: &mut Client,
    items: Vec<ImageItem>,
    categories: &[&str],
) -> Result<ModerateImageResponse, Status> {
    let categories = categories.iter().map(|category| (*category).to_owned()).collect();
    let request = ModerateImageRequest { items, categories, ..ModerateImageRequest::default() };
    client.moderate_image(request).await.map(tonic::Response::into_inner)
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn what_no_detector_measures_is_unsupported() {
    test(async |mut client| {
        let white = encoded(&DynamicImage::new_rgb8(30, 20), ImageFormat::Png);
        let all = moderate(&mut client, vec![item("", &white)], &[]).await.unwrap();
        let scores = all.results[0].scores.clone().unwrap();
        assert!(scores.unsupported_categories.len() > 20);
        assert!(scores.findings.is_empty() && !scores.text_truncated);
        // Nothing stands in it, so nothing is known of what is measured by reading.
        let seen: BTreeSet<_> = scores.categories.iter().map(|score| score.category.as_str()).collect();
        assert_eq!(seen, BTreeSet::from(["sexual", "weapons"]));
        assert!(scores.unsupported_categories.contains(&"violence/graphic".to_owned()));
    });
}

#[tokio::test]
async fn without_a_reader_pictures_are_measured_by_detectors_of_pictures_alone() {
    let mut config = Config::default();
    config.detectors.retain(|detector| detector.kind != "ocr");
    let moderator = load(&config).unwrap();
    let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 1);
    let data = Bytes::from(encoded(&DynamicImage::new_rgb8(30, 20), ImageFormat::Png));
    let white = Picture { data, ..Picture::default() };
    let all = moderator.score_image(white.clone(), CategorySet::all(), &call).await.unwrap().scores;
    let measured: Vec<_> = all.categories.iter().map(|score| score.category).collect();
    assert_eq!(measured.len(), 2, "{measured:?}");
    assert!(measured.contains(&CategoryId::Sexual) && measured.contains(&CategoryId::Weapons));
    assert_eq!(all.unsupported.iter().count(), CategoryId::ALL.len() - 2);
    let hate = CategorySet::from_iter([CategoryId::Hate]);
    // Not even when it is asked for what stands there.
    let white = Picture { text: TextInPicture::Read, ..white };
    let none = moderator.score_image(white, hate, &call).await.unwrap();
    assert!(none.scores.categories.is_empty() && none.scores.unsupported == hate);
    assert!(none.read_text.is_none() && none.models.is_empty());
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
        let missing = vec![ImageItem { id: "x".to_owned(), ..ImageItem::default() }];
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
                StreamModerateImageRequest { item: Some(item(n, data)), ..Default::default() }
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
