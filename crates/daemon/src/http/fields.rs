//! The header fields of a content: what it is called, and by which digest a client checks it.

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64_simd::STANDARD;
use protocol::{FileName, Hash};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The strong entity tag of a content: its digest.
#[must_use]
pub fn etag(digest: &Hash) -> String {
    format!("\"{digest}\"")
}

/// The fields that tell about a content whether or not it is sent: those of a 304.
///
/// What has a digest never changes, so whoever has it may keep it.
#[must_use]
pub fn about(digest: &Hash) -> HeaderMap {
    let mut fields = HeaderMap::new();
    set(&mut fields, header::ETAG, &etag(digest));
    set(&mut fields, header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    fields
}

/// All fields of a content. It comes from somebody unknown: a browser is to save it, and neither guess what it is nor run it.
#[must_use]
pub fn of_content(digest: &Hash, name: &str) -> HeaderMap {
    let mut fields = about(digest);
    set(&mut fields, REPR_DIGEST, &format!("sha-256=:{}:", STANDARD.encode_to_string(digest.as_bytes())));
    set(&mut fields, header::ACCEPT_RANGES, "bytes");
    set(&mut fields, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut fields, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut fields, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    set(&mut fields, header::CONTENT_DISPOSITION, &attachment(name));
    fields
}

/// What a file is saved as: the last component of its name, or its digest if it has none.
#[must_use]
pub fn saved_as(digest: &Hash, name: Option<&FileName>) -> String {
    let last = name.and_then(|name| name.as_str().rsplit('/').next());
    last.map_or_else(|| digest.to_string(), str::to_owned)
}

/// Sets a field. A text that is no field's value sets nothing.
pub fn set(fields: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        fields.insert(name, value);
    }
}

/// `Content-Disposition` (RFC 6266). A name that is not plain is told twice: exactly for whoever knows `filename*` (RFC 8187), and in plain
/// letters for everybody else.
fn attachment(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$&+-.^_`|~ ()[]{}@,=".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut field = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        field.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                field.push(char::from(byte));
            } else {
                // Writing into a string cannot fail.
                let _ = write!(field, "%{byte:02X}");
            }
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_told_so_that_nobody_misreads_it() {
        for (name, field) in [
            ("maps (1).tar.gz", "attachment; filename=\"maps (1).tar.gz\""),
            ("a\";x=\"b", "attachment; filename=\"a__x=_b\"; filename*=UTF-8''a%22%3Bx%3D%22b"),
            ("grün.bin", "attachment; filename=\"gr_n.bin\"; filename*=UTF-8''gr%C3%BCn.bin"),
            ("100%.bin", "attachment; filename=\"100_.bin\"; filename*=UTF-8''100%25.bin"),
        ] {
            assert_eq!(attachment(name), field);
        }
    }

    #[test]
    fn a_file_is_saved_without_its_directories() {
        let digest = Hash::of(b"x");
        assert_eq!(saved_as(&digest, Some(&"maps/berlin.tiles".parse().unwrap())), "berlin.tiles");
        assert_eq!(saved_as(&digest, None), digest.to_string());
    }

    #[test]
    fn the_digest_is_told_in_both_spellings() {
        let fields = of_content(&Hash::of(b""), "empty");
        assert_eq!(fields["repr-digest"], "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        let hex = "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"";
        assert_eq!(fields["etag"], hex);
    }

    proptest! {
        #[test]
        fn no_name_ends_its_field(name in any::<String>()) {
            let field = attachment(&name);
            prop_assert!(HeaderValue::from_str(&field).is_ok());
            prop_assert!(field.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(field.matches('"').count(), 2);
        }
    }
}
