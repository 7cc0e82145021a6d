//! Reflection that ends with its server: a tool that keeps its stream open for the next question does not hold the end up.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic_reflection::server::{Builder, Error};

use super::end_of;
use crate::proto::DESCRIPTORS;

/// Adds `grpc.reflection.v1` and `v1alpha`. Once `ending` is true, or its sender is gone, both take every stream of questions for
/// finished, and finish their answers.
///
/// # Errors
/// If the descriptors in this build are broken.
pub fn add(routes: &mut RoutesBuilder, ending: &watch::Receiver<bool>) -> Result<(), Error> {
    routes.add_service(Ending { service: builder().build_v1()?, ending: ending.clone() });
    routes.add_service(Ending { service: builder().build_v1alpha()?, ending: ending.clone() });
    Ok(())
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// A service whose requests end with the server.
#[derive(Debug, Clone)]
struct Ending<S> {
    service: S,
    ending: watch::Receiver<bool>,
}

impl<S: NamedService> NamedService for Ending<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Ending<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let end = Some(end_of(&self.ending));
        self.service.call(request.map(|body| Body::new(EndingBody { body, end })))
    }
}

/// What a client sends, up to the end of the server.
struct EndingBody {
    body: Body,
    /// None once it has come.
    end: Option<BoxFuture<'static, ()>>,
}

impl http_body::Body for EndingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.end.as_mut().is_none_or(|end| end.poll_unpin(cx).is_ready()) {
            self.end = None;
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
