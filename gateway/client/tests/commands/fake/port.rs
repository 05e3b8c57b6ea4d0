//! Two services on one port.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{body::Body, codegen::http};

/// Two services on one port.
#[derive(Clone)]
pub(super) struct Either<G, H> {
    pub(super) gateway: G,
    pub(super) health: H,
}

impl<G, H> tonic::codegen::Service<http::Request<Body>> for Either<G, H>
where
    G: tonic::codegen::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    H: tonic::codegen::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    G::Future: Send + 'static,
    H::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().starts_with("/grpc.health.v1.Health/") {
            Box::pin(self.health.call(request))
        } else {
            Box::pin(self.gateway.call(request))
        }
    }
}
