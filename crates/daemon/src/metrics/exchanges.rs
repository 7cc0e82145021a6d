//! Following an answer to its end, which is long after its head: a body that tells what passes through it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A request and its answer. Dropping it ends it, whether or not the answer was complete.
pub trait Exchange: Send + 'static {
    /// A piece of the answer is sent.
    fn sends(&mut self, frame: &Frame<Bytes>);
}

/// A body that tells an [`Exchange`] what passes through it.
#[derive(Debug)]
pub struct Watched<B, E> {
    body: B,
    exchange: E,
}

impl<B, E> Watched<B, E> {
    /// Watches `body`.
    pub fn new(body: B, exchange: E) -> Self {
        Self { body, exchange }
    }
}

impl<B, E> HttpBody for Watched<B, E>
where
    B: HttpBody<Data = Bytes> + Unpin,
    E: Exchange + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.exchange.sends(frame);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
