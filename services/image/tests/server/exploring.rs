//! Latent spaces: draws, walks, mixes, arithmetic, reconstructions.

use atelier_proto::image::v1::{self as proto, explore_request::Exploration, latent_point::Point};
use image::RgbaImage;

use crate::common::{Client, apple, client, decoded, field};

fn seed(seed: u64) -> proto::LatentPoint {
    proto::LatentPoint { point: Some(Point::Seed(seed)) }
}

async fn explore(client: &mut Client, model: &str, exploration: Exploration) -> proto::ExploreResponse {
    let request = proto::ExploreRequest {
        model: model.into(),
        exploration: Some(exploration),
        sheet: true,
        ..Default::default()
    };
    client.explore(request).await.unwrap().into_inner()
}

fn distance(one: &RgbaImage, other: &RgbaImage) -> f64 {
    let apart = one.as_raw().iter().zip(other.as_raw()).map(|(&a, &b)| f64::from(a.abs_diff(b)));
    apart.sum::<f64>() / one.as_raw().len() as f64
}

fn pictures(answer: &proto::ExploreResponse) -> Vec<RgbaImage> {
    answer.images.iter().map(|found| decoded(found.image.as_ref().unwrap())).collect()
}

#[tokio::test]
async fn a_grid_draws_consecutive_seeds_and_no_two_alike() {
    let mut client = client().await;
    let grid = proto::DrawGrid { count: Some(9), seed: Some(20) };
    let answer = explore(&mut client, "emoji-gan", Exploration::Grid(grid)).await;
    let seeds: Vec<_> = answer.images.iter().map(|found| found.image.as_ref().unwrap().seed).collect();
    assert_eq!(seeds, (20..29).collect::<Vec<_>>());
    let places: Vec<_> = answer.images.iter().map(|found| (found.row, found.column)).collect();
    assert_eq!(places[..4], [(0, 0), (0, 1), (0, 2), (1, 0)]);
    let pictures = pictures(&answer);
    for (n, one) in pictures.iter().enumerate() {
        assert!(pictures[..n].iter().all(|other| distance(one, other) > 2.0), "{n} has a twin");
    }
    let sheet = decoded(answer.sheet.as_ref().unwrap());
    assert_eq!(sheet.width(), 3 * pictures[0].width());
    // A point that was found can be drawn again.
    let latent = answer.images[4].latent.clone().unwrap();
    let term = proto::LatentTerm {
        point: Some(proto::LatentPoint { point: Some(Point::Latent(latent)) }),
        weight: None,
    };
    let again = proto::LatentArithmetic { terms: vec![term], ..Default::default() };
    let again = explore(&mut client, "emoji-gan", Exploration::Arithmetic(again)).await;
    assert!(distance(&self::pictures(&again)[0], &pictures[4]) < 0.5);
}

#[tokio::test]
async fn a_walk_moves_in_small_steps_from_one_point_to_the_next() {
    let mut client = client().await;
    for model in ["emoji-gan", "emoji-vae"] {
        let walk = proto::LatentWalk { points: vec![seed(1), seed(2)], steps: Some(8), ..Default::default() };
        let answer = explore(&mut client, model, Exploration::Walk(walk)).await;
        let pictures = pictures(&answer);
        assert_eq!(pictures.len(), 9);
        let whole = distance(&pictures[0], &pictures[8]);
        let largest = pictures.windows(2).map(|pair| distance(&pair[0], &pair[1])).fold(0.0, f64::max);
        assert!(whole > 2.0 && largest < whole, "{model}: {largest} of {whole}");
    }
}

#[tokio::test]
async fn styles_mix_over_the_mapping_network() {
    let mut client = client().await;
    let table = |first_layer, last_layer| {
        let (rows, columns) = (vec![seed(1), seed(2)], vec![seed(3), seed(4), seed(5)]);
        Exploration::Mix(proto::StyleMix { rows, columns, first_layer, last_layer })
    };
    let mixed = explore(&mut client, "emoji-gan", table(None, None)).await;
    assert_eq!(mixed.images.len(), 6);
    assert!(mixed.images.iter().all(|found| found.latent.is_none()));
    // With all layers from the column, rows make no difference.
    let all = pictures(&explore(&mut client, "emoji-gan", table(Some(0), None)).await);
    assert!(distance(&all[0], &all[3]) < 0.5 && distance(&all[0], &all[1]) > 2.0);

    let request = proto::ExploreRequest {
        model: "emoji-gan".into(),
        exploration: Some(table(Some(0), Some(99))),
        ..Default::default()
    };
    assert_eq!(field(&client.explore(request).await.unwrap_err()), "mix.last_layer");
    let request = proto::ExploreRequest {
        model: "emoji-vae".into(),
        exploration: Some(table(None, None)),
        ..Default::default()
    };
    assert_eq!(client.explore(request).await.unwrap_err().code(), tonic::Code::FailedPrecondition);
}

#[tokio::test]
async fn truncation_pulls_towards_the_average() {
    let mut client = client().await;
    let mut spread = async |truncation| {
        let grid = Exploration::Grid(proto::DrawGrid { count: Some(6), seed: Some(1) });
        let request = proto::ExploreRequest {
            model: "emoji-gan".into(),
            exploration: Some(grid),
            truncation: Some(truncation),
            ..Default::default()
        };
        let pictures = pictures(&client.explore(request).await.unwrap().into_inner());
        pictures.windows(2).map(|pair| distance(&pair[0], &pair[1])).sum::<f64>()
    };
    let (none, all) = (spread(1.0).await, spread(0.0).await);
    assert!(all < 0.5, "all the average: {all}");
    assert!(spread(0.5).await < none);
}

#[tokio::test]
async fn a_vae_reads_pictures_back_and_moves_them_along_attributes() {
    let mut client = client().await;
    let drawn = client.generate_image(apple(5)).await.unwrap().into_inner().images.remove(0).data;
    let images = proto::Reconstruction { images: vec![drawn.clone()] };
    let answer = explore(&mut client, "", Exploration::Reconstruction(images)).await;
    let psnr = answer.images[0].psnr.unwrap();
    assert!(psnr > 8.0, "{psnr} dB");

    let models =
        client.get_model(proto::GetModelRequest { model: "emoji-vae".into() }).await.unwrap().into_inner();
    let name = models.model.unwrap().image.unwrap().attributes[0].clone();
    let term = proto::LatentTerm { point: Some(seed(3)), weight: None };
    let moved = |name: &str| {
        let attributes = vec![proto::AttributeShift { name: name.into(), amount: 1.0 }];
        proto::LatentArithmetic { terms: vec![term.clone()], attributes, steps: Some(4) }
    };
    let answer = explore(&mut client, "emoji-vae", Exploration::Arithmetic(moved(&name))).await;
    let pictures = pictures(&answer);
    assert_eq!(pictures.len(), 4);
    assert!(distance(&pictures[0], &pictures[3]) > distance(&pictures[0], &pictures[1]));

    let unknown = Exploration::Arithmetic(moved("melancholy"));
    let request =
        proto::ExploreRequest { model: "emoji-vae".into(), exploration: Some(unknown), ..Default::default() };
    assert_eq!(field(&client.explore(request).await.unwrap_err()), "arithmetic.attributes[0].name");
}
