//! The view in the database: entities, not a log, each small enough to stay within the database file.
//!
//! ```text
//!  key (numbers big endian, so that they sort)    value (numbers little endian)
//!  "v"                                            revision u64, fragment size in bytes u64 (0: not known)
//!  "f" file hash                                  size in bytes u64, number of fragments u32, name
//!  "s" file hash, chunk u32                       up to 64 fragment hashes, in file order
//!  "g" fragment hash                              size in bytes u32 (all ones: as its file says), registration u32 of each holder
//!  "c" registration u32                           capacity in bytes u64 (all ones: not told), length of id u8, id, zone
//!  "e" registration u32, index u8                 one endpoint
//!  "x" file hash                                  nothing: the file was deleted
//!  "y" fragment hash                              nothing: the fragment went with a deleted file
//!  "d" id                                         nothing: the torrent is being emptied
//! ```
//!
//! A fragment of a file needs no "g" before someone holds it. A torrent gets a new registration number each time it
//! registers: unregistering it removes "c" and "e", and whoever reads a holder whose number is gone ignores it.

use std::collections::BTreeSet;

use distribution::view::{FileInfo, Registration};
use protocol::{ClientId, Hash, Revision, Zone};

/// Fragment hashes in one chunk of a sequence: 2 KiB.
pub(super) const CHUNK_FRAGMENTS: usize = 64;

pub(super) const HEAD: &[u8] = b"v";
pub(super) const FILE: u8 = b'f';
pub(super) const SEQUENCE: u8 = b's';
pub(super) const FRAGMENT: u8 = b'g';
pub(super) const CLIENT: u8 = b'c';
pub(super) const ENDPOINT: u8 = b'e';
pub(super) const DELETED_FILE: u8 = b'x';
pub(super) const DELETED_FRAGMENT: u8 = b'y';
pub(super) const DRAINING: u8 = b'd';

const CAPACITY_NOT_TOLD: u64 = u64::MAX;
const SIZE_NOT_TOLD: u32 = u32::MAX;

/// A torrent's registration: numbers are not used twice.
pub(super) type Number = u32;

pub(super) fn hash_key(kind: u8, hash: &Hash) -> Vec<u8> {
    let mut key = Vec::with_capacity(33);
    key.push(kind);
    key.extend_from_slice(hash.as_bytes());
    key
}

pub(super) fn chunk_key(file: &Hash, chunk: usize) -> Vec<u8> {
    let mut key = hash_key(SEQUENCE, file);
    // A chunk number beyond u32 would be a file of 2^38 fragments.
    key.extend_from_slice(&u32::try_from(chunk).unwrap_or(u32::MAX).to_be_bytes());
    key
}

pub(super) fn number_key(kind: u8, number: Number) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn draining_key(client: &ClientId) -> Vec<u8> {
    [&[DRAINING], client.as_str().as_bytes()].concat()
}

/// The torrent in a key that begins with its kind.
pub(super) fn client_of_key(key: &[u8]) -> Option<ClientId> {
    std::str::from_utf8(key.get(1..)?).ok()?.parse().ok()
}

/// The hash in a key that begins with its kind.
pub(super) fn hash_of_key(key: &[u8]) -> Option<Hash> {
    Some(Hash::from_bytes(key.get(1..33)?.try_into().ok()?))
}

/// The number in a key that begins with its kind.
pub(super) fn number_of_key(key: &[u8]) -> Option<Number> {
    Some(Number::from_be_bytes(key.get(1..5)?.try_into().ok()?))
}

/// What is known of the view as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub revision: Revision,
    pub fragment_size_bytes: Option<u64>,
}

impl Head {
    pub fn encode(self) -> Vec<u8> {
        [self.revision.0, self.fragment_size_bytes.unwrap_or(0)].map(u64::to_le_bytes).concat()
    }

    pub fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader(value);
        let (revision, size) = (Revision(reader.u64()?), reader.u64()?);
        Some(Self { revision, fragment_size_bytes: (size != 0).then_some(size) })
    }
}

/// A file without its sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEntity {
    pub size_bytes: u64,
    pub fragments: u32,
    pub name: String,
}

impl FileEntity {
    pub fn of(file: &FileInfo) -> Self {
        Self {
            size_bytes: file.size_bytes,
            fragments: u32::try_from(file.fragments.len()).unwrap_or(u32::MAX),
            name: file.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut value = self.size_bytes.to_le_bytes().to_vec();
        value.extend_from_slice(&self.fragments.to_le_bytes());
        value.extend_from_slice(self.name.as_bytes());
        value
    }

    pub fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader(value);
        Some(Self { size_bytes: reader.u64()?, fragments: reader.u32()?, name: reader.rest()? })
    }

    pub fn chunks(&self) -> usize {
        (self.fragments as usize).div_ceil(CHUNK_FRAGMENTS)
    }
}

pub(super) fn encode_chunk(fragments: &[Hash]) -> Vec<u8> {
    fragments.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

pub(super) fn decode_chunk(value: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = value.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|bytes| Hash::from_bytes(*bytes)).collect())
}

/// A fragment and the registrations that hold it, dead ones among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FragmentEntity {
    /// None where the size follows from a file.
    pub size_bytes: Option<u32>,
    pub holders: Vec<Number>,
}

impl FragmentEntity {
    pub fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(4 + 4 * self.holders.len());
        value.extend_from_slice(&self.size_bytes.unwrap_or(SIZE_NOT_TOLD).to_le_bytes());
        self.holders.iter().for_each(|holder| value.extend_from_slice(&holder.to_le_bytes()));
        value
    }

    pub fn decode(value: &[u8]) -> Option<Self> {
        let (numbers, rest) = value.as_chunks::<4>();
        let (size, holders) = numbers.split_first()?;
        let holders = holders.iter().map(|number| Number::from_le_bytes(*number)).collect();
        let size_bytes = Some(u32::from_le_bytes(*size)).filter(|size| *size != SIZE_NOT_TOLD);
        rest.is_empty().then_some(Self { size_bytes, holders })
    }
}

/// A registered torrent without its endpoints.
pub(super) fn encode_client(client: &ClientId, registration: &Registration) -> Vec<u8> {
    let id = client.as_str().as_bytes();
    let mut value = registration.capacity_bytes.unwrap_or(CAPACITY_NOT_TOLD).to_le_bytes().to_vec();
    // An identifier has at most 64 bytes.
    value.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
    value.extend_from_slice(id);
    value.extend_from_slice(registration.zone.as_ref().map(Zone::as_str).unwrap_or_default().as_bytes());
    value
}

pub(super) fn decode_client(value: &[u8]) -> Option<(ClientId, Registration)> {
    let mut reader = Reader(value);
    let capacity = reader.u64()?;
    let length = usize::from(reader.take(1)?[0]);
    let id = std::str::from_utf8(reader.take(length)?).ok()?.parse().ok()?;
    let zone = reader.rest()?;
    let registration = Registration {
        endpoints: BTreeSet::new(),
        capacity_bytes: (capacity != CAPACITY_NOT_TOLD).then_some(capacity),
        zone: if zone.is_empty() { None } else { Some(zone.parse().ok()?) },
    };
    Some((id, registration))
}

/// Reads a value from its beginning; `None` when it is too short.
struct Reader<'v>(&'v [u8]);

impl<'v> Reader<'v> {
    fn take(&mut self, length: usize) -> Option<&'v [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Everything that is left, as text.
    fn rest(&mut self) -> Option<String> {
        String::from_utf8(std::mem::take(&mut self.0).to_vec()).ok()
    }
}
