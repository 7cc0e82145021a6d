//! The data directory: what lies where, whose it is, and in which format.
//!
//! ```text
//! DATA_DIR/lock          locked while a process has the store open
//! DATA_DIR/format        two lines: "mds-store 2 <id>", where 2 is the version of everything below; "starts <n>"
//! DATA_DIR/db/           sled: the view, the meta values, the index of the fragments
//! DATA_DIR/segments/     the fragments' bytes; see `fragments::record` for the layout
//! DATA_DIR/db.damaged-N  a database that could not be opened
//! ```
//!
//! In version 1 the records of the segments had no checksum of their payload; they are read as they are.
//!
//! The id is made with the store and ties segments to their index. Id and number of starts are not in the database, so
//! that they survive its loss: a torrent whose number of starts went back would not be believed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use uuid::Uuid;

use crate::store::OpenError;

/// The version of the format that this code writes.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The oldest version that it reads. Older programs would not understand what it writes into such a store: it becomes one
/// of this version.
const OLDEST_VERSION: u32 = 1;
const FORMAT_NAME: &str = "mds-store";
/// Longer than any format file of ours.
const MAX_FORMAT_BYTES: u64 = 4096;

/// Locks the data directory, which is made if need be. It is unlocked when the file is dropped.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let io_error = |error| OpenError::io(directory, error);
    fs::create_dir_all(directory).map_err(io_error)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("lock"));
    let file = file.map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(error)),
    }
}

/// Who a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Made with the store.
    pub id: Uuid,
    /// How often it was opened, this time included.
    pub starts: u64,
}

/// Counts one more start of the store in `directory`, durably; a new store gets an id.
pub(crate) fn start(directory: &Path) -> Result<Identity, OpenError> {
    let io_error = |error| OpenError::io(directory, error);
    let wrong = |found| OpenError::WrongFormat { directory: directory.to_owned(), found };
    let before = match read_format(&directory.join("format")).map_err(io_error)? {
        Some(text) => parse_format(&text).ok_or_else(|| wrong(text))?,
        None if ["db", "segments"].iter().any(|name| directory.join(name).exists()) => {
            return Err(wrong("no format file".to_owned()));
        }
        None => Identity { id: Uuid::new_v4(), starts: 0 },
    };
    let identity = Identity { starts: before.starts.saturating_add(1), ..before };
    write_format(directory, identity).map_err(io_error)?;
    Ok(identity)
}

fn read_format(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FORMAT_BYTES => Ok(Some("a long file".to_owned())),
        Ok(_) => Ok(Some(String::from_utf8_lossy(&fs::read(path)?).trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_format(text: &str) -> Option<Identity> {
    let (format, starts) = text.split_once("\nstarts ")?;
    let (version, id) = format.strip_prefix(FORMAT_NAME)?.strip_prefix(' ')?.split_once(' ')?;
    if !(OLDEST_VERSION..=FORMAT_VERSION).any(|known| known.to_string() == version) {
        return None;
    }
    Some(Identity { id: Uuid::try_parse(id).ok()?, starts: starts.parse().ok()? })
}

/// Written beside and renamed, so that a crash leaves the old one or the new one.
fn write_format(directory: &Path, identity: Identity) -> io::Result<()> {
    let part = directory.join("format.part");
    let mut file = File::create(&part)?;
    let Identity { id, starts } = identity;
    write!(file, "{FORMAT_NAME} {FORMAT_VERSION} {id}\nstarts {starts}\n")?;
    file.sync_all()?;
    fs::rename(&part, directory.join("format"))?;
    File::open(directory)?.sync_all()?;
    // The data directory itself may be new too; whoever may not read its parent does without.
    if let Some(parent) = directory.parent().and_then(|parent| File::open(parent).ok()) {
        parent.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_its_id_and_counts_its_starts() {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path()).unwrap();
        assert_eq!(first.starts, 1);
        assert_eq!(start(directory.path()).unwrap(), Identity { starts: 2, ..first });
    }

    #[test]
    fn a_store_of_the_first_version_becomes_one_of_this() {
        let directory = tempfile::tempdir().unwrap();
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        fs::write(directory.path().join("format"), format!("mds-store 1 {id}\nstarts 6\n")).unwrap();
        let identity = start(directory.path()).unwrap();
        assert_eq!(identity, Identity { id: Uuid::try_parse(id).unwrap(), starts: 7 });
        let format = fs::read_to_string(directory.path().join("format")).unwrap();
        assert_eq!(format, format!("mds-store 2 {id}\nstarts 7\n"));
    }

    #[test]
    fn a_start_that_was_cut_off_leaves_the_store_what_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path()).unwrap();
        let whole = fs::read_to_string(directory.path().join("format")).unwrap();
        for (part, starts) in [&whole[..0], &whole[..9], &whole[..]].into_iter().zip(2..) {
            fs::write(directory.path().join("format.part"), part).unwrap();
            assert_eq!(start(directory.path()).unwrap(), Identity { starts, ..first });
        }
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let texts = [
            String::new(),
            "\u{1}".into(),
            format!("mds-store 1 {id}"),
            format!("mds-store 0 {id}\nstarts 1"),
            format!("mds-store 3 {id}\nstarts 1"),
            format!("mds-store 02 {id}\nstarts 1"),
        ];
        for found in texts {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("format"), &found).unwrap();
            let error = start(directory.path()).unwrap_err();
            assert!(matches!(&error, OpenError::WrongFormat { .. }), "{error}");
            assert_eq!(fs::read_to_string(directory.path().join("format")).unwrap(), found);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("db")).unwrap();
        assert!(matches!(start(directory.path()), Err(OpenError::WrongFormat { .. })));
    }
}
