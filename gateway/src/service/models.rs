//! Which models callers can name.

use atelier_core::{Fault, Reason};
use atelier_proto::gateway::v1 as api;
use tonic::Request;

use super::Gateway;
use crate::{convert, upstream::Listing};

pub(super) async fn list_models(
    gateway: &Gateway,
    request: Request<api::ListModelsRequest>,
) -> Result<api::ListModelsResponse, Fault> {
    gateway.admit(&request, "ListModels")?;
    let models = fresh(gateway).await?;
    Ok(api::ListModelsResponse { models: models.into_iter().map(convert::model).collect() })
}

pub(super) async fn get_model(
    gateway: &Gateway,
    request: Request<api::GetModelRequest>,
) -> Result<api::GetModelResponse, Fault> {
    gateway.admit(&request, "GetModel")?;
    let name = request.into_inner().model;
    let listing = fresh(gateway).await?.into_iter().find(|model| model.reference.id.as_str() == name);
    let listing =
        listing.ok_or_else(|| Fault::new(Reason::ModelNotFound, "no upstream has a model of that name"))?;
    Ok(api::GetModelResponse { model: Some(convert::model(listing)) })
}

/// The models as of now; those of an upstream that does not answer, as it said last.
async fn fresh(gateway: &Gateway) -> Result<Vec<Listing>, Fault> {
    let answered = gateway.router.refresh().await;
    let listings = gateway.router.listings();
    if listings.is_empty() && !answered {
        return Err(Fault::new(Reason::UpstreamUnavailable, "no text service can be reached"));
    }
    Ok(listings)
}
