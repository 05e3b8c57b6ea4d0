//! The gRPC face of [`Works`]: checks requests, reads what was sent side by side, converts.

use std::sync::Arc;

use atelier_core::Fault;
use atelier_likeness::Work;
use atelier_proto::moderation::v1::{self as api, similarity_service_server::SimilarityService};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status};

use super::{
    Works,
    convert::{self, Content, Sent},
    list::NewWork,
};
use crate::{call::Call, config::Config, error::ModerationError, service::call};

/// Serves the lists of works.
#[derive(Clone, Debug)]
pub struct Similarity {
    works: Arc<Works>,
    width: usize,
}

impl Similarity {
    /// Serves these lists with the configuration's bound on pictures in flight.
    #[must_use]
    pub fn new(works: Arc<Works>, config: &Config) -> Self {
        Self { works, width: config.image.max_in_flight.max(1) }
    }

    async fn add(&self, request: api::AddWorksRequest, call: &Call) -> Result<api::AddWorksResponse, Fault> {
        let sent = convert::works(request.works)?;
        let mut works = Vec::with_capacity(sent.len());
        for (n, sent) in sent.into_iter().enumerate() {
            works.push(self.read(sent, &format!("works[{n}]"), call).await?);
        }
        let replaced = self.works.add(works, call).await.map_err(|error| error.into_fault("works"))?;
        Ok(api::AddWorksResponse { replaced: replaced as u32 })
    }

    /// Turns a work into what is kept of it.
    async fn read(&self, sent: Sent, at: &str, call: &Call) -> Result<NewWork, Fault> {
        let Sent { label, pictures, text } = sent;
        let read = async |(m, data)| {
            let kept = self.works.picture(data, call).await;
            kept.map_err(|error: ModerationError| error.into_fault(&format!("{at}.pictures[{m}]")))
        };
        let pictures = stream::iter(pictures.into_iter().enumerate()).map(read).buffered(call.width());
        let pictures: Vec<_> = pictures.try_collect().await?;
        let has_text = !text.is_empty();
        let text = self.works.text(text, call).await.map_err(|error| error.into_fault(at))?;
        if has_text && text.is_empty() {
            let least = "must have at least 5 words, or 10 Chinese or Japanese characters";
            return Err(Fault::invalid(format!("{at}.text"), least));
        }
        Ok(NewWork { label, work: Work { pictures: pictures.concat(), text } })
    }

    async fn remove(
        &self,
        request: api::RemoveWorksRequest,
        call: &Call,
    ) -> Result<api::RemoveWorksResponse, Fault> {
        convert::ids(&request.ids)?;
        let unknown = self.works.remove(request.ids, call).await;
        Ok(api::RemoveWorksResponse { unknown_ids: unknown.map_err(|error| error.into_fault("ids"))? })
    }

    fn list(&self, request: &api::ListWorksRequest, call: &Call) -> Result<api::ListWorksResponse, Fault> {
        let (size, after) = convert::page(request)?;
        let Some(list) = self.works.of(call.tenant()) else { return Ok(api::ListWorksResponse::default()) };
        let mut rest = list.after(after.as_deref()).peekable();
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let next_page_token = match (rest.peek(), page.last()) {
            (Some(_), Some(last)) => convert::page_token(last),
            _ => String::new(),
        };
        let works = page.into_iter().map(convert::label).collect();
        let total_size = i32::try_from(list.len()).unwrap_or(i32::MAX);
        Ok(api::ListWorksResponse { works, next_page_token, total_size })
    }

    async fn find(
        &self,
        request: api::FindSimilarRequest,
        call: &Call,
    ) -> Result<api::FindSimilarResponse, Fault> {
        let (content, most) = convert::content(request)?;
        let found = async {
            match content {
                Content::Picture(data) => {
                    let (query, vector) = self.works.query(data, call).await?;
                    self.works.find_picture(query, vector, most, call).await
                }
                Content::Text(text) => self.works.find_text(text, most, call).await,
            }
        };
        let found = found.await.map_err(|error| error.into_fault("picture"))?;
        Ok(api::FindSimilarResponse { matches: found.into_iter().map(convert::found).collect() })
    }
}

#[tonic::async_trait]
impl SimilarityService for Similarity {
    async fn add_works(
        &self,
        request: Request<api::AddWorksRequest>,
    ) -> Result<Response<api::AddWorksResponse>, Status> {
        let call = call(&request, self.width);
        let answer = self.add(request.into_inner(), &call).await;
        answer.map(Response::new).map_err(atelier_rpc::status)
    }

    async fn remove_works(
        &self,
        request: Request<api::RemoveWorksRequest>,
    ) -> Result<Response<api::RemoveWorksResponse>, Status> {
        let call = call(&request, self.width);
        let answer = self.remove(request.into_inner(), &call).await;
        answer.map(Response::new).map_err(atelier_rpc::status)
    }

    async fn list_works(
        &self,
        request: Request<api::ListWorksRequest>,
    ) -> Result<Response<api::ListWorksResponse>, Status> {
        let call = call(&request, self.width);
        let answer = self.list(request.get_ref(), &call);
        answer.map(Response::new).map_err(atelier_rpc::status)
    }

    async fn find_similar(
        &self,
        request: Request<api::FindSimilarRequest>,
    ) -> Result<Response<api::FindSimilarResponse>, Status> {
        let call = call(&request, self.width);
        let answer = self.find(request.into_inner(), &call).await;
        answer.map(Response::new).map_err(atelier_rpc::status)
    }
}
