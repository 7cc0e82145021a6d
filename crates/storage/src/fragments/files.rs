//! The segment files by number: their names, and a bounded number of open ones.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

/// Most segment files that are kept open. (A process may usually open 1024 files, sockets included.)
const MAX_OPEN: usize = 128;

/// The name of a segment's file.
pub(super) fn name_of(segment: u32) -> String {
    format!("{segment:010}.segment")
}

/// The segment whose file is called `name`.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".segment")?.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

/// Opens segment files, and keeps those that were used last open.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<u32, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
}

impl SegmentFiles {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of all segments on disk, ascending.
    pub fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> = self.disk.list()?.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The file of a segment that exists.
    pub fn get(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.open().used(segment) {
            return Ok(file);
        }
        let file = self.disk.open(&name_of(segment))?;
        self.open().insert(segment, &file);
        Ok(file)
    }

    /// Makes the file of a new segment. It survives a power cut after the directory was synced.
    pub fn create(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(&name_of(segment))?;
        self.open().insert(segment, &file);
        Ok(file)
    }

    /// Removes a segment's file.
    pub fn remove(&self, segment: u32) -> io::Result<()> {
        self.open().files.remove(&segment);
        self.disk.remove(&name_of(segment))
    }
}

impl Open {
    fn used(&mut self, segment: u32) -> Option<Arc<dyn DiskFile>> {
        self.uses += 1;
        let (file, last_use) = self.files.get_mut(&segment)?;
        *last_use = self.uses;
        Some(file.clone())
    }

    fn insert(&mut self, segment: u32, file: &Arc<dyn DiskFile>) {
        while self.files.len() >= MAX_OPEN {
            let oldest = self.files.iter().min_by_key(|(_, (_, last_use))| *last_use);
            let Some(oldest) = oldest.map(|(segment, _)| *segment) else { break };
            self.files.remove(&oldest);
        }
        self.uses += 1;
        self.files.insert(segment, (file.clone(), self.uses));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn only_the_names_we_give_are_segments() {
        assert_eq!(number_of(&name_of(u32::MAX)), Some(u32::MAX));
        for other in ["", "1.segment", "0000000001.segment.part", "+000000001.segment", "000000000x.segment"]
        {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_files_used_longest_ago_are_closed() {
        let files = SegmentFiles::new(Arc::new(MemoryDisk::new()));
        for segment in 0..MAX_OPEN as u32 + 10 {
            files.create(segment).unwrap();
            files.get(0).unwrap();
        }
        let open = files.open();
        assert_eq!(open.files.len(), MAX_OPEN);
        assert!(open.files.contains_key(&0) && !open.files.contains_key(&1));
    }
}
