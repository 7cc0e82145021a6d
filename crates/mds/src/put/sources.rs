//! What is to be put: which files, and under which names.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use protocol::FileName;

use crate::cli::Put;
use crate::exit::{Code, Failure};

/// One file to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of the disk, or whatever can be read at this path.
    Path {
        /// Where it is.
        path: PathBuf,
        /// What it is to be called.
        name: FileName,
    },
    /// Standard input.
    Stdin {
        /// What it is to be called, if told.
        name: Option<FileName>,
    },
}

impl Source {
    /// What it is to be called.
    pub const fn name(&self) -> Option<&FileName> {
        match self {
            Self::Path { name, .. } => Some(name),
            Self::Stdin { name } => name.as_ref(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, .. } => write!(f, "{}", path.display()),
            Self::Stdin { .. } => f.write_str("standard input"),
        }
    }
}

/// Finds the files that a command line names, and what cannot be put of it.
///
/// # Errors
/// If the command line makes no sense.
pub fn find(put: &Put) -> Result<Found, Failure> {
    let stdin = Path::new("-");
    if put.paths.iter().filter(|path| *path == stdin).count() > 1 {
        return Err(usage("standard input can be read only once"));
    }
    let name = put.name.as_deref().map(file_name).transpose()?;
    if name.is_some() && (put.paths.len() > 1 || put.paths.iter().any(|path| path.is_dir())) {
        return Err(usage("--name is for one file: leave it out, or put one file at a time"));
    }
    let mut found = Found::default();
    for path in &put.paths {
        if path == stdin {
            found.sources.push(Source::Stdin { name: name.clone() });
        } else {
            found.take(path, name.clone());
        }
    }
    Ok(found)
}

/// What a command line names.
#[derive(Debug, Default)]
pub struct Found {
    /// Files to put.
    pub sources: Vec<Source>,
    /// What cannot be put, and why.
    pub failures: Vec<Failure>,
    /// What a directory holds besides, and is left out on purpose.
    pub skipped: Vec<String>,
}

impl Found {
    fn take(&mut self, path: &Path, name: Option<FileName>) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let before = (self.sources.len(), self.failures.len());
                self.directory(path, &last_component(path).map_or_else(String::new, |name| name + "/"));
                if before == (self.sources.len(), self.failures.len()) {
                    self.skipped.push(format!("{} holds no file", path.display()));
                }
            }
            Ok(_) => {
                let told = name.map_or_else(|| own_name(path), Ok);
                self.file(path, told);
            }
            Err(error) => self.failures.push(Failure::io("read", path, &error)),
        }
    }

    /// All files below a directory, in the order of their names. Links to directories are not followed: they may lead in circles.
    fn directory(&mut self, directory: &Path, prefix: &str) {
        let listed = fs::read_dir(directory).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(error) => return self.failures.push(Failure::io("read", directory, &error)),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
                self.failures.push(no_name(&path));
                continue;
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.directory(&path, &format!("{name}/")),
                Ok(kind) if kind.is_file() || (kind.is_symlink() && path.is_file()) => {
                    self.file(&path, name_within(&name));
                }
                Ok(kind) => self.other(&path, kind.is_symlink()),
                Err(error) => self.failures.push(Failure::io("read", &path, &error)),
            }
        }
    }

    /// Sockets, pipes, devices and links to directories are no files of a directory; links that lead nowhere should be some.
    fn other(&mut self, path: &Path, is_link: bool) {
        match fs::metadata(path) {
            Err(error) => self.failures.push(Failure::io("read", path, &error)),
            Ok(_) if is_link => {
                let what = "is left out: it is a link to what is no file; name it to put what is in it";
                self.skipped.push(format!("{} {what}", path.display()));
            }
            Ok(_) => self.skipped.push(format!("{} is left out: it is no file", path.display())),
        }
    }

    fn file(&mut self, path: &Path, name: Result<FileName, Failure>) {
        match name {
            Ok(name) => self.sources.push(Source::Path { path: path.to_owned(), name }),
            Err(failure) => self.failures.push(failure.about(&path.display().to_string())),
        }
    }
}

fn own_name(path: &Path) -> Result<FileName, Failure> {
    file_name(&last_component(path).ok_or_else(|| no_name(path))?)
}

/// The last component if it is a name: `.` and `..` are none.
pub fn last_component(path: &Path) -> Option<String> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => name.to_str().map(str::to_owned),
        Some(Component::CurDir | Component::ParentDir | Component::RootDir | Component::Prefix(_)) | None => {
            None
        }
    }
}

/// The name that a file is to have in the network.
///
/// # Errors
/// If it cannot have that one.
fn file_name(text: &str) -> Result<FileName, Failure> {
    named(text, "give another one with --name")
}

/// The same for one of the files of a directory, which have the names that they have there.
///
/// # Errors
/// As [`file_name`].
pub fn name_within(text: &str) -> Result<FileName, Failure> {
    named(text, "give it another one")
}

fn named(text: &str, hint: &str) -> Result<FileName, Failure> {
    text.parse().map_err(|error: protocol::file_name::InvalidFileName| {
        Failure::new(Code::Usage, "INVALID_NAME", format!("{error}; {hint}"))
    })
}

fn no_name(path: &Path) -> Failure {
    let message = format!("{} has no name that can be stored: give one with --name", path.display());
    Failure::new(Code::Usage, "INVALID_NAME", message)
}

fn usage(message: &str) -> Failure {
    Failure::new(Code::Usage, "USAGE", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn put(paths: &[&Path], name: Option<&str>) -> Put {
        Put {
            paths: paths.iter().map(|path| path.to_path_buf()).collect(),
            name: name.map(Into::into),
            wait: None,
            timeout: Duration::ZERO,
        }
    }

    fn names(sources: &[Source]) -> Vec<&str> {
        sources.iter().filter_map(|source| source.name().map(FileName::as_str)).collect()
    }

    #[test]
    fn a_directory_gives_all_files_below_it_named_from_it_on() {
        let directory = tempfile::tempdir().unwrap();
        let maps = directory.path().join("maps");
        fs::create_dir_all(maps.join("de/by")).unwrap();
        for file in ["berlin", "de/hamburg", "de/by/münchen"] {
            fs::write(maps.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink(&maps, maps.join("circle")).unwrap();
        std::os::unix::fs::symlink(maps.join("berlin"), maps.join("capital")).unwrap();
        let found = find(&put(&[&maps], None)).unwrap();
        let expected = ["maps/berlin", "maps/capital", "maps/de/by/münchen", "maps/de/hamburg"];
        assert_eq!(names(&found.sources), expected);
        assert_eq!(found.failures, []);
        let found = find(&put(&[&maps.join("de/..")], None)).unwrap();
        assert_eq!(names(&found.sources)[0], "berlin");
    }

    #[test]
    fn what_is_left_out_of_a_directory_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let link = |to: &Path, name| std::os::unix::fs::symlink(to, directory.path().join(name)).unwrap();
        link(Path::new("."), "circle");
        link(Path::new("nothing"), "nowhere");
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        let found = find(&put(&[directory.path()], None)).unwrap();
        assert_eq!(found.sources, []);
        let told = |texts: Vec<&str>, what: &[&str]| {
            assert_eq!(texts.len(), what.len(), "{texts:?}");
            assert!(texts.iter().zip(what).all(|(text, what)| text.contains(what)), "{texts:?}");
        };
        told(
            found.skipped.iter().map(String::as_str).collect(),
            &["circle is left out", "socket is left out"],
        );
        told(
            found.failures.iter().map(|failure| failure.message.as_str()).collect(),
            &["nowhere cannot be read"],
        );
    }

    #[test]
    fn a_file_is_called_by_its_last_component_or_as_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a b");
        fs::write(&file, "x").unwrap();
        assert_eq!(names(&find(&put(&[&file], None)).unwrap().sources), ["a b"]);
        assert_eq!(names(&find(&put(&[&file], Some("c/d"))).unwrap().sources), ["c/d"]);
    }

    #[test]
    fn standard_input_has_a_name_only_if_told() {
        let stdin = Path::new("-");
        assert_eq!(find(&put(&[stdin], None)).unwrap().sources, [Source::Stdin { name: None }]);
        assert_eq!(names(&find(&put(&[stdin], Some("x"))).unwrap().sources), ["x"]);
        assert!(find(&put(&[stdin, stdin], None)).is_err());
    }

    #[test]
    fn what_is_not_there_does_not_keep_the_rest_from_being_put() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "x").unwrap();
        let found = find(&put(&[&file, &directory.path().join("none")], None)).unwrap();
        assert_eq!((found.sources.len(), found.failures.len()), (1, 1));
    }

    #[test]
    fn one_name_is_for_one_file() {
        let directory = tempfile::tempdir().unwrap();
        assert!(find(&put(&[directory.path()], Some("x"))).is_err());
        assert!(find(&put(&[Path::new("a"), Path::new("b")], Some("x"))).is_err());
        assert!(find(&put(&[Path::new("-")], Some("../x"))).is_err());
    }
}
