//! Where a download goes. Called on a thread that may block.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// Takes verified bytes. Offsets are those in the file, also if only a range of it is downloaded.
pub trait Sink: Send + 'static {
    /// Takes bytes that belong at `offset`. Each byte comes once, in no particular order.
    ///
    /// # Errors
    /// Ends the download.
    fn write_at(&mut self, offset: u64, bytes: &Bytes) -> io::Result<()>;

    /// Reads back what was taken, now or in an earlier attempt. Only the digest of the whole file needs it, and only for what it could not
    /// keep in memory until it was its turn.
    ///
    /// # Errors
    /// Ends the download.
    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// A file that is written in place.
#[derive(Debug)]
pub struct FileSink(pub File);

impl Sink for FileSink {
    fn write_at(&mut self, offset: u64, bytes: &Bytes) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

/// A stream that takes bytes in order only, such as standard output. Give the download a
/// [`window`](super::DownloadOptions::window_bytes): what comes early is kept in memory.
#[derive(Debug)]
pub struct InOrderSink<W> {
    out: W,
    at: u64,
    early: BTreeMap<u64, Bytes>,
}

impl<W: Write> InOrderSink<W> {
    /// A stream that takes the bytes of the file from `start` on.
    pub const fn new(out: W, start: u64) -> Self {
        Self { out, at: start, early: BTreeMap::new() }
    }

    /// The stream.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write + Send + 'static> Sink for InOrderSink<W> {
    fn write_at(&mut self, offset: u64, bytes: &Bytes) -> io::Result<()> {
        self.early.insert(offset, bytes.clone());
        while let Some(next) = self.early.remove(&self.at) {
            self.out.write_all(&next)?;
            self.at += next.len() as u64;
        }
        Ok(())
    }

    fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a stream cannot be read back: use a smaller window"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gets_its_bytes_in_order() {
        let mut sink = InOrderSink::new(Vec::new(), 10);
        for (offset, text) in [(13, "de"), (10, "a"), (15, "f"), (11, "bc")] {
            sink.write_at(offset, &Bytes::from_static(text.as_bytes())).unwrap();
        }
        assert_eq!(sink.into_inner(), b"abcdef");
    }
}
