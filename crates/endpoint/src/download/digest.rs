//! The digest of a whole file whose bytes come in any order.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use protocol::{Hash, Hasher};

const READ_BACK_BYTES: usize = 256 << 10;

/// Hashes a file in order while its bytes come in any order: what comes early waits in memory or, if there is too much of it, is read
/// back from where it was written.
#[derive(Debug)]
pub struct InOrderDigest {
    hasher: Hasher,
    at: u64,
    early: BTreeMap<u64, Bytes>,
    early_bytes: u64,
    most_early_bytes: u64,
    /// Offset and length of what can be read back.
    written: BTreeMap<u64, u64>,
}

impl InOrderDigest {
    /// The digest of nothing yet. At most `most_early_bytes` of what comes early are kept in memory. The `written` parts (offset and
    /// length in bytes) can be read back already.
    #[must_use]
    pub fn new(most_early_bytes: u64, written: impl IntoIterator<Item = (u64, u64)>) -> Self {
        Self {
            hasher: Hasher::new(),
            at: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            most_early_bytes,
            written: written.into_iter().filter(|(_, length)| *length > 0).collect(),
        }
    }

    /// Takes bytes that were written at `offset`.
    ///
    /// # Errors
    /// If `read_back` fails.
    pub fn take(
        &mut self,
        offset: u64,
        bytes: &Bytes,
        read_back: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if offset == self.at {
            self.hasher.update(bytes);
            self.at += bytes.len() as u64;
        } else {
            self.early_bytes += bytes.len() as u64;
            self.early.insert(offset, bytes.clone());
        }
        self.catch_up(read_back)?;
        while self.early_bytes > self.most_early_bytes
            && let Some((offset, bytes)) = self.early.pop_last()
        {
            self.early_bytes -= bytes.len() as u64;
            self.written.insert(offset, bytes.len() as u64);
        }
        Ok(())
    }

    /// Hashes what is there already and whose turn it is.
    ///
    /// # Errors
    /// If `read_back` fails.
    pub fn catch_up(
        &mut self,
        mut read_back: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            if let Some(bytes) = self.early.remove(&self.at) {
                self.early_bytes -= bytes.len() as u64;
                self.hasher.update(&bytes);
                self.at += bytes.len() as u64;
            } else if let Some(length) = self.written.remove(&self.at) {
                let end = self.at + length;
                while self.at < end {
                    let part = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(READ_BACK_BYTES);
                    buffer.resize(part, 0);
                    read_back(self.at, &mut buffer)?;
                    self.hasher.update(&buffer);
                    self.at += part as u64;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// How many bytes from the start of the file have been hashed.
    #[must_use]
    pub const fn hashed_bytes(&self) -> u64 {
        self.at
    }

    /// The digest of what has been hashed.
    #[must_use]
    pub fn finish(self) -> Hash {
        self.hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_gives_the_digest_of_the_file() {
        // 40 parts of 1 MiB: the last come first, so that most do not fit in memory and are read back.
        const PART: usize = 1 << 20;
        let content: Vec<u8> = (0..40 * PART).map(|at| (at / 1000) as u8).collect();
        let content = Bytes::from(content);
        let mut read_back_bytes = 0;
        let mut read_back = |offset: u64, bytes: &mut [u8]| {
            read_back_bytes += bytes.len();
            let at = usize::try_from(offset).unwrap();
            bytes.copy_from_slice(&content[at..at + bytes.len()]);
            Ok(())
        };
        // The first part was there from an earlier attempt.
        let mut digest = InOrderDigest::new(16 << 20, [(0, PART as u64)]);
        for part in (1..40).rev() {
            let part = part * PART;
            digest.take(part as u64, &content.slice(part..part + PART), &mut read_back).unwrap();
            assert!(digest.early_bytes <= 16 << 20);
        }
        digest.catch_up(&mut read_back).unwrap();
        assert_eq!(digest.hashed_bytes(), content.len() as u64);
        assert_eq!(digest.finish(), Hash::of(&content));
        assert!(read_back_bytes >= PART, "{read_back_bytes}");
    }

    #[test]
    fn a_gap_is_not_jumped_over() {
        let mut digest = InOrderDigest::new(10, []);
        digest.take(5, &Bytes::from_static(b"x"), |_, _| Ok(())).unwrap();
        assert_eq!(digest.hashed_bytes(), 0);
    }
}
