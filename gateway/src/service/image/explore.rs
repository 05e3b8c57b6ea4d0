//! Latent spaces.

use std::sync::Arc;

use atelier_core::Fault;
use atelier_policy::Outcome;
use atelier_proto::{
    gateway::v1::{self as api, explore_request::Exploration as Asks},
    image::v1::{self as image, explore_request::Exploration},
};
use tonic::Request;

use super::{Asked, Gateway, bounds, is_judged};
use crate::{
    audit::Part,
    convert::image::{self as convert, Facts},
    picture::Picture,
    request_filter,
    response_filter::Account,
    upstream::{ImageClient, Task, call},
};

pub(in crate::service) async fn explore(
    gateway: &Gateway,
    request: Request<api::ExploreRequest>,
) -> Result<api::ExploreResponse, Fault> {
    let admitted = gateway.admit(&request, "Explore")?;
    let request = request.into_inner();
    let exploration = match request.exploration {
        Some(Asks::Grid(grid)) => Exploration::Grid(grid),
        Some(Asks::Walk(walk)) => Exploration::Walk(walk),
        Some(Asks::Mix(mix)) => Exploration::Mix(mix),
        Some(Asks::Arithmetic(sum)) => Exploration::Arithmetic(sum),
        Some(Asks::Reconstruction(of)) => Exploration::Reconstruction(of),
        None => {
            let message = "must be a grid, walk, mix, arithmetic or reconstruction";
            return Err(Fault::invalid("exploration", message));
        }
    };
    let shown = bounds::explored(&exploration)?;
    let asked = Asked::of(gateway, &request.model, Task::ExploreImages)?;
    let context = Arc::new(admitted.into_call(asked.model.clone()));
    let input = request_filter::check_all(&gateway.judge, &context, &[], shown).await?;
    let message = image::ExploreRequest {
        model: asked.name(),
        exploration: Some(exploration),
        truncation: request.truncation,
        output: convert::output(request.output, is_judged(&context.policy)),
        sheet: request.sheet,
    };
    let mut account = Account::new(gateway.judge.clone(), Arc::clone(&context), None);
    let send = |mut client: ImageClient, request| async move { client.explore(request).await };
    let answer = call(&asked.route, &context.context, message, send).await;
    let answer = account.note(answer)?;
    let facts = Facts { call: context, input, seed: 0 };
    let judged = judge(&mut account, answer, &facts).await;
    account.note(judged)
}

/// Judges all pictures, and the sheet if nothing on it is withheld.
async fn judge(
    account: &mut Account,
    answer: image::ExploreResponse,
    facts: &Facts,
) -> Result<api::ExploreResponse, Fault> {
    let mut explored = answer.images;
    let pictures: Vec<Picture> =
        explored.iter_mut().map(|one| convert::picture(one.image.take().unwrap_or_default())).collect();
    let verdicts = account.pictures(Part::Picture, &pictures).await?;
    let mut withheld = false;
    for ((one, picture), verdict) in explored.iter_mut().zip(pictures).zip(verdicts) {
        let passes = verdict.outcome() == Outcome::Pass;
        withheld |= !passes;
        if passes {
            account.data_leaves(picture.data.clone()).await?;
        }
        one.image = Some(convert::image(if passes { picture } else { picture.without_data() }));
    }
    let mut sheet = None;
    if let Some(picture) = answer.sheet.filter(|_| !withheld).map(convert::picture) {
        let verdicts = account.pictures(Part::Sheet, std::slice::from_ref(&picture)).await?;
        withheld = verdicts.iter().any(|verdict| verdict.outcome() != Outcome::Pass);
        if !withheld {
            account.data_leaves(picture.data.clone()).await?;
            sheet = Some(convert::image(picture));
        }
    }
    let summary = account.close(withheld).await?;
    let completion = convert::completion(answer.completion.unwrap_or_default(), summary, withheld, facts);
    Ok(api::ExploreResponse { images: explored, sheet, completion: Some(completion) })
}
