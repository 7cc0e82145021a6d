//! A connection that counts what comes back over it, whatever becomes of the calls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Service, StdError, http};
use tonic::transport::Channel;

/// What calls can be made over: a [`Channel`], counted or not.
pub trait Connection:
    GrpcService<
        Body,
        Future: Send,
        ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    > + Send
    + 'static
{
}

impl<C> Connection for C where
    C: GrpcService<
            Body,
            Future: Send,
            ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        > + Send
        + 'static
{
}

/// Counts bytes. All clones count together.
#[derive(Debug, Clone, Default)]
pub struct ReceivedBytes(Arc<AtomicU64>);

impl ReceivedBytes {
    /// So many more have come.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many have come so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection on which the bytes of all answers are counted as they come, also of those that break off or are not waited for. gRPC's own
/// five bytes before each message count, HTTP/2's frames and headers do not.
#[derive(Debug, Clone)]
pub struct Metered {
    inner: Channel,
    received: ReceivedBytes,
}

impl Metered {
    /// Counts what comes over `inner`.
    pub const fn new(inner: Channel, received: ReceivedBytes) -> Self {
        Self { inner, received }
    }
}

impl Service<http::Request<Body>> for Metered {
    type Response = http::Response<MeteredBody>;
    type Error = <Channel as Service<http::Request<Body>>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (answer, received) = (Service::call(&mut self.inner, request), self.received.clone());
        Box::pin(async move { Ok(answer.await?.map(|inner| MeteredBody { inner, received })) })
    }
}

/// The body of an answer that is counted.
#[derive(Debug)]
pub struct MeteredBody {
    inner: Body,
    received: ReceivedBytes,
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.received.add(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
