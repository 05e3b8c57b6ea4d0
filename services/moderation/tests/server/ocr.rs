//! Text and QR codes in pictures, beside what rapidocr reads in them.

use std::{fs, io::Cursor};

use atelier_core::{Reason, TenantId};
use atelier_inference::Ticket;
use atelier_moderation::{
    Config,
    call::Call,
    categories::CategorySet,
    load,
    moderator::{Picture, TextInPicture},
};
use atelier_proto::moderation::v1::{
    Finding, ImageItem, ItemScores, ListCategoriesRequest, Modality, ModerateImageRequest, Scores,
    StreamModerateImageRequest, image_item::Source,
};
use futures::{StreamExt, stream};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tonic::Status;

use crate::harness::{Client, golden, score, test};

fn item(data: Vec<u8>) -> ImageItem {
    ImageItem { source: Some(Source::Data(data.into())), ..ImageItem::default() }
}

async fn read(client: &mut Client, data: Vec<u8>) -> Result<ItemScores, Status> {
    let items = vec![item(data)];
    let request = ModerateImageRequest { items, read_text: true, ..ModerateImageRequest::default() };
    Ok(client.moderate_image(request).await?.into_inner().results.remove(0))
}

async fn read_golden(client: &mut Client, name: &str) -> (Scores, String) {
    let result = read(client, fs::read(golden("ocr").join(name)).unwrap()).await.unwrap();
    (result.scores.unwrap(), result.read_text.unwrap())
}

fn png(picture: RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn findings<'a>(scores: &'a Scores, category: &str) -> Vec<&'a Finding> {
    scores.findings.iter().filter(|finding| finding.category == category).collect()
}

#[test]
fn what_is_read_equals_the_reference() {
    test(async |mut client| {
        let expected: Value =
            serde_json::from_slice(&fs::read(golden("ocr/expected.json")).unwrap()).unwrap();
        let pictures = expected["pictures"].as_object().unwrap();
        assert_eq!(pictures.len(), 11);
        for (name, lines) in pictures {
            let (_, text) = read_golden(&mut client, name).await;
            let ours: Vec<&str> = text.lines().collect();
            let theirs: Vec<&str> =
                lines.as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
            match name.as_str() {
                // Side by side on one row, and with the contents of a code after it.
                "english.png" => assert_eq!(ours, [theirs[0], theirs[1], &theirs[2..].join(" ")]),
                "code.png" => assert_eq!(ours, [theirs[0], "Write to jane.doe@example.com"]),
                _ => assert_eq!(ours, theirs, "{name}"),
            }
        }
    });
}

#[test]
fn an_insult_in_a_picture_is_found_where_it_stands() {
    test(async |mut client| {
        let (insult, _) = read_golden(&mut client, "insult.png").await;
        let (harmless, _) = read_golden(&mut client, "english.png").await;
        let (with, without) = (score(&insult, "toxicity"), score(&harmless, "toxicity"));
        assert!(with > without + 0.3, "{with} {without}");
        assert_eq!(
            (insult.windows, harmless.unsupported_categories.len()),
            (1, insult.unsupported_categories.len())
        );
        let found = findings(&insult, "toxicity");
        assert_eq!((found.len(), found[0].reason.as_str()), (1, "text-in-image:window"));
        assert_eq!((found[0].start_byte, found[0].end_byte), (0, 0));
        // Both lines, which lie between the rows 30 and 135.
        let region = found[0].region.unwrap();
        assert!(region.left < 30 && region.left + region.width > 560, "{region:?}");
        assert!((20..40).contains(&region.top) && region.height.abs_diff(106) < 12, "{region:?}");
    });
}

#[test]
fn personal_data_in_a_code_is_found_where_it_stands() {
    test(async |mut client| {
        let (scores, _) = read_golden(&mut client, "code.png").await;
        let found = findings(&scores, "personal-data/contact");
        assert_eq!(found.len(), 1, "{scores:?}");
        assert_eq!(found[0].reason, "qr-code:personal-data:email");
        let region = found[0].region.unwrap();
        assert!(region.left.abs_diff(36) <= 8 && region.top.abs_diff(116) <= 8, "{region:?}");
    });
}

#[test]
fn text_is_given_back_only_where_asked_for() {
    test(async |mut client| {
        let data = fs::read(golden("ocr/english.png")).unwrap();
        let request = ModerateImageRequest { items: vec![item(data)], ..ModerateImageRequest::default() };
        let answer = client.moderate_image(request).await.unwrap().into_inner();
        assert_eq!(answer.results[0].read_text, None);
        let models: Vec<_> = answer.models.iter().map(|model| model.id.as_str()).collect();
        for model in ["open-nsfw", "text-moderation-heads", "pp-ocrv6-rec-small", "pp-ocrv6-det-small"] {
            assert_eq!(models.iter().filter(|id| **id == model).count(), 1, "{models:?}");
        }
    });
}

#[test]
fn reading_is_asked_for_and_left_out_as_the_caller_likes() {
    test(async |mut client| {
        let insult = fs::read(golden("ocr/insult.png")).unwrap();
        // Of weapons no text tells: it is read all the same, and the models of text took no part.
        let request = ModerateImageRequest {
            items: vec![item(insult.clone())],
            categories: vec!["weapons".to_owned()],
            read_text: true,
            ..ModerateImageRequest::default()
        };
        let answer = client.moderate_image(request.clone()).await.unwrap().into_inner();
        assert!(!answer.results[0].read_text.as_ref().unwrap().is_empty());
        let models: Vec<_> = answer.models.iter().map(|model| model.id.as_str()).collect();
        assert!(
            models.contains(&"pp-ocrv6-rec-small") && models.contains(&"efficientnet-lite0"),
            "{models:?}"
        );
        assert!(!models.contains(&"text-moderation-heads"), "{models:?}");
        // Tags alone: the model that gives them is named.
        let tags = ModerateImageRequest {
            categories: vec!["sexual".to_owned()],
            items: vec![ImageItem { skip_text: true, ..item(insult.clone()) }],
            tags: 1,
            ..request
        };
        let answer = client.moderate_image(tags).await.unwrap().into_inner();
        assert!(answer.models.iter().any(|model| model.id == "efficientnet-lite0"));
        assert!(!answer.models.iter().any(|model| model.id.starts_with("pp-ocr")));
        assert_eq!(answer.results[0].read_text, None);

        // Unread, the same picture has no scores of its text; a batch reads some of its pictures.
        let skipped = ImageItem { skip_text: true, ..item(insult.clone()) };
        let items = vec![skipped.clone(), item(insult)];
        let request = ModerateImageRequest { items, read_text: true, ..ModerateImageRequest::default() };
        let answer = client.moderate_image(request).await.unwrap().into_inner();
        let unsupported = |n: usize| &answer.results[n].scores.as_ref().unwrap().unsupported_categories;
        assert!(unsupported(0).contains(&"toxicity".to_owned()));
        assert!(!unsupported(1).contains(&"toxicity".to_owned()));
        assert!(answer.results[0].read_text.is_none() && answer.results[1].read_text.is_some());

        // Streams give it back as well.
        for (item, said) in [(skipped, false), (item(fs::read(golden("ocr/english.png")).unwrap()), true)] {
            let request =
                StreamModerateImageRequest { item: Some(item), read_text: true, ..Default::default() };
            let answers = client.stream_moderate_image(stream::iter([request])).await.unwrap();
            let answer = answers.into_inner().next().await.unwrap().unwrap();
            assert_eq!(answer.read_text.is_some(), said);
        }
    });
}

#[tokio::test]
async fn what_there_is_no_time_to_read_is_said() {
    let mut config = Config::default();
    config.detectors.retain(|detector| detector.kind == "ocr");
    config.image.ocr.max_lines = 1;
    let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 1);
    let picture = |name: &str| Picture {
        data: fs::read(golden("ocr").join(name)).unwrap().into(),
        text: TextInPicture::Read,
        ..Picture::default()
    };
    let moderator = load(&config).unwrap();
    let result = moderator.score_image(picture("insult.png"), CategorySet::all(), &call).await.unwrap();
    assert!(result.scores.text_truncated && result.read_text.unwrap().lines().count() == 1);
    config.image.ocr.queue_bytes = 4096;
    let full = load(&config).unwrap();
    let refused = full.score_image(picture("insult.png"), CategorySet::all(), &call).await.unwrap_err();
    assert_eq!(refused.into_fault("item").reason(), Reason::QueueFull);
    config.detectors.push(config.detectors[0].clone());
    let twice = load(&config).map(|_| ()).unwrap_err();
    assert!(twice.to_string().contains("ocr"), "{twice}");
}

#[test]
fn categories_of_texts_are_listed_for_pictures() {
    test(async |mut client| {
        let listed = client.list_categories(ListCategoriesRequest {}).await.unwrap().into_inner();
        let hate = listed.categories.iter().find(|category| category.id == "hate").unwrap();
        let modalities: Vec<_> = hate.detectors.iter().map(|detector| detector.modality()).collect();
        assert_eq!(modalities, [Modality::Text, Modality::TextInImage]);
    });
}

#[test]
fn hostile_pictures_are_answered() {
    test(async |mut client| {
        let noise = |x: u32, y: u32| {
            let value = (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35);
            Rgb([(value >> 24) as u8, (value >> 16) as u8, (value >> 8) as u8])
        };
        let stripes = |x: u32, y: u32| Rgb([if (x / 3 + y / 40).is_multiple_of(2) { 0 } else { 255 }; 3]);
        let pictures = [
            RgbImage::from_fn(640, 480, noise),
            RgbImage::from_fn(800, 600, stripes),
            RgbImage::new(8_000, 1),
            RgbImage::new(1, 8_000),
            RgbImage::new(1, 1),
            RgbImage::new(6_000, 6_000),
        ];
        for picture in pictures {
            let size = picture.dimensions();
            let result = read(&mut client, png(picture)).await.unwrap();
            assert!(result.read_text.is_some_and(|text| text.len() < 10_000), "{size:?}");
            assert!(!result.scores.unwrap().categories.is_empty());
        }
        let mut huge = png(RgbImage::new(64, 64));
        huge[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(read(&mut client, huge).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    });
}
