//! The address of a gRPC Endpoint as it is announced on the bus.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// Longest endpoint URI, in bytes.
pub const MAX_ENDPOINT_BYTES: usize = 256;

/// An Endpoint's URI (`Endpoints`): `grpc://host:port`, or `grpcs://host:port` with TLS.
///
/// Participants that know only the specification may announce other schemes: any `scheme://authority` is carried, compared and
/// passed on, but only [`authority`](Self::authority) of the two schemes above can be dialled, and those have no user, path or query.
/// Scheme and host are kept in lower case and a trailing slash is dropped, so that one address has one spelling. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointUri(Arc<str>);

/// Why a text is not an [`EndpointUri`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an endpoint: use grpc://host:port or grpcs://host:port")]
pub struct InvalidEndpoint(String);

impl EndpointUri {
    /// The URI as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `host:port` of an endpoint that we can dial, and whether it wants TLS.
    #[must_use]
    pub fn authority(&self) -> Option<(&str, bool)> {
        let (scheme, authority) = self.0.split_once("://")?;
        is_dialled(scheme).map(|with_tls| (authority, with_tls))
    }
}

impl FromStr for EndpointUri {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.chars().take(MAX_ENDPOINT_BYTES).collect());
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err(invalid());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let scheme_is_good = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let rest_is_good = !rest.is_empty() && rest.bytes().all(may_stand_in_a_uri);
        if !scheme_is_good || !rest_is_good {
            return Err(invalid());
        }
        let scheme = scheme.to_ascii_lowercase();
        let spelling = if is_dialled(&scheme).is_some() {
            // Nothing but host and port: a user, path or query in what is dialled could only mislead.
            let authority = host_and_port(rest).ok_or_else(invalid)?;
            format!("{scheme}://{authority}")
        } else {
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", authority.to_ascii_lowercase())
        };
        Ok(Self(spelling.into()))
    }
}

/// Whether we can dial this scheme, and then whether with TLS.
fn is_dialled(scheme: &str) -> Option<bool> {
    match scheme {
        "grpc" => Some(false),
        "grpcs" => Some(true),
        _ => None,
    }
}

/// The characters of RFC 3986.
fn may_stand_in_a_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// The one spelling of `host:port`: a name or an IPv4 address in lower case, or an IPv6 address in brackets in its canonical form.
fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]:{port}"));
    }
    let is_a_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    is_a_name.then(|| format!("{}:{port}", host.to_ascii_lowercase()))
}

impl fmt::Display for EndpointUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EndpointUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EndpointUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EndpointUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_spelling() {
        let endpoint: EndpointUri = "GRPC://Host.Example:7402/".parse().unwrap();
        assert_eq!(endpoint.as_str(), "grpc://host.example:7402");
        assert_eq!(endpoint.authority(), Some(("host.example:7402", false)));
        let endpoint: EndpointUri = "grpcs://[0:0:0:0:0:0:0:1]:07402".parse().unwrap();
        assert_eq!(endpoint.authority(), Some(("[::1]:7402", true)));
    }

    #[test]
    fn a_foreign_scheme_is_carried_but_not_dialled() {
        let endpoint: EndpointUri = "http://10.0.0.5:5000/Files".parse().unwrap();
        assert_eq!(endpoint.as_str(), "http://10.0.0.5:5000/Files");
        assert_eq!(endpoint.authority(), None);
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for bad in [
            "",
            "host:1",
            "grpc://",
            "grpc://host",
            "grpc://host:0",
            "grpc://host:99999",
            "grpc://:7402",
            "grpc://a b:1",
            "grpc://host:+1",
            "grpc://::1:7402",
            "grpc://[::1:7402",
            "grpc://user@host:1",
            "grpc://host/path:1",
            "grpc://host:1/path",
            "grpc://host?query:1",
            "grpc://host#fragment:1",
            "http://a\"b",
            "http://a<b>",
            "://x",
        ] {
            assert!(bad.parse::<EndpointUri>().is_err(), "{bad}");
        }
    }
}
