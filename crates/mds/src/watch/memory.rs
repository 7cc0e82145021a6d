//! What was put already: one line of JSON a file, appended as it is put.
//!
//! Losing a line costs a digest, not an upload: the network is asked whether it has what has that digest. So nothing here is flushed, and a
//! line that cannot be read is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use protocol::Hash;
use serde::{Deserialize, Serialize};

use super::settling::Stamp;
use crate::exit::{Code, Failure};

/// A file that was put.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    size_bytes: u64,
    modified_ns: u64,
    digest: String,
}

/// What was put already. The file that holds it is locked: two watches of one directory would do everything twice.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    file: File,
    /// By name: how the file was when it was put.
    stamps: BTreeMap<String, Stamp>,
    digests: BTreeSet<String>,
}

impl Memory {
    /// Reads what an earlier watch has left at `path`, or begins with nothing.
    ///
    /// # Errors
    /// If another watch has it, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let io = |doing: &'static str| move |error: io::Error| Failure::io(doing, path, &error);
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = opened.map_err(io("written"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is in use: another 'mds watch' does this already", path.display());
                return Err(Failure::new(Code::Failed, "BUSY", message));
            }
            Err(TryLockError::Error(error)) => return Err(io("locked")(error)),
        }
        let mut memory =
            Self { path: path.to_owned(), file, stamps: BTreeMap::new(), digests: BTreeSet::new() };
        memory.read().map_err(io("read"))?;
        Ok(memory)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut ends_with_a_line = true;
        let mut reader = BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes)? > 0 {
            ends_with_a_line = bytes.ends_with(b"\n");
            if let Ok(line) = serde_json::from_slice::<Line>(&bytes) {
                let stamp = Stamp { size_bytes: line.size_bytes, modified_ns: line.modified_ns };
                self.stamps.insert(line.name, stamp);
                self.digests.insert(line.digest);
            }
            bytes.clear();
        }
        // What a crash has cut off must not spoil the next line.
        if ends_with_a_line { Ok(()) } else { self.file.write_all(b"\n") }
    }

    /// Whether the file was put when it was like this.
    pub fn knows(&self, name: &str, stamp: Stamp) -> bool {
        self.stamps.get(name) == Some(&stamp)
    }

    /// Whether a file with this digest was put, under whatever name.
    pub fn knows_digest(&self, digest: &Hash) -> bool {
        self.digests.contains(&digest.to_string())
    }

    /// The file was put.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn record(&mut self, name: &str, stamp: Stamp, digest: &Hash) -> Result<(), Failure> {
        let Stamp { size_bytes, modified_ns } = stamp;
        let line = Line { name: name.to_owned(), size_bytes, modified_ns, digest: digest.to_string() };
        let mut bytes =
            serde_json::to_vec(&line).map_err(|error| Failure::io("written", &self.path, &error.into()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(|error| Failure::io("written", &self.path, &error))?;
        self.stamps.insert(line.name, stamp);
        self.digests.insert(line.digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { size_bytes: 1, modified_ns: 2 };

    #[test]
    fn what_was_put_is_known_after_a_restart_also_where_a_line_is_broken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let (one, two) = (Hash::of(b"1"), Hash::of(b"2"));
        let mut memory = Memory::open(&path).unwrap();
        memory.record("a\nb", STAMP, &one).unwrap();
        drop(memory);
        // Somebody lost power in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"name\": \"c").unwrap();
        let mut memory = Memory::open(&path).unwrap();
        assert!(memory.knows("a\nb", STAMP) && memory.knows_digest(&one));
        memory.record("d", STAMP, &two).unwrap();
        drop(memory);
        let memory = Memory::open(&path).unwrap();
        assert!(memory.knows("a\nb", STAMP) && memory.knows("d", STAMP) && memory.knows_digest(&two));
        assert!(!memory.knows("c", STAMP));
        assert!(!memory.knows("d", Stamp { modified_ns: 3, ..STAMP }));
    }

    #[test]
    fn two_watches_do_not_share_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = Memory::open(&path).unwrap();
        assert_eq!(Memory::open(&path).unwrap_err().reason, "BUSY");
        drop(first);
        Memory::open(&path).unwrap();
    }
}
