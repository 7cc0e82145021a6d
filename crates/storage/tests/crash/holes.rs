//! A file system without holes gives space back later, and that is all.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;
use storage::FragmentsOptions;
use storage::disk::{Disk, DiskFile, MemoryDisk};
use storage::engine::MemoryEngine;
use storage::fragments::Fragments;
use uuid::Uuid;

#[test]
fn a_disk_that_cannot_punch_holes_is_no_error() {
    #[derive(Debug)]
    struct NoHoles(Arc<dyn DiskFile>);
    #[derive(Debug)]
    struct Plain(MemoryDisk);
    impl Disk for Plain {
        fn list(&self) -> io::Result<Vec<String>> {
            self.0.list()
        }
        fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
            Ok(Arc::new(NoHoles(self.0.create(name)?)))
        }
        fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
            Ok(Arc::new(NoHoles(self.0.open(name)?)))
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn sync_dir(&self) -> io::Result<()> {
            self.0.sync_dir()
        }
        fn free_bytes(&self) -> io::Result<u64> {
            self.0.free_bytes()
        }
    }
    impl DiskFile for NoHoles {
        fn len_bytes(&self) -> io::Result<u64> {
            self.0.len_bytes()
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(buffer, offset)
        }
        fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
            self.0.write_all_at(parts, offset)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn truncate(&self, length_bytes: u64) -> io::Result<()> {
            self.0.truncate(length_bytes)
        }
        fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
    let (disk, engine) = (Plain(MemoryDisk::new()), MemoryEngine::new());
    let (fragments, _) =
        Fragments::open(Arc::new(disk), Arc::new(engine), Uuid::from_u128(3), FragmentsOptions::default())
            .unwrap();
    let (hash, bytes) = (Hash::of(&[1; 20_000]), Bytes::from(vec![1; 20_000]));
    fragments.put_batch(vec![(hash, bytes)]).remove(0).unwrap();
    assert_eq!(fragments.delete_batch(&[hash]).unwrap(), 1);
    assert_eq!(fragments.used_bytes(), 0);
}
