//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use crate::Supervisor;

/// Whether the daemon should end. Clones see the same request.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    /// Listens to the process's signals, and tells the service manager of the first.
    ///
    /// # Errors
    /// If the system refuses to deliver signals.
    pub fn on_signals(supervisor: Supervisor) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (request, requested) = watch::channel(false);
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                count += 1;
                if count > 1 {
                    eprintln!("ended at once by a second signal");
                    std::process::exit(1);
                }
                info!("shutting down; a second signal ends at once");
                supervisor.stopping();
                request.send_replace(true);
            }
        });
        Ok(Self { requested })
    }

    /// Waits until the daemon should end.
    pub async fn requested(&mut self) {
        if self.requested.wait_for(|requested| *requested).await.is_err() {
            // Whoever could ask is gone, so nobody will.
            std::future::pending::<()>().await;
        }
    }
}
