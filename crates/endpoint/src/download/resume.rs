//! What an earlier attempt left behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use protocol::Hash;

use crate::client::FragmentPlace;

/// Which of `fragments` stand in `part` at their places, by their indices. Reads as much as there is, so call it where blocking is allowed.
///
/// # Errors
/// If the file cannot be read. A short file is no error.
pub fn verified_fragments(part: &File, fragments: &[FragmentPlace]) -> io::Result<Vec<usize>> {
    let length = part.metadata()?.len();
    let mut verified = Vec::new();
    let mut buffer = Vec::new();
    for (index, fragment) in fragments.iter().enumerate() {
        let fits = fragment.offset_bytes.checked_add(fragment.size_bytes).is_some_and(|end| end <= length);
        let Some(size) = usize::try_from(fragment.size_bytes).ok().filter(|_| fits) else { continue };
        buffer.resize(size, 0);
        part.read_exact_at(&mut buffer, fragment.offset_bytes)?;
        if Hash::of(&buffer) == fragment.hash {
            verified.push(index);
        }
    }
    Ok(verified)
}
