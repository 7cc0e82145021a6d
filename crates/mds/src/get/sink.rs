//! A part of a file of the network, written to the beginning of a local file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use endpoint::download::Sink;

/// Writes what belongs at `start` of the network's file to the beginning of the local one.
#[derive(Debug)]
pub struct RangeSink {
    file: File,
    start: u64,
}

impl RangeSink {
    /// Writes to `file` what begins at `start`.
    pub const fn new(file: File, start: u64) -> Self {
        Self { file, start }
    }

    fn at(&self, offset: u64) -> io::Result<u64> {
        // The download hands over nothing but the range.
        offset.checked_sub(self.start).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
    }
}

impl Sink for RangeSink {
    fn write_at(&mut self, offset: u64, bytes: &Bytes) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at(offset)?)
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, self.at(offset)?)
    }
}
