//! What a request makes its answer depend on: `If-Match`, `If-None-Match`, `If-Range` (RFC 9110, section 13).
//!
//! The content of a digest never changes, so its entity tag is the digest, and there is no date: conditions on dates are ignored.

use axum::http::{HeaderMap, HeaderName, header};

use super::range::Part;

/// What is to be done with a request for a representation that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send this part.
    Send(Part),
    /// 304: the client has it already.
    NotModified,
    /// 412: the client wants another one.
    PreconditionFailed,
}

/// Weighs the conditions, in the order of section 13.2.2. `etag` is the strong entity tag with its quotes. Only GET has ranges.
#[must_use]
pub fn weigh(headers: &HeaderMap, is_get: bool, etag: &str, size_bytes: u64) -> Verdict {
    if let Some(tags) = list(headers, &header::IF_MATCH)
        && !tags.iter().any(|tags| names(tags, etag, Comparison::Strong))
    {
        return Verdict::PreconditionFailed;
    }
    if let Some(tags) = list(headers, &header::IF_NONE_MATCH)
        && tags.iter().any(|tags| names(tags, etag, Comparison::Weak))
    {
        return Verdict::NotModified;
    }
    let range = list(headers, &header::RANGE).unwrap_or_default();
    let if_range = list(headers, &header::IF_RANGE).unwrap_or_default();
    let is_current = if_range.iter().all(|tag| tag.trim() == etag);
    match range[..] {
        [range] if is_get && is_current => Verdict::Send(Part::of(range, size_bytes)),
        _ => Verdict::Send(Part::Whole),
    }
}

/// The field's lines, those that are text; none if there is no such field.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    let lines = headers.get_all(name).iter();
    headers.contains_key(name).then(|| lines.filter_map(|line| line.to_str().ok()).collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names this one. A list that cannot be read names nothing behind its fault.
fn names(list: &str, etag: &str, comparison: Comparison) -> bool {
    let mut rest = list.trim_start_matches([' ', '\t', ',']);
    if rest.trim_end() == "*" {
        return true;
    }
    while !rest.is_empty() {
        let (is_weak, tag) = match rest.strip_prefix("W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let Some(closing) = tag.strip_prefix('"').and_then(|inside| inside.find('"')) else { return false };
        let (tag, behind) = tag.split_at(closing + 2);
        if tag == etag && (comparison == Comparison::Weak || !is_weak) {
            return true;
        }
        let behind = behind.trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with(',') {
            return false;
        }
        rest = behind.trim_start_matches([' ', '\t', ',']);
    }
    false
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"abc\"";

    fn weigh_with(fields: &[(HeaderName, &str)], is_get: bool) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        weigh(&headers, is_get, ETAG, 1000)
    }

    #[test]
    fn a_client_that_has_it_is_not_sent_it() {
        for tags in ["\"abc\"", "*", "W/\"abc\"", "\"x\", \"abc\"", "\"a,b\",W/\"abc\"", ", \"abc\" ,"] {
            assert_eq!(weigh_with(&[(header::IF_NONE_MATCH, tags)], true), Verdict::NotModified, "{tags}");
            assert_eq!(weigh_with(&[(header::IF_NONE_MATCH, tags)], false), Verdict::NotModified, "{tags}");
        }
        for tags in ["\"x\"", "abc", "\"abc", "\"x\" \"abc\"", "", "\"ABC\""] {
            let verdict = weigh_with(&[(header::IF_NONE_MATCH, tags)], true);
            assert_eq!(verdict, Verdict::Send(Part::Whole), "{tags}");
        }
    }

    #[test]
    fn a_client_that_wants_another_one_is_refused() {
        for tags in ["\"x\"", "W/\"abc\"", ""] {
            let verdict = weigh_with(&[(header::IF_MATCH, tags), (header::IF_NONE_MATCH, "*")], true);
            assert_eq!(verdict, Verdict::PreconditionFailed, "{tags}");
        }
        for tags in ["\"abc\"", "*", "W/\"abc\", \"abc\""] {
            assert_eq!(weigh_with(&[(header::IF_MATCH, tags)], true), Verdict::Send(Part::Whole), "{tags}");
        }
        let lines = [(header::IF_MATCH, "\"x\""), (header::IF_MATCH, ETAG)];
        assert_eq!(weigh_with(&lines, true), Verdict::Send(Part::Whole), "a field of two lines");
    }

    #[test]
    fn a_range_of_another_content_is_not_sent() {
        let range = (header::RANGE, "bytes=0-9");
        let part = Verdict::Send(Part::Bytes(0..=9));
        assert_eq!(weigh_with(std::slice::from_ref(&range), true), part);
        assert_eq!(weigh_with(&[range.clone(), (header::IF_RANGE, ETAG)], true), part);
        for other in ["\"x\"", "W/\"abc\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            let verdict = weigh_with(&[range.clone(), (header::IF_RANGE, other)], true);
            assert_eq!(verdict, Verdict::Send(Part::Whole), "{other}");
        }
        let of_head = weigh_with(std::slice::from_ref(&range), false);
        assert_eq!(of_head, Verdict::Send(Part::Whole), "HEAD has no ranges");
        assert_eq!(weigh_with(&[range.clone(), range], true), Verdict::Send(Part::Whole), "two fields");
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(fields in prop::collection::vec((0..4_usize, "[ -~\t]{0,30}|[\"W/*, ab]{0,20}"), 0..6)) {
            let all = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE, header::RANGE];
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.append(&all[name], value);
                }
            }
            let _ = weigh(&headers, true, ETAG, 1000);
        }
    }
}
