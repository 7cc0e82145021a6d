//! HTTP by hand: what is written to the socket, and what comes back, byte for byte.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields, their names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body as far as it came. The connection is closed behind it.
    pub body: Vec<u8>,
}

impl Answer {
    /// A field's value; none if it is not there.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Some(Self { status, fields: fields.collect(), body: bytes[end + 4..].to_vec() })
    }
}

/// Asks `host:port` and reads until the connection is closed.
///
/// # Panics
/// If no answer comes.
pub async fn request(address: &str, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    answer(
        address,
        &format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n"),
    )
    .await
}

/// GET under a name that need not be the one of `address`.
///
/// # Panics
/// As [`request`].
pub async fn get_under(address: &str, host: &str, path: &str) -> Answer {
    answer(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

/// GET by a client so old that it names no host.
///
/// # Panics
/// As [`request`].
pub async fn get_under_no_name(address: &str, path: &str) -> Answer {
    answer(address, &format!("GET {path} HTTP/1.0\r\n\r\n")).await
}

async fn answer(address: &str, head: &str) -> Answer {
    let asked = head.lines().next().unwrap_or_default();
    let answered = exchange(address, head.as_bytes()).await;
    let bytes = answered.unwrap_or_else(|error| panic!("{asked} at {address}: {error}"));
    Answer::of(&bytes).unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)))
}

/// GET without any field.
///
/// # Panics
/// As [`request`].
pub async fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, &[]).await
}

/// Writes these bytes and reads until the connection is closed. One that breaks off has said what it had to say.
///
/// # Errors
/// If nobody answers, or the connection stays open.
pub async fn exchange(address: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    let patience: Duration = DEADLINE;
    match timeout(patience, stream.read_to_end(&mut answer)).await? {
        Err(error) if answer.is_empty() => Err(error),
        Ok(_) | Err(_) => Ok(answer),
    }
}
