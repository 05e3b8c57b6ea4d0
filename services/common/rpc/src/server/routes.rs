//! From the path of a call to the service that answers it.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

type Boxed = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The services of a server, by name.
#[derive(Clone, Default)]
pub(crate) struct Routes(HashMap<&'static str, Boxed>);

impl Routes {
    pub(super) fn add<S>(&mut self, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.0.insert(S::NAME, BoxCloneSyncService::new(service));
    }

    /// Names of the services, sorted.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// Answers a call; one for a service that is not here is UNIMPLEMENTED, as one for a method that a service does
    /// not have.
    pub(crate) async fn call(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let name = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match name.and_then(|(service, _)| self.0.get(service)).cloned() {
            Some(service) => service.oneshot(request).await.unwrap_or_else(|never| match never {}),
            None => Status::unimplemented("no such service").into_http(),
        }
    }
}
