//! The bus: the only crate that speaks MQTT.
//!
//! One session is one connection. [`open`] connects, subscribes and checks every subscription; at the first
//! error the session is over, the [`Inbox`] says why, and the owner opens a new one (after a [`Backoff`]).
//! Nothing is sent again from an old session: what matters is asked for again by the events themselves.
//!
//! What would surprise: incoming messages are acknowledged to the broker before anybody has looked at them.
//! With clean sessions a broker does not deliver an unacknowledged message again after a reconnect, so a later
//! acknowledgement would promise nothing. In the same way a PUBACK for what we publish says only that the
//! broker has it. The acknowledgements that count are the replies in the protocol.

mod backoff;
mod broker_url;
mod clock;
mod connection;
mod error;
mod event_loop;
mod in_flight;
mod inbox;
mod input;
mod message;
mod options;
mod outbox;
mod output;
mod prompt;
mod queue;
mod session;
mod tls;

pub use backoff::Backoff;
pub use broker_url::{BrokerUrl, InvalidBrokerUrl};
pub use error::{CloseError, LossReason, OpenError, PublishError, Refusal, SessionLost, Step, TlsError};
pub use inbox::Inbox;
pub use message::{Delivery, Message};
pub use options::SessionOptions;
pub use outbox::Outbox;
pub use session::open;
