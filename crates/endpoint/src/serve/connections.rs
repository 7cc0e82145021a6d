//! Connections, no more than so many at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection that gives its place back when it is closed.
#[derive(Debug)]
pub struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// The connections of `incoming` that find a place. One that finds none is closed at once: its client tries again after a while, and who
/// is connected is not disturbed.
pub fn limited(
    incoming: impl Stream<Item = io::Result<TcpStream>>,
    places: usize,
) -> impl Stream<Item = io::Result<Placed>> {
    let free = Arc::new(Semaphore::new(places));
    incoming.filter_map(move |connection| {
        let place = free.clone().try_acquire_owned();
        let placed = match (connection, place) {
            (Err(error), _) => Some(Err(error)),
            (Ok(stream), Ok(place)) => Some(Ok(Placed { stream, _place: place })),
            (Ok(_), Err(_)) => {
                tracing::debug!(places, "too many connections: the newest is closed");
                None
            }
        };
        futures::future::ready(placed)
    })
}

impl Connected for Placed {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;

    use super::*;

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_the_next_one_is_taken_when_there_is_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(limited(TcpListenerStream::new(listener), 1));
        let _first = TcpStream::connect(address).await.unwrap();
        let placed = incoming.next().await.unwrap().unwrap();
        let mut refused = TcpStream::connect(address).await.unwrap();
        let closed = tokio::spawn(async move { refused.read(&mut [0]).await });
        tokio::select! {
            _ = incoming.next() => panic!("there is no place"),
            end = closed => assert_eq!(end.unwrap().unwrap(), 0),
        }
        drop(placed);
        let _next = TcpStream::connect(address).await.unwrap();
        assert!(incoming.next().await.unwrap().is_ok());
    }
}
