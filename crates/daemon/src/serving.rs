//! The servers of a daemon, gRPC and HTTP, from their start to their orderly end.

use endpoint::{Question, ServeError, Services};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::error;

use crate::http::HttpServer;

/// The running servers.
#[derive(Debug)]
pub struct Serving {
    end: watch::Sender<()>,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl Serving {
    /// Serves `services` on `listener` in a task of its own, and takes care of the end of `http`, which runs already.
    #[must_use]
    pub fn start(listener: TcpListener, services: Services, http: Option<HttpServer>) -> Self {
        let (end, mut ending) = watch::channel(());
        let mut http_ending = ending.clone();
        let ended = tokio::spawn(async move {
            // Nothing is ever sent: an event loop that is gone ends the servers too.
            let grpc = endpoint::serve(listener, services, async {
                let _ = ending.changed().await;
            });
            let http = async {
                let _ = http_ending.changed().await;
                if let Some(http) = http {
                    http.finish().await;
                }
            };
            tokio::join!(grpc, http).0
        });
        Self { end, ended }
    }

    /// Ends the servers: open streams may go on for a while, and until then their questions are answered.
    pub async fn finish(
        mut self,
        questions: &mut mpsc::Receiver<Question>,
        mut answer: impl FnMut(Question),
    ) {
        drop(self.end);
        loop {
            tokio::select! {
                biased;
                ended = &mut self.ended => {
                    if let Ok(Err(error)) = ended {
                        error!("{error}");
                    }
                    return;
                }
                Some(question) = questions.recv() => answer(question),
            }
        }
    }
}
