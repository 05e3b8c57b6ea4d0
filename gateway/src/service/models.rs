//! Which models callers can name.

use atelier_core::{Fault, Reason};
use atelier_proto::gateway::v1 as api;
use tonic::Request;

use super::Gateway;
use crate::upstream::Listing;

pub(super) async fn list_models(
    gateway: &Gateway,
    request: Request<api::ListModelsRequest>,
) -> Result<api::ListModelsResponse, Fault> {
    gateway.admit(&request, "ListModels")?;
    let models = fresh(gateway).await?;
    Ok(api::ListModelsResponse { models: models.into_iter().map(|model| model.description).collect() })
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
    Ok(api::GetModelResponse { model: Some(listing.description) })
}

/// The models of all kinds as of now, by id; those of an upstream that does not answer, as it said last.
async fn fresh(gateway: &Gateway) -> Result<Vec<Listing>, Fault> {
    let (text, image) = tokio::join!(gateway.text.refresh(), gateway.image.refresh());
    let mut listings = gateway.text.listings();
    listings.extend(gateway.image.listings());
    if listings.is_empty() && !text && !image {
        return Err(Fault::new(Reason::UpstreamUnavailable, "no service that has models can be reached"));
    }
    listings.sort_by(|a, b| a.reference.id.cmp(&b.reference.id));
    Ok(listings)
}
