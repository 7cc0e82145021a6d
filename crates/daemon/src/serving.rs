//! The gRPC server of a daemon, from its start to its orderly end.

use endpoint::{Question, ServeError, Services};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::error;

/// A running server.
#[derive(Debug)]
pub struct Serving {
    end: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl Serving {
    /// Serves `services` on `listener` in a task of its own.
    #[must_use]
    pub fn start(listener: TcpListener, services: Services) -> Self {
        let (end, ending) = oneshot::channel::<()>();
        let ended = tokio::spawn(endpoint::serve(listener, services, async {
            // An event loop that is gone ends the server too.
            let _ = ending.await;
        }));
        Self { end, ended }
    }

    /// Ends the server: open streams may go on for a while, and until then their questions are answered.
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
