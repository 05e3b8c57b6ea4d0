//! Latent spaces: pictures in and pictures out, both judged.

use atelier_core::Reason;
use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{Action, ExploreRequest, ExploreResponse, explore_request::Exploration},
    image::v1::{
        DrawGrid, LatentArithmetic, LatentPoint, LatentTerm, LatentWalk, Reconstruction, StyleMix,
        latent_point::Point,
    },
};
use atelier_rpc::fault_of;
use tonic::Status;

use crate::sandbox::{Sandbox, WINDOW, policy};

fn seen(data: &str) -> LatentPoint {
    LatentPoint { point: Some(Point::Image(data.to_owned().into())) }
}

async fn explore(sandbox: &Sandbox, exploration: Exploration) -> Result<ExploreResponse, Status> {
    let request = ExploreRequest { exploration: Some(exploration), sheet: true, ..Default::default() };
    Ok(sandbox.client.clone().explore(request).await?.into_inner())
}

#[tokio::test]
async fn draws_and_their_sheet_are_judged() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.image.paint(&["a cat"; 40]);
    let answer = explore(&sandbox, Exploration::Grid(DrawGrid::default())).await.unwrap();
    assert_eq!((answer.images.len(), &*answer.images[39].image.as_ref().unwrap().data), (40, &b"a cat"[..]));
    assert_eq!(answer.sheet.unwrap().data, "all of them");
    assert_eq!(sandbox.moderation.0.pictures.lock().unwrap().len(), 41);
    assert_eq!(sandbox.image.0.asked_exploration.lock().unwrap().as_ref().unwrap().model, "");

    sandbox.image.paint(&["a cat", "a BLOCKME"]);
    let answer = explore(&sandbox, Exploration::Grid(DrawGrid::default())).await.unwrap();
    let data: Vec<_> = answer.images.iter().map(|one| one.image.clone().unwrap().data).collect();
    assert_eq!(data, ["a cat", ""]);
    assert!(answer.images[1].latent.is_some() && answer.sheet.is_none());
    let completion = answer.completion.unwrap();
    assert_eq!(completion.generation.unwrap().finish_reason(), FinishReason::ContentFilter);
    assert_eq!(completion.output_verdict.unwrap().action(), Action::Block);
    let (trail, _) = sandbox.finish().await;
    assert_eq!(trail.iter().filter(|line| line["part"] == "sheet").count(), 1);
    assert_eq!(trail.last().unwrap()["finish_reason"], "content_filter");
}

#[tokio::test]
async fn pictures_in_are_judged_wherever_they_stand() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let term = LatentTerm { point: Some(seen("BLOCKME")), weight: None };
    let blocked = [
        Exploration::Walk(LatentWalk { points: vec![seen("a cat"), seen("BLOCKME")], ..Default::default() }),
        Exploration::Mix(StyleMix { columns: vec![seen("BLOCKME")], ..Default::default() }),
        Exploration::Arithmetic(LatentArithmetic { terms: vec![term], ..Default::default() }),
        Exploration::Reconstruction(Reconstruction { images: vec!["BLOCKME".into()] }),
    ];
    for exploration in blocked {
        let fault = fault_of(&explore(&sandbox, exploration).await.unwrap_err());
        assert_eq!(fault.reason(), Reason::ContentBlocked);
    }
    let wrong = [
        (
            Exploration::Walk(LatentWalk { points: vec![seen("")], ..Default::default() }),
            "walk.points[0].image",
        ),
        (Exploration::Mix(StyleMix { rows: vec![seen("a"); 9], ..Default::default() }), "mix.rows"),
        (
            Exploration::Reconstruction(Reconstruction { images: vec!["a".into(); 17] }),
            "reconstruction.images",
        ),
    ];
    for (exploration, field) in wrong {
        let fault = fault_of(&explore(&sandbox, exploration).await.unwrap_err());
        assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, field));
    }
    let fault = fault_of(&sandbox.client.clone().explore(ExploreRequest::default()).await.unwrap_err());
    assert_eq!(fault.violations()[0].field, "exploration");
    assert!(sandbox.image.0.asked_exploration.lock().unwrap().is_none());
}
