//! A file's bytes, cut into fragments.

use std::collections::BTreeMap;

use bytes::Bytes;
use distribution::view::FileInfo;
use protocol::{FileName, Hash};

/// A file to upload.
#[derive(Debug, Clone)]
pub struct Content {
    hash: Hash,
    file: FileInfo,
    fragments: BTreeMap<Hash, Bytes>,
}

impl Content {
    /// Cuts `bytes` into fragments of `fragment_size_bytes`.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>, fragment_size_bytes: u64) -> Self {
        let bytes: Bytes = bytes.into();
        let size = usize::try_from(fragment_size_bytes).expect("at most 8 MiB");
        let pieces: Vec<(Hash, Bytes)> =
            bytes.chunks(size).map(|piece| (Hash::of(piece), bytes.slice_ref(piece))).collect();
        let file = FileInfo {
            size_bytes: bytes.len() as u64,
            fragments: pieces.iter().map(|(hash, _)| *hash).collect(),
            name: None,
        };
        Self { hash: Hash::of(&bytes), file, fragments: pieces.into_iter().collect() }
    }

    /// The same content under a name.
    ///
    /// # Panics
    /// If the name is none.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        let name: FileName = name.parse().expect("a file name");
        self.file.name = Some(name);
        self
    }

    /// Hash of the whole content.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// What the view knows of it.
    #[must_use]
    pub const fn file(&self) -> &FileInfo {
        &self.file
    }

    /// The distinct fragments and their bytes.
    #[must_use]
    pub const fn fragments(&self) -> &BTreeMap<Hash, Bytes> {
        &self.fragments
    }
}
