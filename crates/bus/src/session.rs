//! Opening a session, and ending it when nobody holds it any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::connection::Connection;
use crate::error::{OpenError, Step};
use crate::event_loop::EventLoop;
use crate::in_flight::InFlight;
use crate::inbox::{self, Inbox};
use crate::message::Delivery;
use crate::options::SessionOptions;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::queue::Queue;

/// How long a session that failed to open may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects with a clean session (Q1), subscribes, checks every subscription (Q2), and returns the two ends of the session.
///
/// Retained messages may already be in the inbox then. The session ends when [`Outbox::close`] is called, when
/// anything goes wrong, or when all ends are dropped (then the broker publishes the will). Must be called within
/// a tokio runtime.
///
/// # Errors
/// [`OpenError`]: what went wrong and what to do. Nothing is left behind, and no will is published if the broker
/// can still be told so.
pub async fn open(options: SessionOptions) -> Result<(Outbox, Inbox), OpenError> {
    options.check()?;
    let mut opening = Opening { step: Step::Connect, connection: None, output: Output::default() };
    let result = match timeout(options.connect_timeout, opening.run(&options)).await {
        Ok(result) => result,
        Err(_) => Err(OpenError::TimedOut {
            broker: options.broker.clone(),
            step: opening.step,
            timeout: options.connect_timeout,
        }),
    };
    match result {
        Ok((connection, early)) => Ok(start(options, connection, opening.output, early)),
        Err(error) => {
            if let Some(mut connection) = opening.connection {
                // As far as it goes: the connection may be dead.
                let _ = timeout(GOODBYE_TIMEOUT, connection.abandon()).await;
            }
            Err(error)
        }
    }
}

/// How far it got.
struct Opening {
    step: Step,
    connection: Option<Connection>,
    output: Output,
}

impl Opening {
    async fn run(&mut self, options: &SessionOptions) -> Result<(Connection, Vec<Delivery>), OpenError> {
        let connection = self.connection.insert(Connection::open(options).await?);
        connection.introduce(options).await?;
        self.step = Step::Subscribe;
        let early = connection.subscribe(options, &mut self.output).await?;
        let connection = self.connection.take().expect("it was put there above");
        Ok((connection, early))
    }
}

fn start(
    options: SessionOptions,
    connection: Connection,
    output: Output,
    early: Vec<Delivery>,
) -> (Outbox, Inbox) {
    let queue = Arc::new(Queue::default());
    let (inbox, receiver) = inbox::channel(options.inbox_bytes);
    for delivery in early {
        inbox.send(delivery);
    }
    let (running, ended) = watch::channel(());
    let event_loop = EventLoop {
        connection,
        output,
        inbox,
        queue: queue.clone(),
        in_flight: InFlight::new(options.inflight),
        clock: Clock::new(&options),
    };
    let task = tokio::spawn(async move {
        event_loop.run().await;
        drop(running);
    });
    let guard = Arc::new(Guard { task: task.abort_handle(), ended });
    let outbox = Outbox::new(queue.clone(), &options, guard.clone());
    (outbox, receiver.into_inbox(queue, guard))
}

/// Ends the event loop when neither outbox nor inbox is left. That cuts the connection: the will is published.
#[derive(Debug)]
pub(crate) struct Guard {
    task: AbortHandle,
    ended: watch::Receiver<()>,
}

impl Guard {
    /// Waits until the event loop has ended.
    pub(crate) async fn ended(&self) {
        // Nothing is ever sent: this comes back when the sender is gone.
        let _ = self.ended.clone().changed().await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}
