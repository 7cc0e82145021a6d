//! `NAME.part`: a file that is not complete yet.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use endpoint::client::FragmentPlace;
use endpoint::download::verified_fragments;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::exit::{Code, Failure};

/// An open `.part`, locked: two downloads to the same place do not mix.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Opens what an earlier attempt left for `target`, or makes it; it is cut to `size_bytes`.
    ///
    /// # Errors
    /// If `target` is there and may not be overwritten, or another download is under way, or the disk refuses.
    pub fn open(target: &Path, overwrite: bool, size_bytes: u64) -> Result<Self, Failure> {
        match target.metadata() {
            Ok(there) if there.is_dir() => return Err(in_the_way(target, "is a directory")),
            // To rename over a device or a pipe would replace it, and not write to it.
            Ok(there) if !there.is_file() => {
                return Err(in_the_way(target, "is no regular file ('-' is standard output)"));
            }
            Ok(_) | Err(_) => {}
        }
        if !overwrite && target.symlink_metadata().is_ok() {
            return Err(exists(target));
        }
        let mut path = OsString::from(target);
        path.push(".part");
        let path = PathBuf::from(path);
        // Somebody else may have put a link there, to a file that is not to be written to.
        if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
            return Err(in_the_way(
                target,
                &format!("cannot be begun: {} is no regular file", path.display()),
            ));
        }
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
        let opened = options.open(&path);
        let file = opened.map_err(|error| Failure::io("written", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "{} is being downloaded already: wait for it, or use another --output",
                    target.display()
                );
                return Err(Failure::new(Code::Failed, "BUSY", message));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::io("locked", &path, &error)),
        }
        let part = Self { file, path };
        let length = part.io("read", part.file.metadata())?.len();
        if length > size_bytes {
            part.io("cut", part.file.set_len(size_bytes))?;
        }
        Ok(part)
    }

    /// Which of `fragments` are there already, by their indices, if the part holds `range` of the file. Reads all that is there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn verified(&self, fragments: &[FragmentPlace], range: &Range<u64>) -> Result<Vec<usize>, Failure> {
        // Only what lies wholly within the range can be compared with its name.
        let within = fragments.iter().enumerate().filter_map(|(index, fragment)| {
            let offset_bytes = fragment.offset_bytes.checked_sub(range.start)?;
            let end = fragment.offset_bytes.checked_add(fragment.size_bytes)?;
            (end <= range.end).then(|| (index, FragmentPlace { offset_bytes, ..fragment.clone() }))
        });
        let (indices, places): (Vec<usize>, Vec<FragmentPlace>) = within.unzip();
        let verified = self.io("read", verified_fragments(&self.file, &places))?;
        Ok(verified.into_iter().filter_map(|place| indices.get(place).copied()).collect())
    }

    /// The file, to write to.
    ///
    /// # Errors
    /// If the process may have no more files open.
    pub fn file(&self) -> Result<File, Failure> {
        self.io("opened again", self.file.try_clone())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the name `target`.
    ///
    /// # Errors
    /// If `target` has come into being meanwhile and may not be overwritten, or the disk refuses.
    pub fn finish(self, target: &Path, overwrite: bool) -> Result<(), Failure> {
        let renamed = if overwrite {
            // What is overwritten is as private as it was.
            let kept = target.metadata().ok().map(|there| self.file.set_permissions(there.permissions()));
            kept.unwrap_or(Ok(())).and_then(|()| fs::rename(&self.path, target))
        } else {
            rename_to_new(&self.path, target)
        };
        renamed.map_err(|error| match error.kind() == io::ErrorKind::AlreadyExists {
            true => exists(target),
            false => Failure::io("written", target, &error),
        })
    }

    fn io<T>(&self, doing: &str, result: io::Result<T>) -> Result<T, Failure> {
        result.map_err(|error| Failure::io(doing, &self.path, &error))
    }
}

fn in_the_way(target: &Path, why: &str) -> Failure {
    Failure::new(Code::Failed, "EXISTS", format!("{} {why}: use another --output", target.display()))
}

fn exists(target: &Path) -> Failure {
    let message =
        format!("{} is there already: overwrite it with -f, or use another --output", target.display());
    Failure::new(Code::Failed, "EXISTS", message)
}

/// Renames unless `to` is there. Where the file system cannot do both at once, it looks first.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use protocol::Hash;
    use rustix::fs::{FileType, Mode, mknodat};

    use super::*;

    fn places(sizes: &[u64], content: &[u8]) -> Vec<FragmentPlace> {
        let mut offset_bytes = 0;
        let place = |size_bytes: &u64| {
            let (from, to) = (offset_bytes as usize, (offset_bytes + size_bytes) as usize);
            let hash = Hash::of(&content[from..to]);
            let place = FragmentPlace { hash, size_bytes: *size_bytes, offset_bytes, holders: vec![] };
            offset_bytes += size_bytes;
            place
        };
        sizes.iter().map(place).collect()
    }

    #[test]
    fn what_an_earlier_attempt_left_is_verified_fragment_by_fragment() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let places = places(&[4, 4, 4, 2], b"aaaabbbbccccdd");
        fs::write(directory.path().join("x.part"), b"aaaaXbbbccccdd and more").unwrap();
        let part = Part::open(&target, false, 14).unwrap();
        assert_eq!(part.verified(&places, &(0..14)).unwrap(), [0, 2, 3]);
        assert_eq!(fs::read(part.path()).unwrap(), b"aaaaXbbbccccdd");
    }

    #[test]
    fn of_a_range_only_whole_fragments_count() {
        let directory = tempfile::tempdir().unwrap();
        let places = places(&[4, 4, 4, 2], b"aaaabbbbccccdd");
        fs::write(directory.path().join("x.part"), b"aabbbbccccd").unwrap();
        let part = Part::open(&directory.path().join("x"), false, 11).unwrap();
        assert_eq!(part.verified(&places, &(2..13)).unwrap(), [1, 2]);
    }

    #[test]
    fn nothing_is_overwritten_unless_told() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let part = Part::open(&target, false, 3).unwrap();
        part.file().unwrap().write_all_at(b"new", 0).unwrap();
        // It comes into being while the download runs.
        fs::write(&target, b"old").unwrap();
        assert_eq!(part.finish(&target, false).unwrap_err().reason, "EXISTS");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(Part::open(&target, false, 3).unwrap_err().reason, "EXISTS");
        Part::open(&target, true, 3).unwrap().finish(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn what_is_no_regular_file_is_neither_replaced_nor_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let refusal = |target: &Path| {
            let failure = Part::open(target, true, 3).unwrap_err();
            assert_eq!(failure.reason, "EXISTS");
            failure.message
        };
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(refusal(&path("pipe")).contains("is no regular file"));
        assert!(refusal(Path::new("/dev/null")).contains("'-' is standard output"));
        assert!(refusal(directory.path()).contains("is a directory"));

        fs::write(path("precious"), b"precious").unwrap();
        std::os::unix::fs::symlink(path("precious"), path("x.part")).unwrap();
        assert!(refusal(&path("x")).contains("x.part is no regular file"));
        std::os::unix::fs::symlink(path("not there yet"), path("y.part")).unwrap();
        refusal(&path("y"));
        assert!(!path("not there yet").exists());
        assert_eq!(fs::read(path("precious")).unwrap(), b"precious");
    }

    #[test]
    fn what_is_overwritten_stays_private() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        fs::write(&target, b"old").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
        Part::open(&target, true, 3).unwrap().finish(&target, true).unwrap();
        assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn two_downloads_to_the_same_place_do_not_mix() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let first = Part::open(&target, false, 3).unwrap();
        assert_eq!(Part::open(&target, false, 3).unwrap_err().reason, "BUSY");
        drop(first);
        Part::open(&target, false, 3).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let failure = Part::open(Path::new("/nonexistent/x"), false, 3).unwrap_err();
        assert!(failure.message.contains("/nonexistent/x.part"), "{failure:?}");
    }
}
