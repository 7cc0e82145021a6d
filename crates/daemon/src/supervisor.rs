//! Tells the service manager how the daemon does, where there is one that asks: systemd, with `Type=notify`.
//!
//! A manager that cannot be told is no reason not to run, so nothing here fails.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// Where the manager listens: a path, or a name behind `@`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The store is open and the Endpoint serves. The broker may still be missing: [`Supervisor::status`] tells.
const READY: &str = "READY=1";
const STOPPING: &str = "STOPPING=1";

/// The service manager, if there is one. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    socket: Option<OsString>,
}

impl Supervisor {
    /// The one that started this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { socket: std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) }
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.tell(READY);
    }

    /// The daemon was asked to end and does so.
    pub fn stopping(&self) {
        self.tell(STOPPING);
    }

    /// One line for people: what `systemctl status` shows.
    pub fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", text.replace('\n', " ")));
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = send(socket, message)
        {
            warn!("the service manager at {} cannot be told {message:?}: {error}", socket.display());
        }
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold up the daemon.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_hears_that_the_daemon_is_ready_how_it_does_and_that_it_stops() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor { socket: Some(path.into()) };
        supervisor.ready();
        assert_eq!(heard(&listener), "READY=1");
        supervisor.status("two\nlines");
        assert_eq!(heard(&listener), "STATUS=two lines");
        supervisor.stopping();
        assert_eq!(heard(&listener), "STOPPING=1");
    }

    #[test]
    fn a_manager_may_listen_on_an_abstract_name() {
        let name = format!("mds-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        Supervisor { socket: Some(format!("@{name}").into()) }.ready();
        assert_eq!(heard(&listener), "READY=1");
    }

    #[test]
    fn a_manager_that_is_missing_or_gone_does_no_harm() {
        Supervisor::default().ready();
        Supervisor { socket: Some("/nowhere/notify".into()) }.ready();
        Supervisor { socket: Some("x".repeat(1000).into()) }.ready();
    }
}
