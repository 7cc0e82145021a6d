//! One record of a segment file: a header that describes itself, then the payload.
//!
//! ```text
//!  0   4  magic "mdsR"
//!  4   1  version of this layout: 2 (1 had no checksum of the payload)
//!  5   1  kind: 1 fragment, 2 tombstone
//!  6   1  state: 0xA5 live, 0x00 dead                     <- changed in place, so outside the checksum
//!  7   1  zero
//!  8   4  length of the payload in bytes, little endian (a tombstone has none)
//! 12  32  SHA-256 of the payload: the fragment's name     (tombstone: of the fragment that it ends)
//! 44   4  tombstone: segment of the record that it ends   (fragment: zero)
//! 48   4  tombstone: offset of that record                (fragment: zero)
//! 52   4  fragment: CRC-32 of the payload
//! 56   4  zero
//! 60   4  CRC-32 of: the store's id, bytes 0 to 5, bytes 7 to 59
//! 64   …  payload
//! ```
//!
//! The payload must hash to its name. Its checksum finds rot at a tenth of the cost, for readers that hash what they
//! get. The store's id in the checksum is what keeps
//! an uploaded file that looks like records from being taken for records when a damaged segment is searched.

use protocol::Hash;
use uuid::Uuid;

use super::MAX_FRAGMENT_BYTES;

/// Length of a record's header in bytes.
pub(super) const HEADER_BYTES: u32 = 64;
/// [`HEADER_BYTES`] as the size of a buffer.
pub(super) const HEADER_LEN: usize = HEADER_BYTES as usize;
/// Offset of the state byte in the header.
pub(super) const STATE_AT: u32 = 6;
/// What the state byte becomes when the record dies.
pub(super) const DEAD: u8 = 0x00;
/// What every record begins with.
pub(super) const MAGIC: [u8; 4] = *b"mdsR";

const LIVE: u8 = 0xA5;
const VERSION: u8 = 2;
/// Without a checksum of the payload.
const VERSION_1: u8 = 1;
const KIND_FRAGMENT: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const CHECKSUM_AT: usize = 60;

/// Where a record begins: its segment, and the offset of its header there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub segment: u32,
    pub offset: u32,
}

impl Place {
    /// Offset of the payload.
    pub fn payload(self) -> u64 {
        u64::from(self.offset) + u64::from(HEADER_BYTES)
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub hash: Hash,
    pub is_dead: bool,
    pub kind: Kind,
    /// CRC-32 of a fragment's payload, if it was written down.
    pub payload_checksum: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A fragment of so many bytes follows.
    Fragment { length_bytes: u32 },
    /// The record of this hash at this place is dead, whatever its own state byte says.
    Tombstone { ended: Place },
}

impl Header {
    /// Length of the whole record in bytes.
    pub fn record_bytes(&self) -> u32 {
        match self.kind {
            Kind::Fragment { length_bytes } => HEADER_BYTES + length_bytes,
            Kind::Tombstone { .. } => HEADER_BYTES,
        }
    }
}

/// Writes and reads the headers of one store.
#[derive(Debug, Clone)]
pub(super) struct HeaderCodec {
    /// A checksum that has already seen the store's id.
    seed: crc32fast::Hasher,
}

impl HeaderCodec {
    pub fn new(store_id: Uuid) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(store_id.as_bytes());
        Self { seed }
    }

    fn checksum(&self, header: &[u8; HEADER_LEN]) -> u32 {
        let mut hasher = self.seed.clone();
        hasher.update(&header[..STATE_AT as usize]);
        hasher.update(&header[STATE_AT as usize + 1..CHECKSUM_AT]);
        hasher.finalize()
    }

    /// The header of a live fragment with this payload of `length_bytes`.
    pub fn fragment(&self, hash: &Hash, length_bytes: u32, payload: &[u8]) -> [u8; HEADER_LEN] {
        self.encode(hash, Kind::Fragment { length_bytes }, crc32fast::hash(payload))
    }

    /// The header of the tombstone of a fragment's record.
    pub fn tombstone(&self, hash: &Hash, ended: Place) -> [u8; HEADER_LEN] {
        self.encode(hash, Kind::Tombstone { ended }, 0)
    }

    fn encode(&self, hash: &Hash, kind: Kind, payload_checksum: u32) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[6] = LIVE;
        header[12..44].copy_from_slice(hash.as_bytes());
        match kind {
            Kind::Fragment { length_bytes } => {
                header[5] = KIND_FRAGMENT;
                header[8..12].copy_from_slice(&length_bytes.to_le_bytes());
            }
            Kind::Tombstone { ended } => {
                header[5] = KIND_TOMBSTONE;
                header[44..48].copy_from_slice(&ended.segment.to_le_bytes());
                header[48..52].copy_from_slice(&ended.offset.to_le_bytes());
            }
        }
        header[52..56].copy_from_slice(&payload_checksum.to_le_bytes());
        let checksum = self.checksum(&header);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// What `header` says, if it is a header of this store at all.
    pub fn decode(&self, header: &[u8; HEADER_LEN]) -> Option<Header> {
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..4] != MAGIC
            || !matches!(header[4], VERSION | VERSION_1)
            || number(CHECKSUM_AT) != self.checksum(header)
        {
            return None;
        }
        let length_bytes = number(8);
        let kind = match header[5] {
            KIND_FRAGMENT if length_bytes <= MAX_FRAGMENT_BYTES => Kind::Fragment { length_bytes },
            KIND_TOMBSTONE => Kind::Tombstone { ended: Place { segment: number(44), offset: number(48) } },
            _ => return None,
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(&header[12..44]);
        let has_checksum = header[4] == VERSION && header[5] == KIND_FRAGMENT;
        let payload_checksum = has_checksum.then(|| number(52));
        Some(Header { hash: Hash::from_bytes(hash), is_dead: header[6] == DEAD, kind, payload_checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> HeaderCodec {
        HeaderCodec::new(Uuid::from_u128(7))
    }

    #[test]
    fn headers_survive_a_round_trip() {
        let hash = Hash::of(b"x");
        for (kind, payload_checksum) in [
            (Kind::Fragment { length_bytes: 0 }, Some(0)),
            (Kind::Fragment { length_bytes: MAX_FRAGMENT_BYTES }, Some(u32::MAX)),
            (Kind::Tombstone { ended: Place { segment: 9, offset: 77 } }, None),
        ] {
            let bytes = codec().encode(&hash, kind, payload_checksum.unwrap_or(0));
            let header = Header { hash, is_dead: false, kind, payload_checksum };
            assert_eq!(codec().decode(&bytes), Some(header));
        }
    }

    #[test]
    fn a_record_of_the_first_layout_has_no_checksum_of_its_payload() {
        let hash = Hash::of(b"x");
        let mut bytes = codec().encode(&hash, Kind::Fragment { length_bytes: 1 }, 0);
        bytes[4] = VERSION_1;
        let checksum = codec().checksum(&bytes);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        let kind = Kind::Fragment { length_bytes: 1 };
        assert_eq!(
            codec().decode(&bytes),
            Some(Header { hash, is_dead: false, kind, payload_checksum: None })
        );
    }

    #[test]
    fn a_header_can_die_in_place_and_bears_no_other_change() {
        let mut bytes = codec().encode(&Hash::of(b"x"), Kind::Fragment { length_bytes: 5 }, 0);
        bytes[STATE_AT as usize] = DEAD;
        assert!(codec().decode(&bytes).unwrap().is_dead);
        for at in (0..HEADER_LEN).filter(|at| *at != STATE_AT as usize) {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(codec().decode(&flipped), None, "byte {at}");
        }
    }

    #[test]
    fn a_header_of_another_store_is_none() {
        let bytes = codec().encode(&Hash::of(b"x"), Kind::Fragment { length_bytes: 5 }, 0);
        assert_eq!(HeaderCodec::new(Uuid::from_u128(8)).decode(&bytes), None);
        let long =
            codec().encode(&Hash::of(b"x"), Kind::Fragment { length_bytes: MAX_FRAGMENT_BYTES + 1 }, 0);
        assert_eq!(codec().decode(&long), None);
    }
}
