//! Resource names and pages, as requests spell them.

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

/// Where a page begins: none at the start, else what [`std::str::FromStr`] reads from the token.
///
/// # Errors
/// If the token cannot be read.
pub fn page_start<T: std::str::FromStr>(token: &str) -> Result<Option<T>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    token.parse().map(Some).map_err(|_| Refusal::InvalidPageToken)
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
    fn a_page_is_bounded() {
        assert_eq!(page_size(0), Ok(DEFAULT_PAGE_SIZE));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(MAX_PAGE_SIZE));
        assert_eq!(page_size(-1).map_err(|refusal| refusal.code()), Err(tonic::Code::InvalidArgument));
        assert_eq!(page_start::<usize>("x"), Err(Refusal::InvalidPageToken));
    }
}
