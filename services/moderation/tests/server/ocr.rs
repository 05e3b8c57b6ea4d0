//! Text and QR codes in pictures, beside what rapidocr reads in them.

use std::{fs, io::Cursor};

use atelier_proto::moderation::v1::{
    Finding, ImageItem, ItemScores, ListCategoriesRequest, Modality, ModerateImageRequest, Scores,
    image_item::Source,
};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tonic::Status;

use crate::harness::{Client, golden, score, test};

async fn read(client: &mut Client, data: Vec<u8>) -> Result<ItemScores, Status> {
    let items = vec![ImageItem { source: Some(Source::Data(data.into())), ..ImageItem::default() }];
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
        let item = ImageItem { source: Some(Source::Data(data.into())), ..ImageItem::default() };
        let request = ModerateImageRequest { items: vec![item], ..ModerateImageRequest::default() };
        let answer = client.moderate_image(request).await.unwrap().into_inner();
        assert_eq!(answer.results[0].read_text, None);
        let models: Vec<_> = answer.models.iter().map(|model| model.id.as_str()).collect();
        for model in ["open-nsfw", "text-moderation-heads", "pp-ocrv6-rec-small", "pp-ocrv6-det-small"] {
            assert_eq!(models.iter().filter(|id| **id == model).count(), 1, "{models:?}");
        }
    });
}

#[test]
fn categories_of_texts_are_listed_for_pictures() {
    test(async |mut client| {
        let listed = client.list_categories(ListCategoriesRequest {}).await.unwrap().into_inner();
        let hate = listed.categories.iter().find(|category| category.id == "hate").unwrap();
        let modalities: Vec<_> = hate.detectors.iter().map(|detector| detector.modality()).collect();
        assert_eq!(modalities, [Modality::Text, Modality::Image]);
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
