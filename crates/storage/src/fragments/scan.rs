//! Walks through the records of one segment file, whatever is in it.
//!
//! A crash leaves a torn tail, rot can be anywhere, and some of it the disk may not give back. What cannot be understood is skipped:
//! the walk goes on at the next place where a whole, valid record of this store begins.

use std::io;
use std::ops::Range;

use protocol::Hash;

use super::record::{HEADER_BYTES, HEADER_LEN, Header, HeaderCodec, Kind, MAGIC};
use super::verify::is_lost;
use crate::disk::DiskFile;

/// How much is read at once when looking for the next record.
const WINDOW_BYTES: usize = 64 << 10;

/// What a file system reads from the disk at once, so that a bad block takes it all.
const PAGE_BYTES: u64 = 4096;
/// The least that a disk loses.
const SECTOR_BYTES: u64 = 512;

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
    /// End of the last bytes that the disk did not give back; 0 if it gave all.
    pub unreadable_end_bytes: u64,
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
    let mut end_bytes = u64::from(start).min(length_bytes);
    let mut reader = Reader { file, codec, length_bytes, unreadable_end_bytes: 0 };
    let mut payload = Vec::new();
    let mut at = start;
    while let Some((offset, header)) = reader.next_record(at)? {
        at = offset + header.record_bytes();
        let is_whole = match header.kind {
            Kind::Fragment { length_bytes } if !header.is_dead => {
                payload.resize(length_bytes as usize, 0);
                reader.read(&mut payload, u64::from(offset + HEADER_BYTES))?
                    && Hash::of(&payload) == header.hash
            }
            Kind::Fragment { .. } | Kind::Tombstone { .. } => true,
        };
        if is_whole {
            end_bytes = u64::from(at);
        }
        visit(Found { offset, header, is_whole });
    }
    let Reader { unreadable_end_bytes, .. } = reader;
    Ok(Walked { end_bytes, length_bytes: file_bytes, unreadable_end_bytes })
}

/// Reads a segment file of which the disk may not give back everything.
struct Reader<'a> {
    file: &'a dyn DiskFile,
    codec: &'a HeaderCodec,
    length_bytes: u64,
    unreadable_end_bytes: u64,
}

impl Reader<'_> {
    /// Whether the disk gives the bytes back. Only an error that may have nothing to do with them is one.
    fn try_read(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(true),
            Err(error) if is_lost(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same, and remembers that it does not.
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let is_read = self.try_read(buffer, offset)?;
        if !is_read {
            self.unreadable_end_bytes = self.unreadable_end_bytes.max(offset + buffer.len() as u64);
        }
        Ok(is_read)
    }

    /// The header at `offset` if it is valid, and its record lies within the file.
    fn decode(&self, header: &[u8; HEADER_LEN], offset: u64) -> Option<Header> {
        let fits = |header: &Header| offset + u64::from(header.record_bytes()) <= self.length_bytes;
        self.codec.decode(header).filter(fits)
    }

    /// The first valid header at `at` or behind it whose record lies within the file.
    fn next_record(&mut self, at: u32) -> io::Result<Option<(u32, Header)>> {
        let mut offset = u64::from(at);
        let mut header = [0; HEADER_LEN];
        if offset + HEADER_LEN as u64 <= self.length_bytes
            && self.read(&mut header, offset)?
            && let Some(found) = self.decode(&header, offset)
        {
            return Ok(Some((at, found)));
        }
        let mut window = vec![0; WINDOW_BYTES];
        while offset + HEADER_LEN as u64 <= self.length_bytes {
            let take = WINDOW_BYTES.min(usize::try_from(self.length_bytes - offset).unwrap_or(WINDOW_BYTES));
            self.read_what_can_be(&mut window[..take], offset)?;
            let headers = window[..take].windows(HEADER_LEN).enumerate();
            for (index, candidate) in headers.filter(|(_, bytes)| bytes.starts_with(&MAGIC)) {
                header.copy_from_slice(candidate);
                let place = offset + index as u64;
                if let Some(found) = self.decode(&header, place) {
                    return Ok(u32::try_from(place).ok().map(|place| (place, found)));
                }
            }
            offset += (take - HEADER_LEN + 1) as u64;
        }
        Ok(None)
    }

    /// Fills `buffer` from `offset`, with zeros where the disk gives nothing back: no header has those.
    fn read_what_can_be(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.try_read(buffer, offset)? {
            return Ok(());
        }
        for page in pieces(offset..offset + buffer.len() as u64, PAGE_BYTES) {
            let part = &mut buffer[index(page.start - offset)..index(page.end - offset)];
            if !self.try_read(part, page.start)? {
                self.read_around_bad_sectors(part, page.start)?;
            }
        }
        Ok(())
    }

    /// The sectors of a page before the first bad one and behind the last. What lies between is not tried, because a disk may take many
    /// seconds to say of a sector that it is bad.
    fn read_around_bad_sectors(&mut self, page: &mut [u8], offset: u64) -> io::Result<()> {
        page.fill(0);
        let sectors: Vec<_> = pieces(offset..offset + page.len() as u64, SECTOR_BYTES).collect();
        let mut read = |sector: &Range<u64>| {
            let part = &mut page[index(sector.start - offset)..index(sector.end - offset)];
            let is_read = self.read(part, sector.start)?;
            if !is_read {
                part.fill(0);
            }
            io::Result::Ok(is_read)
        };
        let mut good_before = 0;
        while good_before < sectors.len() && read(&sectors[good_before])? {
            good_before += 1;
        }
        for sector in sectors[(good_before + 1).min(sectors.len())..].iter().rev() {
            if !read(sector)? {
                break;
            }
        }
        Ok(())
    }
}

/// `range`, cut where a multiple of `size` is.
fn pieces(range: Range<u64>, size: u64) -> impl Iterator<Item = Range<u64>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let end = ((start / size + 1) * size).min(range.end);
        let piece = start..end;
        start = end;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A place within a window.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use uuid::Uuid;

    use super::*;

    /// 100 000 bytes of which some cannot be read, for this reason.
    #[derive(Debug)]
    struct Bad(Vec<Range<u64>>, i32);

    impl DiskFile for Bad {
        fn len_bytes(&self) -> io::Result<u64> {
            Ok(100_000)
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let end = offset + buffer.len() as u64;
            if self.0.iter().any(|bad| bad.start.max(offset) < bad.end.min(end)) {
                return Err(io::Error::from_raw_os_error(self.1));
            }
            buffer.fill(7);
            Ok(())
        }
        fn write_all_at(&self, _: &mut [IoSlice<'_>], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn truncate(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    fn walked(bad: Bad) -> io::Result<Walked> {
        walk(&bad, &HeaderCodec::new(Uuid::from_u128(7)), 0, |_| {})
    }

    #[test]
    fn an_error_that_is_not_about_the_bytes_ends_the_walk() {
        let [too_many_files, no_memory] = [24, 12];
        for error in [too_many_files, no_memory] {
            let walked = walked(Bad(vec![69_000..69_001, 70_000..70_001], error));
            assert_eq!(walked.unwrap_err().raw_os_error(), Some(error));
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_by_sectors() {
        for (bad, end) in
            [(vec![], 0), (vec![300..301, 70_000..70_001], 70_144), (vec![0..1, 5000..5001], 5120)]
        {
            assert_eq!(walked(Bad(bad, 5)).unwrap().unreadable_end_bytes, end);
        }
        let file = Bad(vec![5000..5001, 9000..10_000], 5);
        let codec = HeaderCodec::new(Uuid::from_u128(7));
        let mut reader =
            Reader { file: &file, codec: &codec, length_bytes: 100_000, unreadable_end_bytes: 0 };
        let mut buffer = vec![1; 20_000];
        reader.read_what_can_be(&mut buffer, 100).unwrap();
        let lost = |at: u64| (4608..5120).contains(&at) || (8704..10_240).contains(&at);
        assert!((100..).zip(&buffer).all(|(at, byte)| (*byte == 0) == lost(at)));
    }
}
