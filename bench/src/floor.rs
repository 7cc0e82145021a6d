//! The floor: what the copies cost with nothing between the file and the disks.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Copies a file, in as many threads as copies, with SHA-256 of each fragment and one fsync at the end.
#[derive(Debug, clap::Args)]
pub struct Floor {
    source: PathBuf,
    directory: PathBuf,
    fragment_size_bytes: usize,
    copies: usize,
}

impl Floor {
    pub fn run(&self) -> Result<()> {
        thread::scope(|scope| {
            let copying: Vec<_> = (0..self.copies).map(|copy| scope.spawn(move || self.copy(copy))).collect();
            copying.into_iter().try_for_each(|copying| {
                copying.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a copying thread panicked")))
            })
        })
    }

    fn copy(&self, copy: usize) -> Result<()> {
        let source = File::open(&self.source)?;
        let length = source.metadata()?.len();
        let mut target = File::create(self.directory.join(format!("copy-{copy}")))?;
        let mut fragment = vec![0_u8; self.fragment_size_bytes];
        let mut offset = 0;
        while offset < length {
            let size = usize::try_from(length - offset)?.min(fragment.len());
            source.read_exact_at(&mut fragment[..size], offset)?;
            black_box(Sha256::digest(&fragment[..size]));
            target.write_all(&fragment[..size])?;
            offset += size as u64;
        }
        target.sync_all()?;
        Ok(())
    }
}

/// What this program is called with for a floor.
pub fn arguments(
    source: &Path,
    directory: &Path,
    fragment_size_bytes: u64,
    copies: usize,
) -> Result<[String; 5]> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("the directory's name is not UTF-8");
    let (source, directory) = (text(source)?, text(directory)?);
    Ok(["floor".to_owned(), source, directory, fragment_size_bytes.to_string(), copies.to_string()])
}
