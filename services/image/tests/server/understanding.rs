//! What pictures show.

use atelier_proto::image::v1 as proto;

use crate::common::{client, png};

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn vectors_have_length_one_and_follow_what_is_seen() {
    let mut client = client().await;
    let images =
        vec![png(60, 60, [200, 0, 0, 255]), png(90, 70, [200, 0, 0, 255]), png(60, 60, [0, 0, 90, 255])];
    let answer = client.embed_image(proto::EmbedImageRequest { model: String::new(), images }).await.unwrap();
    let vectors: Vec<_> = answer.into_inner().embeddings.into_iter().map(|e| e.values).collect();
    for vector in &vectors {
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-3);
    }
    let (same, other) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(same > 0.999 && other < same, "{same} {other}");
}

#[tokio::test]
async fn labels_come_likeliest_first() {
    let mut client = client().await;
    let request = proto::ClassifyImageRequest {
        images: vec![png(64, 64, [90, 140, 220, 255])],
        top_k: Some(3),
        ..Default::default()
    };
    let answer = client.classify_image(request).await.unwrap().into_inner();
    let labels = &answer.results[0].labels;
    assert_eq!(labels.len(), 3);
    assert!(labels.is_sorted_by(|a, b| a.probability >= b.probability));
    assert!(labels.iter().all(|label| !label.name.is_empty() && (0.0..=1.0).contains(&label.probability)));
}

#[tokio::test]
async fn a_bad_picture_is_named_by_its_place() {
    let mut client = client().await;
    let images = vec![png(9, 9, [1; 4]), b"nothing".as_slice().into()];
    let status = client
        .classify_image(proto::ClassifyImageRequest { images, ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(crate::common::field(&status), "images[1]");
}

#[tokio::test]
async fn photographs_are_named_and_placed_as_the_reference_does() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/image/");
    let read = |name: &str| std::fs::read(format!("{folder}{name}")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&read("understanding.json")).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
    let pictures = golden["pictures"].as_array().unwrap();
    let images: Vec<bytes::Bytes> =
        pictures.iter().map(|picture| read(picture["picture"].as_str().unwrap()).into()).collect();

    let mut client = client().await;
    let request = proto::ClassifyImageRequest { images: images.clone(), ..Default::default() };
    let results = client.classify_image(request).await.unwrap().into_inner().results;
    for (picture, result) in pictures.iter().zip(&results) {
        for expected in picture["top"].as_array().unwrap() {
            let found = result.labels.iter().find(|label| label.name == expected["name"].as_str().unwrap());
            let probability = found.map_or(0.0, |label| label.probability);
            let apart = (probability - number(&expected["probability"])).abs();
            assert!(
                apart <= number(&golden["probability_tolerance"]),
                "{}: {expected}, {probability}",
                picture["picture"]
            );
        }
    }

    let request = proto::EmbedImageRequest { model: "emoji-captions".into(), images: images.clone() };
    let projected = client.embed_image(request).await.unwrap().into_inner().embeddings;
    for (picture, vector) in pictures.iter().zip(&projected) {
        let expected: Vec<f32> = picture["projected"].as_array().unwrap().iter().map(number).collect();
        // Of their beginnings alone.
        let first = &vector.values[..expected.len()];
        let found = cosine(first, &expected) / (cosine(first, first) * cosine(&expected, &expected)).sqrt();
        assert!(found >= number(&golden["smallest_cosine"]), "{}: {found}", picture["picture"]);
    }

    let request = proto::EmbedImageRequest { model: String::new(), images };
    let vectors: Vec<_> = client.embed_image(request).await.unwrap().into_inner().embeddings;
    for (n, picture) in pictures.iter().enumerate() {
        let tolerance = number(&golden["feature_tolerance"]);
        for (value, expected) in vectors[n].values.iter().zip(picture["features"].as_array().unwrap()) {
            assert!((value - number(expected)).abs() <= tolerance, "{}", picture["picture"]);
        }
        for (other, expected) in picture["cosines"].as_array().unwrap().iter().enumerate() {
            let found = cosine(&vectors[n].values, &vectors[other].values);
            assert!((found - number(expected)).abs() <= tolerance, "{n} to {other}: {found}");
        }
    }
}
