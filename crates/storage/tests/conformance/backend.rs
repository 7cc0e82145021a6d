//! The two stores that the suite runs against, and what a test may do to them from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;
use storage::disk::{DirectoryDisk, Disk, MemoryDisk};
use storage::engine::{Batch, Engine, MemoryEngine, Space};
use storage::{FragmentsOptions, Store, StoreOptions};
use tempfile::TempDir;
use uuid::Uuid;

/// Small segments, so that a few fragments fill several; no reserve, so that the disk of the machine does not matter.
pub const OPTIONS: StoreOptions =
    StoreOptions { fragments: FragmentsOptions { segment_bytes: 4096, reserve_bytes: 0 } };

/// Where a store lies while it is closed.
pub trait Backend: Sized {
    fn new() -> Self;
    fn open_with(&self, options: StoreOptions) -> Store;
    /// The disk with the segments.
    fn segments(&self) -> Arc<dyn Disk>;
    /// What a crash of the process would leave now.
    fn copy(&self) -> Self;
    /// Damages the database beyond repair.
    fn lose_database(&mut self);

    fn open(&self) -> Store {
        self.open_with(OPTIONS)
    }
}

pub struct OnDisk {
    directory: TempDir,
}

impl OnDisk {
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Backend for OnDisk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn open_with(&self, options: StoreOptions) -> Store {
        Store::open(self.path(), options).unwrap()
    }

    fn segments(&self) -> Arc<dyn Disk> {
        Arc::new(DirectoryDisk::open(&self.path().join("segments")).unwrap())
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        copy_directory(self.path(), copy.path());
        copy
    }

    fn lose_database(&mut self) {
        fs::write(self.path().join("db/db"), [0x5A; 100_000]).unwrap();
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub struct InMemory {
    disk: MemoryDisk,
    engine: MemoryEngine,
}

impl Backend for InMemory {
    fn new() -> Self {
        Self { disk: MemoryDisk::new(), engine: MemoryEngine::new() }
    }

    fn open_with(&self, options: StoreOptions) -> Store {
        let (disk, engine) = (Arc::new(self.disk.clone()), Arc::new(self.engine.clone()));
        Store::open_on(disk, engine, Uuid::nil(), options).unwrap()
    }

    fn segments(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        for (name, content) in read_all(&self.disk) {
            let file = copy.disk.create(&name).unwrap();
            file.write_all_at(&mut [std::io::IoSlice::new(&content)], 0).unwrap();
        }
        for space in [Space::View, Space::Index] {
            let mut batch = Batch::default();
            for pair in storage::engine::scan(&self.engine, space, b"") {
                let (key, value) = pair.unwrap();
                batch.put(key, value);
            }
            copy.engine.apply(space, batch).unwrap();
        }
        copy
    }

    fn lose_database(&mut self) {
        self.engine = MemoryEngine::new();
    }
}

/// All files of a disk with their content, by name.
pub fn read_all(disk: &dyn Disk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list().unwrap();
    names.sort();
    let content = |name: &String| {
        let file = disk.open(name).unwrap();
        let mut content = vec![0; usize::try_from(file.len_bytes().unwrap()).unwrap()];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    };
    names.iter().map(|name| (name.clone(), content(name))).collect()
}

/// Writes over a part of a file.
pub fn overwrite(disk: &dyn Disk, name: &str, offset: u64, bytes: &[u8]) {
    disk.open(name).unwrap().write_all_at(&mut [std::io::IoSlice::new(bytes)], offset).unwrap();
}

/// A fragment of `length` bytes, different for each `seed`.
pub fn fragment(seed: u64, length: usize) -> (Hash, Bytes) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    (Hash::of(&bytes), bytes.into())
}

/// Puts fragments, all of which must succeed.
pub fn put_all(store: &Store, fragments: &[(Hash, Bytes)]) {
    for result in store.fragments().put_batch(fragments.to_vec()) {
        result.unwrap();
    }
}

/// Whether the store lists and reads exactly these fragments.
pub fn assert_holds(store: &Store, fragments: &[(Hash, Bytes)]) {
    let mut expected: Vec<_> = fragments.iter().map(|(hash, bytes)| (*hash, bytes.len() as u32)).collect();
    expected.sort();
    let listed: Vec<_> = store.fragments().inventory().collect::<Result<_, _>>().unwrap();
    assert_eq!(listed, expected);
    assert_eq!(store.fragments().len(), expected.len() as u64);
    assert_eq!(
        store.fragments().used_bytes(),
        expected.iter().map(|(_, size)| u64::from(*size)).sum::<u64>()
    );
    for (hash, bytes) in fragments {
        assert_eq!(store.fragments().size_of(hash), Some(bytes.len() as u32));
        assert_eq!(store.fragments().read(hash).unwrap(), bytes);
    }
}
