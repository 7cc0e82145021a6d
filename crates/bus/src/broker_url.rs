//! Where the broker is and who we say we are: `mqtt://[user[:password]@]host[:port]`.
//!
//! Showing a [`BrokerUrl`] masks the password, so that it can stand in logs and error messages as it is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A broker's address and the credentials for it.
///
/// `mqtt://` is plain TCP (default port 1883), `mqtts://` is TLS (default port 8883). An IPv6 address stands
/// in brackets. `@`, `:`, `/` and `%` in a user name or password are written as `%40`, `%3A`, `%2F` and `%25`.
///
/// Cheap to clone: every error that concerns the broker carries one.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    tls: bool,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// User name and password, already percent-decoded.
#[derive(PartialEq, Eq)]
struct Credentials {
    user: String,
    password: Option<String>,
}

/// Why a text is not a [`BrokerUrl`]. Never repeats the text: a password may stand in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBrokerUrl {
    /// The text does not begin with one of the two schemes.
    #[error("a broker URL begins with mqtt:// or mqtts://, for example mqtt://localhost:1883")]
    Scheme,
    /// Nothing stands where the host should.
    #[error("the broker URL names no host; write mqtt://HOST:PORT")]
    NoHost,
    /// The host holds a character that no host name has, or an unclosed bracket.
    #[error(
        "{host:?} is not a host name or address; an IPv6 address stands in brackets, as in mqtt://[::1]:1883"
    )]
    Host {
        /// What stands where the host should.
        host: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("{port:?} is not a port from 1 to 65535")]
    Port {
        /// What stands where the port should.
        port: String,
    },
    /// Something follows the port: MQTT has no paths.
    #[error("a broker URL ends after the port: remove {rest:?}")]
    Trailing {
        /// What follows the port.
        rest: String,
    },
    /// The user name is empty, though a password or an `@` is there.
    #[error("the broker URL has an `@` but no user name before it")]
    NoUser,
    /// A `%` in the credentials is not followed by two hex digits, or the result is not UTF-8.
    #[error("the credentials hold a `%` that does not begin a percent-encoded byte; write a plain % as %25")]
    Encoding,
}

impl BrokerUrl {
    /// Whether the connection is made with TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.tls
    }

    /// Host name or address, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// User name and password (empty if the URL has none).
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let credentials = self.0.credentials.as_ref()?;
        Some((&credentials.user, credentials.password.as_deref().unwrap_or_default()))
    }

    /// The same broker with this user, and this password if there is one; neither is percent-encoded.
    #[must_use]
    pub fn with_credentials(&self, user: String, password: Option<String>) -> Self {
        let Parts { tls, host, port, credentials: _ } = &*self.0;
        let credentials = Some(Credentials { user, password });
        Self(Arc::new(Parts { tls: *tls, host: host.clone(), port: *port, credentials }))
    }
}

impl FromStr for BrokerUrl {
    type Err = InvalidBrokerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerUrl> {
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(InvalidBrokerUrl::Scheme),
        };
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(Credentials::parse(credentials)?), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if let Some(end) = address.find(['/', '?', '#']) {
            return Err(InvalidBrokerUrl::Trailing { rest: address[end..].to_owned() });
        }
        let (host, port) = split_address(address)?;
        let port = match port {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|&port: &u16| port != 0)
                .ok_or_else(|| InvalidBrokerUrl::Port { port: digits.to_owned() })?,
        };
        Ok(Self(Arc::new(Parts { tls, host: host.to_owned(), port, credentials })))
    }
}

/// Host without brackets, and the port's digits if there is one.
fn split_address(address: &str) -> Result<(&str, Option<&str>), InvalidBrokerUrl> {
    let no_host = || InvalidBrokerUrl::Host { host: address.to_owned() };
    if let Some(inside) = address.strip_prefix('[') {
        let (host, after) = inside.split_once(']').ok_or_else(no_host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| no_host())?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(no_host()),
        };
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    if host.is_empty() {
        return Err(InvalidBrokerUrl::NoHost);
    }
    if port.is_some_and(|port| port.contains(':'))
        || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    {
        return Err(no_host());
    }
    Ok((host, port))
}

impl Credentials {
    fn parse(text: &str) -> Result<Self, InvalidBrokerUrl> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(percent_decode(password)?)),
            None => (text, None),
        };
        if user.is_empty() {
            return Err(InvalidBrokerUrl::NoUser);
        }
        Ok(Self { user: percent_decode(user)?, password })
    }
}

fn percent_decode(text: &str) -> Result<String, InvalidBrokerUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (high, low) = digit().zip(digit()).ok_or(InvalidBrokerUrl::Encoding)?;
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| InvalidBrokerUrl::Encoding)
}

impl fmt::Display for BrokerUrl {
    /// The URL with the password as `***`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { tls, host, port, credentials } = &*self.0;
        f.write_str(if *tls { "mqtts://" } else { "mqtt://" })?;
        if let Some(Credentials { user, password }) = credentials {
            let password = if password.is_some() { ":***" } else { "" };
            write!(f, "{}{password}@", user.escape_default())?;
        }
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BrokerUrl {
        text.parse().unwrap()
    }

    fn error(text: &str) -> InvalidBrokerUrl {
        text.parse::<BrokerUrl>().unwrap_err()
    }

    #[test]
    fn the_port_defaults_to_1883_and_with_tls_to_8883() {
        assert_eq!(url("mqtt://localhost").port(), 1883);
        assert_eq!(url("mqtts://localhost").port(), 8883);
        assert_eq!(url("mqtt://10.0.0.1:2000/").port(), 2000);
        assert!(url("mqtts://localhost").is_tls());
    }

    #[test]
    fn the_password_is_never_shown() {
        let shown = format!("{0} {0:?}", url("mqtts://tracker:s%40cret@broker.example"));
        assert_eq!(shown, "mqtts://tracker:***@broker.example:8883 mqtts://tracker:***@broker.example:8883");
    }

    #[test]
    fn credentials_are_percent_decoded() {
        assert_eq!(url("mqtt://a%3Ab:c%40d%25@h").credentials(), Some(("a:b", "c@d%")));
        assert_eq!(url("mqtt://a:b@c:d@h").credentials(), Some(("a", "b@c:d")));
        assert_eq!(url("mqtt://user@h").credentials(), Some(("user", "")));
        assert_eq!(url("mqtt://h").credentials(), None);
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        assert_eq!(url("mqtt://[::1]:1884").host(), "::1");
        assert_eq!(url("mqtt://[::1]:1884").port(), 1884);
        assert_eq!(url("mqtt://[::1]").to_string(), "mqtt://[::1]:1883");
        assert!(matches!(error("mqtt://::1"), InvalidBrokerUrl::NoHost));
        assert!(matches!(error("mqtt://fe80::1"), InvalidBrokerUrl::Host { .. }));
        assert!(matches!(error("mqtt://[::1"), InvalidBrokerUrl::Host { .. }));
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        assert_eq!(error("localhost:1883"), InvalidBrokerUrl::Scheme);
        assert_eq!(error("http://localhost"), InvalidBrokerUrl::Scheme);
        assert_eq!(error("mqtt://"), InvalidBrokerUrl::NoHost);
        assert_eq!(error("mqtt://:1883"), InvalidBrokerUrl::NoHost);
        assert!(matches!(error("mqtt://a b"), InvalidBrokerUrl::Host { .. }));
        assert!(matches!(error("mqtt://h:0"), InvalidBrokerUrl::Port { .. }));
        assert!(matches!(error("mqtt://h:65536"), InvalidBrokerUrl::Port { .. }));
        assert!(matches!(error("mqtt://h:"), InvalidBrokerUrl::Port { .. }));
        assert!(matches!(error("mqtt://h:1883/x"), InvalidBrokerUrl::Trailing { .. }));
        assert_eq!(error("mqtt://@h"), InvalidBrokerUrl::NoUser);
        assert_eq!(error("mqtt://a%4@h"), InvalidBrokerUrl::Encoding);
        assert_eq!(error("mqtt://a%ff@h"), InvalidBrokerUrl::Encoding);
    }
}
