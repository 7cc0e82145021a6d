//! The files below a directory that are to be watched.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::FileName;

use crate::exit::{Code, Failure};
use crate::put::{last_component, name_within};

/// A directory, and how what is in it is called.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// What stands before the path from the root on.
    prefix: String,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files, those in other directories included.
    pub files: Vec<PathBuf>,
    /// Directories that could not be read.
    pub failures: Vec<Failure>,
}

impl Tree {
    /// The tree below `directory`.
    ///
    /// # Errors
    /// If it is no directory, or cannot be reached.
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let root = directory.canonicalize().map_err(|error| Failure::io("watched", directory, &error))?;
        if !root.is_dir() {
            let message = format!("{} is no directory: use 'mds put' for a file", directory.display());
            return Err(Failure::new(Code::Usage, "NOT_A_DIRECTORY", message));
        }
        let prefix = last_component(directory).map_or_else(String::new, |name| name + "/");
        Ok(Self { root, prefix })
    }

    /// The directory, without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a path of the tree is to be watched: nothing in it begins with a dot, and it does not end with `.part`.
    pub fn covers(&self, path: &Path) -> bool {
        let Ok(within) = path.strip_prefix(&self.root) else { return false };
        !within.components().any(|component| is_hidden(component.as_os_str())) && !is_part(within)
    }

    /// What a file of the tree is called in the network.
    ///
    /// # Errors
    /// If it cannot be called so.
    pub fn name(&self, path: &Path) -> Result<FileName, Failure> {
        let within = path.strip_prefix(&self.root).unwrap_or(path);
        let text = within.to_str().ok_or_else(|| {
            let message = format!("{} has a name that is not UTF-8: give it another one", path.display());
            Failure::new(Code::Usage, "INVALID_NAME", message)
        })?;
        name_within(&format!("{}{text}", self.prefix))
    }

    /// All files below a path of the tree that are to be watched; the path itself if it is one. Links to directories are not followed.
    pub fn files(&self, below: &Path) -> Walk {
        let mut walk = Walk::default();
        if below == self.root || self.covers(below) {
            self.walk(below, &mut walk);
        }
        walk
    }

    fn walk(&self, path: &Path, walk: &mut Walk) {
        let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if !is_directory {
            if path.is_file() {
                walk.files.push(path.to_owned());
            }
            return;
        }
        let listed = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        match listed {
            Ok(mut entries) => {
                entries.sort_by_key(fs::DirEntry::file_name);
                let paths = entries.iter().map(fs::DirEntry::path).filter(|path| self.covers(path));
                paths.for_each(|path| self.walk(&path, walk));
            }
            Err(error) => walk.failures.push(Failure::io("read", path, &error)),
        }
    }
}

fn is_hidden(component: &OsStr) -> bool {
    component.as_encoded_bytes().starts_with(b".")
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotfiles_and_parts_are_left_out_and_names_are_those_of_put() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("maps");
        for path in ["a", "de/b", "de/c.part", ".git/d", "de/.e", "f.parts"] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let tree = Tree::of(&root).unwrap();
        let names = |below: &Path| {
            let walk = tree.files(below);
            assert_eq!(walk.failures, []);
            walk.files.iter().map(|path| tree.name(path).unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(tree.root()), ["maps/a", "maps/de/b", "maps/f.parts"]);
        assert_eq!(names(&tree.root().join("de")), ["maps/de/b"]);
        assert_eq!(names(&tree.root().join("de/c.part")), [""; 0]);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn what_is_no_directory_is_told_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Tree::of(file.path()).unwrap_err().reason, "NOT_A_DIRECTORY");
        assert_eq!(Tree::of(Path::new("/nonexistent/x")).unwrap_err().code, Code::Failed);
    }
}
