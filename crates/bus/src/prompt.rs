//! Acknowledging at once, on the level of TCP.
//!
//! A broker may leave Nagle's algorithm on (Mosquitto does, unless it is told `set_tcp_nodelay true`): it then holds a small packet back
//! until everything written before is acknowledged. The system here, which has nothing to send, waits up to 40 ms with that. So each
//! PUBACK would hold up the event behind it, and a conversation of four events would take a tenth of a second.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::TcpStream;

/// A handle on the socket of a connection.
#[derive(Debug)]
pub(crate) struct Prompt {
    socket: OwnedFd,
}

impl Prompt {
    pub(crate) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self { socket: stream.as_fd().try_clone_to_owned()? })
    }

    /// Sends the acknowledgement that the system keeps back, if there is one. The system forgets the wish with the next data, so this is
    /// for after every read that is not answered with data of our own.
    pub(crate) fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        {
            // It only ever costs time. If the connection is gone, reading and writing will tell.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.socket, true);
        }
    }
}
