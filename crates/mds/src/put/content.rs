//! The bytes that are put: read in order, hashed once, and read again from where the tracker has them.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::{Bytes, BytesMut};
use protocol::{Hash, Hasher};

/// A file or a stream from its beginning on.
pub struct Content {
    reader: Reader,
    /// The next byte that [`read`](Self::read) gives.
    at: u64,
    /// Bytes that the digest covers; what is read again is not hashed again.
    hashed_bytes: u64,
    hasher: Hasher,
}

enum Reader {
    /// Can go back by itself.
    File(File),
    /// Cannot: what may be needed again is kept, from `kept_from` on.
    Stream { stream: Box<dyn Read + Send>, is_at_end: bool, kept: VecDeque<Bytes>, kept_from: u64 },
}

impl Content {
    /// A file that can be read again.
    pub fn of_file(file: File) -> Self {
        Self::new(Reader::File(file))
    }

    /// A stream that can be read only once.
    pub fn of_stream(stream: impl Read + Send + 'static) -> Self {
        Self::new(Reader::Stream {
            stream: Box::new(stream),
            is_at_end: false,
            kept: VecDeque::new(),
            kept_from: 0,
        })
    }

    fn new(reader: Reader) -> Self {
        Self { reader, at: 0, hashed_bytes: 0, hasher: Hasher::new() }
    }

    /// Where the next byte is.
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// Whether everything read since the last [`release`](Self::release) is kept in memory.
    pub const fn keeps_what_it_reads(&self) -> bool {
        matches!(self.reader, Reader::Stream { .. })
    }

    /// The next bytes: `most`, or fewer at the end.
    pub fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let bytes = match &mut self.reader {
            Reader::File(file) => fill(file, most)?,
            Reader::Stream { stream, is_at_end, kept, kept_from } => {
                let again = again(kept, *kept_from, self.at, most);
                if again.is_empty() && !*is_at_end {
                    let bytes = fill(stream, most)?;
                    // A terminal would have to be told its end twice.
                    *is_at_end = bytes.len() < most;
                    kept.push_back(bytes.clone());
                    bytes
                } else {
                    again
                }
            }
        };
        let end = self.at + bytes.len() as u64;
        if end > self.hashed_bytes {
            let known = usize::try_from(self.hashed_bytes.saturating_sub(self.at)).unwrap_or(bytes.len());
            self.hasher.update(&bytes[known..]);
            self.hashed_bytes = end;
        }
        self.at = end;
        Ok(bytes)
    }

    /// Goes back to `to`. False if what was read there is no longer known.
    pub fn rewind(&mut self, to: u64) -> io::Result<bool> {
        if to > self.hashed_bytes {
            return Ok(false);
        }
        match &mut self.reader {
            Reader::File(file) => {
                file.seek(SeekFrom::Start(to))?;
            }
            Reader::Stream { kept_from, .. } if to < *kept_from => return Ok(false),
            Reader::Stream { .. } => {}
        }
        self.at = to;
        Ok(true)
    }

    /// Says that nothing before `until` will be needed again.
    pub fn release(&mut self, until: u64) {
        if let Reader::Stream { kept, kept_from, .. } = &mut self.reader {
            while let Some(first) = kept.front()
                && *kept_from + first.len() as u64 <= until
            {
                *kept_from += first.len() as u64;
                kept.pop_front();
            }
        }
    }

    /// The digest of all that was read.
    pub fn digest(&self) -> Hash {
        self.hasher.clone().finish()
    }
}

/// What is kept at `at`: up to `most` bytes, but not beyond one piece, so that pieces come again as they came first.
fn again(kept: &VecDeque<Bytes>, kept_from: u64, at: u64, most: usize) -> Bytes {
    let mut from = kept_from;
    for piece in kept {
        let to = from + piece.len() as u64;
        if at < to && !piece.is_empty() {
            let start = usize::try_from(at.saturating_sub(from)).unwrap_or(piece.len());
            return piece.slice(start..piece.len().min(start.saturating_add(most)));
        }
        from = to;
    }
    Bytes::new()
}

/// Reads until `most` bytes are there or the end is.
fn fill(reader: &mut impl Read, most: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(most);
    let mut filled = 0;
    while filled < most {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.freeze())
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"abcdefghij";

    /// The same bytes as a file and as a stream that gives one byte at a time.
    fn both() -> [Content; 2] {
        struct Slow(&'static [u8]);
        impl Read for Slow {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                let one = bytes.len().min(1);
                self.0.read(&mut bytes[..one])
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(TEXT).unwrap();
        file.rewind().unwrap();
        [Content::of_file(file), Content::of_stream(Slow(TEXT))]
    }

    #[test]
    fn pieces_are_full_until_the_end() {
        for mut content in both() {
            for expected in ["abcd", "efgh", "ij", "", ""] {
                assert_eq!(content.read(4).unwrap(), expected);
            }
            assert_eq!(content.digest(), Hash::of(TEXT));
        }
    }

    #[test]
    fn what_is_read_again_is_the_same_and_hashed_once() {
        for mut content in both() {
            for _ in 0..3 {
                assert!(content.read(3).is_ok());
            }
            assert!(content.rewind(3).unwrap());
            for expected in ["def", "ghi", "j", ""] {
                assert_eq!(content.read(3).unwrap(), expected);
            }
            assert_eq!(content.digest(), Hash::of(TEXT));
        }
    }

    #[test]
    fn a_stream_forgets_what_was_released_and_a_file_does_not() {
        let [mut file, mut stream] = both();
        for content in [&mut file, &mut stream] {
            content.read(4).unwrap();
            content.read(4).unwrap();
            content.release(6);
        }
        assert!(file.rewind(0).unwrap());
        // The piece that holds the byte before 6 is still needed for the bytes behind it.
        assert!(stream.rewind(4).unwrap());
        assert!(!stream.rewind(3).unwrap());
    }

    #[test]
    fn nobody_goes_on_where_nothing_was_read() {
        for mut content in both() {
            content.read(4).unwrap();
            assert!(!content.rewind(5).unwrap());
        }
    }
}
