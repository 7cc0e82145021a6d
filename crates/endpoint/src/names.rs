//! Resource names and pages, as requests spell them.

use std::fmt::Display;
use std::str::FromStr;

use protocol::{ClientId, Hash};

use crate::errors::Refusal;
use crate::proto::{digest_text, parse_digest};

/// Entries of a page where the request does not say.
pub const DEFAULT_PAGE_SIZE: usize = 100;
/// Most entries of a page.
pub const MAX_PAGE_SIZE: usize = 1000;

/// The name of a file: `files/{digest}`.
#[must_use]
pub fn file_name(file: &Hash) -> String {
    format!("files/{}", digest_text(file))
}

/// The name of a fragment: `fragments/{digest}`.
#[must_use]
pub fn fragment_name(fragment: &Hash) -> String {
    format!("fragments/{}", digest_text(fragment))
}

/// The name of a server: `servers/{server}`.
#[must_use]
pub fn server_name(server: &ClientId) -> String {
    format!("servers/{server}")
}

/// The identifier in `servers/{server}`.
#[must_use]
pub fn server_id(name: &str) -> Option<ClientId> {
    name.strip_prefix("servers/")?.parse().ok()
}

/// Reads `files/{digest}`; the digest alone will do.
///
/// # Errors
/// If it is anything else.
pub fn parse_file_name(field: &'static str, text: &str) -> Result<Hash, Refusal> {
    parse_digest_name(field, "files/", text)
}

/// Reads `fragments/{digest}`; the digest alone will do.
///
/// # Errors
/// If it is anything else.
pub fn parse_fragment_name(field: &'static str, text: &str) -> Result<Hash, Refusal> {
    parse_digest_name(field, "fragments/", text)
}

fn parse_digest_name(field: &'static str, collection: &str, text: &str) -> Result<Hash, Refusal> {
    parse_digest(text.strip_prefix(collection).unwrap_or(text))
        .map_err(|_| Refusal::invalid_digest(field, text))
}

/// A content as `google.bytestream.ByteStream` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Hash,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Reads `blobs/{sha256}/{size}`. What stands before it is the name of an instance, of which there is one here, whatever it is called.
///
/// # Errors
/// If it is anything else.
pub fn parse_blob_name(field: &'static str, text: &str) -> Result<Blob, Refusal> {
    let invalid = || Refusal::InvalidField { field, problem: "use blobs/{sha256}/{size}".into() };
    let rest = behind_instance(text, "blobs/").ok_or_else(invalid)?;
    let (digest, size) = rest.split_once('/').ok_or_else(invalid)?;
    let digest = parse_digest(digest).map_err(|_| Refusal::invalid_digest(field, digest))?;
    let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
    let size: Option<i64> = size.parse().ok().filter(|_| is_number);
    let size_bytes = size.and_then(|size| u64::try_from(size).ok()).ok_or_else(invalid)?;
    Ok(Blob { digest, size_bytes })
}

/// What follows on `collection`, with which the text begins, or one of its segments. The name of an instance has no segment that
/// means something itself.
fn behind_instance<'a>(text: &'a str, collection: &str) -> Option<&'a str> {
    let begins = |at: &usize| *at == 0 || text[..*at].ends_with('/');
    let at = text.match_indices(collection).map(|(at, _)| at).find(begins)?;
    let (instance, rest) = text.split_at(at);
    let means_something = |segment: &str| ["uploads", "blobs", "files", "fragments"].contains(&segment);
    (!instance.split('/').any(means_something)).then(|| &rest[collection.len()..])
}

/// Reads `uploads/{upload}/blobs/{sha256}/{size}`, and ignores what follows on another `/`, and what stands before it, as
/// [`parse_blob_name`] does: the upload and the blob.
///
/// # Errors
/// If it is anything else.
pub fn parse_blob_upload<'a>(field: &'static str, text: &'a str) -> Result<(&'a str, Blob), Refusal> {
    let invalid =
        || Refusal::InvalidField { field, problem: "use uploads/{uuid}/blobs/{sha256}/{size}".into() };
    let rest = behind_instance(text, "uploads/").ok_or_else(invalid)?;
    let (upload, blob) =
        rest.split_once('/').filter(|(_, blob)| blob.starts_with("blobs/")).ok_or_else(invalid)?;
    let end = blob.match_indices('/').nth(2).map_or(blob.len(), |(at, _)| at);
    Ok((upload, parse_blob_name(field, &blob[..end])?))
}

/// Reads a list of digests that may not be longer than `limit`.
///
/// # Errors
/// If it is longer, or if one is not a digest.
pub fn parse_digests(field: &'static str, texts: &[String], limit: usize) -> Result<Vec<Hash>, Refusal> {
    if texts.len() > limit {
        return Err(Refusal::TooMany { field, number: texts.len(), limit });
    }
    texts.iter().map(|text| parse_digest(text).map_err(|_| Refusal::invalid_digest(field, text))).collect()
}

/// How many entries the next page may have.
///
/// # Errors
/// If the request's number is negative.
pub fn page_size(asked: i32) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(asked) => Ok(asked.min(MAX_PAGE_SIZE)),
        Err(_) => Err(Refusal::InvalidField {
            field: "page_size",
            problem: format!("{asked} is negative: use 0 to let the server choose"),
        }),
    }
}

/// Bytes of the checksum in a page token, as hex digits.
const CHECKSUM_DIGITS: usize = 16;

/// A list as its page tokens tell it: which it is, and what was asked of it.
///
/// A token is `{place}.{checksum}`, the checksum over the list and the place: so the token of another list, of another filter, or of nobody
/// is refused in place of skipping entries. All daemons make the same tokens, for the next page may be asked of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List(String);

impl List {
    /// The list that `what` stands for: its kind, and everything that must be the same from page to page.
    #[must_use]
    pub fn new(what: &str) -> Self {
        Self(what.to_owned())
    }

    fn checksum(&self, place: &str) -> String {
        let mut checksum = Hash::of(format!("{}\n{place}", self.0).as_bytes()).to_string();
        checksum.truncate(CHECKSUM_DIGITS);
        checksum
    }

    /// The token of the page that begins at `next`; empty if there is none.
    #[must_use]
    pub fn token<T: Display>(&self, next: Option<T>) -> String {
        let Some(next) = next else { return String::new() };
        let place = next.to_string();
        format!("{place}.{}", self.checksum(&place))
    }

    /// Where the page of this token begins: none at the start.
    ///
    /// # Errors
    /// If the token is not one of this list.
    pub fn start<T: FromStr>(&self, token: &str) -> Result<Option<T>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let (place, checksum) = token.rsplit_once('.').ok_or(Refusal::InvalidPageToken)?;
        if checksum != self.checksum(place) {
            return Err(Refusal::InvalidPageToken);
        }
        place.parse().map(Some).map_err(|_| Refusal::InvalidPageToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_accepted_in_every_spelling_and_written_in_one() {
        let hash = Hash::of(b"x");
        for text in [
            file_name(&hash),
            digest_text(&hash),
            hash.to_string(),
            format!("files/{}", hash.to_string().to_uppercase()),
        ] {
            assert_eq!(parse_file_name("name", &text), Ok(hash), "{text}");
        }
        assert!(parse_file_name("name", &fragment_name(&hash)).is_err());
        assert!(parse_file_name("name", "").is_err());
    }

    #[test]
    fn a_blob_is_named_by_digest_and_size() {
        let hash = Hash::of(b"x");
        let blob = Blob { digest: hash, size_bytes: 12 };
        assert_eq!(parse_blob_name("name", &format!("blobs/{hash}/12")), Ok(blob));
        for instance in ["main", "a/b"] {
            assert_eq!(parse_blob_name("name", &format!("{instance}/blobs/{hash}/12")), Ok(blob));
            let upload = format!("{instance}/uploads/u/blobs/{hash}/12");
            assert_eq!(parse_blob_upload("name", &upload), Ok(("u", blob)));
        }
        for other in ["uploads/u/", "fragments/", "compressed-"] {
            assert!(parse_blob_name("name", &format!("{other}blobs/{hash}/12")).is_err(), "{other}");
        }
        let upload = format!("uploads/u/blobs/{hash}/12");
        for text in [upload.clone(), format!("{upload}/"), format!("{upload}/a/b.txt")] {
            assert_eq!(parse_blob_upload("name", &text), Ok(("u", blob)), "{text}");
        }
        let digits = hash.to_string();
        for text in ["", "blobs/", "blobs//1", "blobs/12/12"].map(str::to_owned).into_iter().chain(
            ["", "/", "/-1", "/+1", "/1/2", "/x", "/99999999999999999999"]
                .map(|end| format!("blobs/{digits}{end}")),
        ) {
            assert!(parse_blob_name("name", &text).is_err(), "{text}");
            assert!(parse_blob_upload("name", &text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_is_bounded() {
        assert_eq!(page_size(0), Ok(DEFAULT_PAGE_SIZE));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(MAX_PAGE_SIZE));
        assert_eq!(page_size(-1).map_err(|refusal| refusal.code()), Err(tonic::Code::InvalidArgument));
    }

    #[test]
    fn a_page_token_is_taken_by_the_list_that_gave_it_and_by_no_other() {
        let list = List::new("servers");
        assert_eq!(list.token(None::<usize>), "");
        assert_eq!(list.start::<ClientId>(""), Ok(None));
        let id: ClientId = "t-1".parse().unwrap();
        let token = list.token(Some(&id));
        assert_eq!(list.start(&token), Ok(Some(id)));
        let other = List::new("files").token(Some("t-1"));
        let moved = token.replacen("t-1", "t-2", 1);
        for foreign in
            [other, moved, token[1..].to_owned(), "t-1".into(), "5".into(), "-1".into(), ".".into()]
        {
            assert_eq!(list.start::<ClientId>(&foreign), Err(Refusal::InvalidPageToken), "{foreign}");
        }
    }
}
