//! The HTTP server: connections, how many and how long, and an end that is waited for.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::answers::busy;
use super::stalls::Unstalled;

/// Connections that are served at once. Whoever comes then is told so with 503.
pub const MAX_CONNECTIONS: usize = 512;
/// Connections that are told so at once. Whoever comes then is hung up on.
const MAX_REFUSALS: usize = 64;
/// How long a client may take to say what it wants, and a connection may be idle.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client may take nothing of what it is sent.
pub const TAKING_PATIENCE: Duration = Duration::from_secs(30);
/// What is read of a request, or written of an answer, before the other end has taken it.
const BUFFER_BYTES: usize = 64 << 10;
/// After an error of the system, e.g. no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    end: watch::Sender<bool>,
    connections: Arc<Semaphore>,
}

impl HttpServer {
    /// Serves `router` on `address`.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(address: SocketAddr, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (end, ending) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tokio::spawn(accept_all(listener, router, connections.clone(), ending));
        Ok(Self { address, end, connections })
    }

    /// The address in use.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and waits until those that are answered are done, for a while.
    pub async fn finish(self) {
        self.end.send_replace(true);
        let all = self.connections.acquire_many(u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX));
        if timeout(endpoint::serve::GRACE, all).await.is_err() {
            warn!(grace = ?endpoint::serve::GRACE, "HTTP connections were still open at the end");
        }
    }
}

async fn accept_all(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    mut ending: watch::Receiver<bool>,
) {
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let refusing = Router::new().fallback(refuse);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = asked(&mut ending) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("no HTTP connection can be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = connections.clone().try_acquire_owned() {
            tokio::spawn(serve(stream, router.clone(), place, ending.clone()));
        } else if let Ok(place) = refusals.clone().try_acquire_owned() {
            tokio::spawn(serve(stream, refusing.clone(), place, ending.clone()));
        }
    }
}

/// Waits until the server is asked to end, or nobody is left who could ask.
async fn asked(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|end| *end).await;
}

async fn refuse() -> Result<Response<Body>, Infallible> {
    let mut answer = busy("all connections are in use");
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(answer)
}

/// Serves one connection to its end. An end of the server is its end too, after the answer that is being sent.
async fn serve(
    stream: TcpStream,
    router: Router,
    place: OwnedSemaphorePermit,
    mut ending: watch::Receiver<bool>,
) {
    // Without it each small answer may take 40 ms. A connection that is gone already says so when it is read.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Unstalled::new(stream, TAKING_PATIENCE));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_PATIENCE).max_buf_size(BUFFER_BYTES);
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = asked(&mut ending) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!("an HTTP connection broke off: {error}");
    }
    drop(place);
}
