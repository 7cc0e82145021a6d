//! Walks through the records of one segment file, whatever is in it.
//!
//! A crash leaves a torn tail, rot can be anywhere. What cannot be understood is skipped: the walk goes on at the next
//! place where a whole, valid record of this store begins.

use std::io;

use protocol::Hash;

use super::record::{HEADER_BYTES, HEADER_LEN, Header, HeaderCodec, Kind, MAGIC};
use crate::disk::DiskFile;

/// How much is read at once when looking for the next record.
const WINDOW_BYTES: usize = 64 << 10;

/// A record that the walk met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Offset of its header.
    pub offset: u32,
    pub header: Header,
    /// Whether the payload hashes to its name. Not looked at when the record is dead.
    pub is_whole: bool,
}

/// What the walk leaves out: nothing behind `end_bytes` is a valid record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// End of the last valid record.
    pub end_bytes: u64,
    /// Length of the file.
    pub length_bytes: u64,
}

/// Calls `visit` with each record from `start` on, in order.
pub(super) fn walk(
    file: &dyn DiskFile,
    codec: &HeaderCodec,
    start: u32,
    mut visit: impl FnMut(Found),
) -> io::Result<Walked> {
    let file_bytes = file.len_bytes()?;
    // A segment is far smaller than 4 GiB; what lies behind that is not ours.
    let length_bytes = file_bytes.min(u64::from(u32::MAX));
    let mut walked = Walked { end_bytes: u64::from(start).min(length_bytes), length_bytes: file_bytes };
    let mut payload = Vec::new();
    let mut at = start;
    while let Some((offset, header)) = next_record(file, codec, at, length_bytes)? {
        at = offset + header.record_bytes();
        let is_whole = match header.kind {
            Kind::Fragment { length_bytes } if !header.is_dead => {
                payload.resize(length_bytes as usize, 0);
                file.read_exact_at(&mut payload, u64::from(offset + HEADER_BYTES))?;
                Hash::of(&payload) == header.hash
            }
            Kind::Fragment { .. } | Kind::Tombstone { .. } => true,
        };
        if is_whole {
            walked.end_bytes = u64::from(at);
        }
        visit(Found { offset, header, is_whole });
    }
    Ok(walked)
}

/// The first valid header at `at` or behind it whose record lies within the file.
fn next_record(
    file: &dyn DiskFile,
    codec: &HeaderCodec,
    at: u32,
    length_bytes: u64,
) -> io::Result<Option<(u32, Header)>> {
    let fits = |offset: u64, header: &Header| offset + u64::from(header.record_bytes()) <= length_bytes;
    let mut offset = u64::from(at);
    let mut header = [0; HEADER_LEN];
    if offset + HEADER_LEN as u64 <= length_bytes {
        file.read_exact_at(&mut header, offset)?;
        if let Some(found) = codec.decode(&header).filter(|found| fits(offset, found)) {
            return Ok(Some((at, found)));
        }
    }
    let mut window = vec![0; WINDOW_BYTES];
    while offset + HEADER_LEN as u64 <= length_bytes {
        let take = WINDOW_BYTES.min(usize::try_from(length_bytes - offset).unwrap_or(WINDOW_BYTES));
        file.read_exact_at(&mut window[..take], offset)?;
        let headers = window[..take].windows(HEADER_LEN).enumerate();
        for (index, candidate) in headers.filter(|(_, bytes)| bytes.starts_with(&MAGIC)) {
            header.copy_from_slice(candidate);
            let place = offset + index as u64;
            if let Some(found) = codec.decode(&header).filter(|found| fits(place, found)) {
                return Ok(u32::try_from(place).ok().map(|place| (place, found)));
            }
        }
        offset += (take - HEADER_LEN + 1) as u64;
    }
    Ok(None)
}
