//! REF: how a user names a file.
//!
//! A text may be read in two ways: `deadbeef` is the beginning of a digest and may be a name. All readings are looked up, and exactly one
//! file must come of it.

use endpoint::client::{Cluster, FileFilter};
use endpoint::proto::{self, parse_digest};
use futures::{Stream, TryStreamExt};
use protocol::Hash;

use crate::exit::{Code, Failure};
use crate::output::printable;

/// Fewest digits that stand for a digest.
const MIN_PREFIX_DIGITS: usize = 8;
/// How many candidates an error names.
const NAMED_CANDIDATES: usize = 5;

/// What a REF can mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Exactly this file.
    Digest(Hash),
    /// A file whose digest begins with these lower-case digits; also a name, if it was written without `sha256:`.
    Prefix {
        /// The digits.
        digits: String,
        /// The same as a name.
        name: Option<String>,
    },
    /// A file of that name.
    Name(String),
}

impl Reference {
    /// What `text` can mean.
    ///
    /// # Errors
    /// If it means nothing.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(hash) = parse_digest(text) {
            return Ok(Self::Digest(hash));
        }
        let is_prefix = |digits: &str| {
            (MIN_PREFIX_DIGITS..64).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        if let Some(digits) = text.strip_prefix("sha256:") {
            if is_prefix(digits) {
                return Ok(Self::Prefix { digits: digits.to_ascii_lowercase(), name: None });
            }
            let message = format!(
                "{:?} is not a digest: use {MIN_PREFIX_DIGITS} to 64 hex digits behind 'sha256:'",
                shortened(text)
            );
            return Err(Failure::new(Code::Usage, "INVALID_REF", message));
        }
        if text.is_empty() {
            return Err(Failure::new(
                Code::Usage,
                "INVALID_REF",
                "an empty text names no file: use a digest or a name",
            ));
        }
        if is_prefix(text) {
            return Ok(Self::Prefix { digits: text.to_ascii_lowercase(), name: Some(text.to_owned()) });
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// The one file that `text` stands for. A whole digest is not looked up.
///
/// # Errors
/// If there is none, or more than one, or nobody can be asked.
pub async fn resolve(cluster: &Cluster, text: &str) -> Result<Hash, Failure> {
    let mut candidates: Vec<(Hash, String)> = Vec::new();
    let by_name = |name: &str| FileFilter { name: name.to_owned(), ..FileFilter::default() };
    let filters = match Reference::parse(text)? {
        Reference::Digest(hash) => return Ok(hash),
        Reference::Name(name) => vec![by_name(&name)],
        Reference::Prefix { digits, name } => {
            let by_digits = FileFilter { digest_prefix: digits, ..FileFilter::default() };
            std::iter::once(by_digits).chain(name.as_deref().map(by_name)).collect()
        }
    };
    for filter in filters {
        take_some(cluster.files(filter), &mut candidates).await?;
    }
    candidates.sort();
    candidates.dedup();
    match candidates.as_slice() {
        [] => Err(Failure::new(Code::NotFound, "FILE_NOT_FOUND", not_found(text))),
        [(hash, _)] => Ok(*hash),
        several => Err(ambiguous(text, several)),
    }
}

async fn take_some(
    files: impl Stream<Item = Result<proto::File, endpoint::client::ClientError>>,
    candidates: &mut Vec<(Hash, String)>,
) -> Result<(), Failure> {
    let mut files = std::pin::pin!(files);
    let enough = candidates.len() + NAMED_CANDIDATES + 1;
    while candidates.len() < enough
        && let Some(file) = files.try_next().await?
    {
        if let Ok(hash) = parse_digest(&file.digest) {
            candidates.push((hash, file.display_name));
        }
    }
    Ok(())
}

/// What to say where nothing came of `text`. Digests that begin so were looked for only where it has enough digits.
fn not_found(text: &str) -> String {
    let is_too_short = text.len() < MIN_PREFIX_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let digests = if is_too_short {
        format!("the beginning of a digest needs {MIN_PREFIX_DIGITS} digits or more")
    } else {
        "no digest begins so".to_owned()
    };
    format!("no file is called {:?}, and {digests}: 'mds ls' shows what there is", shortened(text))
}

fn ambiguous(text: &str, several: &[(Hash, String)]) -> Failure {
    let named =
        several.iter().take(NAMED_CANDIDATES).map(|(hash, name)| format!("{hash} {}", printable(name)));
    let mut named: Vec<String> = named.collect();
    if several.len() > NAMED_CANDIDATES {
        named.push("and more".into());
    }
    let message =
        format!("{:?} stands for more than one file: use more digits. {}", shortened(text), named.join(", "));
    Failure::new(Code::Usage, "AMBIGUOUS_REF", message)
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_digest_is_a_digest_in_every_spelling() {
        let hash = Hash::of(b"x");
        for text in [hash.to_string(), hash.to_string().to_uppercase(), format!("sha256:{hash}")] {
            assert_eq!(Reference::parse(&text), Ok(Reference::Digest(hash)));
        }
    }

    #[test]
    fn eight_digits_are_a_prefix_and_may_be_a_name() {
        let prefix = |digits: &str, name: Option<&str>| {
            Ok(Reference::Prefix { digits: digits.into(), name: name.map(Into::into) })
        };
        assert_eq!(Reference::parse("DeadBeef"), prefix("deadbeef", Some("DeadBeef")));
        assert_eq!(Reference::parse("sha256:DeadBeef0"), prefix("deadbeef0", None));
        let almost = &Hash::of(b"x").to_string()[1..];
        assert_eq!(Reference::parse(almost), prefix(almost, Some(almost)));
    }

    #[test]
    fn everything_else_is_a_name() {
        for text in ["deadbee", "maps/berlin.tiles", "deadbeefx", "ünï", &"0".repeat(65)] {
            assert_eq!(Reference::parse(text), Ok(Reference::Name(text.to_owned())));
        }
    }

    #[test]
    fn too_few_digits_are_told_from_a_digest_that_is_not_there() {
        assert!(not_found("deadbee").contains("needs 8 digits or more"));
        assert!(not_found("deadbeef").contains("no digest begins so"));
        assert!(not_found("berlin").contains("no digest begins so"));
    }

    #[test]
    fn what_can_be_nothing_is_a_usage_error() {
        for text in ["", "sha256:", "sha256:dead", "sha256:nothexdigits"] {
            assert_eq!(Reference::parse(text).map_err(|failure| failure.code), Err(Code::Usage), "{text}");
        }
    }
}
