//! The file that everything is measured with: the same pseudo-random bytes in every run.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The file of so many MiB in `directory`; made if it is not there yet.
pub fn file(directory: &Path, mib: u64) -> io::Result<PathBuf> {
    let path = directory.join(format!("data-{mib}-mib.bin"));
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == mib << 20) {
        return Ok(path);
    }
    fs::create_dir_all(directory)?;
    let mut file = File::create(&path)?;
    let mut block = vec![0_u8; 1 << 20];
    let mut state = 0x0123_4567_89ab_cdef_u64;
    for _ in 0..mib {
        for word in block.as_chunks_mut::<8>().0 {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = mix(state).to_le_bytes();
        }
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(path)
}

/// SplitMix64's output function.
const fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// SHA-256 of a file, as `sha256sum` prints it.
pub fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut block = vec![0_u8; 1 << 20];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(&block[..length]),
        }
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
