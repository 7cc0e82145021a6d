//! Passwords: from files of their own, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bus::BrokerUrl;
use tracing::warn;

use super::error::{ConfigError, value_error};

/// A password longer than this is some other file.
const MAX_PASSWORD_BYTES: usize = 4096;

/// The broker's URL with the user and the password that were told beside it.
///
/// # Errors
/// If they contradict what the URL says, or the file cannot be read.
pub(super) fn with_credentials(
    url: BrokerUrl,
    user: Option<&str>,
    password_file: Option<&Path>,
) -> Result<BrokerUrl, ConfigError> {
    let (url_user, url_has_password) = match url.credentials() {
        Some((user, password)) => (Some(user.to_owned()), !password.is_empty()),
        None => (None, false),
    };
    let user = match (user, url_user) {
        (Some(user), Some(url_user)) if user != url_user => {
            let reason = "the broker's URL names another user: leave one of them out";
            return Err(value_error("broker_user", user, reason));
        }
        (Some(""), None) => return Err(value_error("broker_user", "", "a user has a name")),
        (Some(user), _) => Some(user.to_owned()),
        (None, url_user) => url_user,
    };
    let Some(path) = password_file else {
        return Ok(match user {
            Some(user) if !url_has_password => url.with_credentials(user, None),
            Some(_) | None => url,
        });
    };
    let refused = |reason: &str| value_error("broker_password_file", &path.display().to_string(), reason);
    let Some(user) = user else {
        return Err(refused("a password needs a user: set broker_user, or write mqtt://USER@HOST"));
    };
    if url_has_password {
        return Err(refused("the broker's URL has a password already: leave one of them out"));
    }
    let bytes = fs::read(path).map_err(|error| refused(&format!("it cannot be read: {error}")))?;
    if bytes.len() > MAX_PASSWORD_BYTES {
        return Err(refused("it is too long for a password"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8"))?;
    let password =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        return Err(refused("it is empty"));
    }
    warn_if_readable_by_all(path);
    Ok(url.with_credentials(user, Some(password.to_owned())))
}

/// Says so if everybody on this machine can read a file with a password.
pub fn warn_if_readable_by_all(path: &Path) {
    if is_readable_by_all(path) {
        warn!(path = %path.display(), "everybody on this machine can read this file, which holds a password: chmod o-r");
    }
}

fn is_readable_by_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn url(text: &str, user: Option<&str>, password: Option<&str>) -> Result<BrokerUrl, ConfigError> {
        let file = password.map(file);
        with_credentials(text.parse().unwrap(), user, file.as_ref().map(tempfile::NamedTempFile::path))
    }

    #[test]
    fn a_password_comes_from_its_file_without_the_line_end() {
        for text in ["s e:c@ret", "s e:c@ret\n", "s e:c@ret\r\n"] {
            for (broker, user) in
                [("mqtt://h", Some("me")), ("mqtt://me@h", None), ("mqtt://me@h", Some("me"))]
            {
                let url = url(broker, user, Some(text)).unwrap();
                assert_eq!(url.credentials(), Some(("me", "s e:c@ret")));
                assert_eq!(url.to_string(), "mqtt://me:***@h:1883");
            }
        }
    }

    #[test]
    fn a_user_alone_is_a_user() {
        assert_eq!(url("mqtt://h", Some("me"), None).unwrap().credentials(), Some(("me", "")));
        assert_eq!(url("mqtt://me:x@h", Some("me"), None).unwrap().credentials(), Some(("me", "x")));
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_key() {
        for (broker, user, password, key) in [
            ("mqtt://me@h", Some("you"), None, "broker_user"),
            ("mqtt://h", Some(""), None, "broker_user"),
            ("mqtt://h", None, Some("x"), "broker_password_file"),
            ("mqtt://me:x@h", None, Some("y"), "broker_password_file"),
            ("mqtt://me@h", None, Some("\n"), "broker_password_file"),
        ] {
            let error = url(broker, user, password).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        let missing = with_credentials("mqtt://me@h".parse().unwrap(), None, Some(Path::new("/nonexistent")));
        assert!(missing.unwrap_err().to_string().contains("/nonexistent"));
    }

    #[test]
    fn a_file_that_everybody_reads_is_noticed() {
        let file = file("x");
        for (mode, noticed) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_readable_by_all(file.path()), noticed, "{mode:o}");
        }
    }
}
