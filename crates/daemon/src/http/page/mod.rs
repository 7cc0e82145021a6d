//! The page at `/`: one document without anything from elsewhere, which asks `/api/status` how things stand.
//!
//! What people have named is put in as text by the script, never as markup; and should that ever fail, the policy that comes with the page
//! lets a browser run nothing but this one script.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use base64_simd::STANDARD;
use protocol::Hash;

use super::fields::set;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const DOCUMENT: &str = include_str!("page.html");

static PAGE: LazyLock<String> =
    LazyLock::new(|| DOCUMENT.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT));

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let source =
        |text: &str| format!("'sha256-{}'", STANDARD.encode_to_string(Hash::of(text.as_bytes()).as_bytes()));
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        source(SCRIPT),
        source(STYLE)
    )
});

pub async fn page() -> Response<Body> {
    let mut answer = Response::new(Body::from(PAGE.as_str()));
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    set(fields, header::CONTENT_SECURITY_POLICY, &POLICY);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lets_the_page_s_own_script_and_style_run_and_nothing_else() {
        let between = |open: &str, close: &str| {
            let (_, rest) = PAGE.split_once(open).unwrap();
            rest.split_once(close).unwrap().0
        };
        for text in [between("<script>", "</script>"), between("<style>", "</style>")] {
            let digest = Hash::of(text.as_bytes());
            assert!(POLICY.contains(&STANDARD.encode_to_string(digest.as_bytes())));
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert!(
            !PAGE.contains("style=") && !PAGE.contains("onclick") && !PAGE.contains("http"),
            "nothing inline"
        );
    }

    #[test]
    fn the_script_makes_no_markup_of_what_it_is_told() {
        for banned in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("] {
            assert!(!SCRIPT.contains(banned), "{banned}");
        }
    }
}
