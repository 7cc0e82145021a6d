//! The address of a gRPC Endpoint as it is announced on the bus.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// Longest endpoint URI, in bytes.
pub const MAX_ENDPOINT_BYTES: usize = 256;

/// An Endpoint's URI (`Endpoints`): `grpc://host:port`, or `grpcs://host:port` with TLS.
///
/// Participants that know only the specification may announce other schemes: any `scheme://authority` is carried, compared and
/// passed on, but only [`authority`](Self::authority) of the two schemes above can be dialled. Scheme and host are kept in lower
/// case and a trailing slash is dropped, so that one address has one spelling. Cheap to clone.
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
        let with_tls = match scheme {
            "grpc" => false,
            "grpcs" => true,
            _ => return None,
        };
        let (host, port) = authority.rsplit_once(':')?;
        let dialable = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
        dialable.then_some((authority, with_tls))
    }
}

impl FromStr for EndpointUri {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.chars().take(MAX_ENDPOINT_BYTES).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let scheme_is_good = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let rest_is_good = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() > MAX_ENDPOINT_BYTES || !scheme_is_good || !rest_is_good {
            return Err(invalid());
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let spelling = format!("{}://{}{path}", scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        let endpoint = Self(spelling.into());
        // Our own schemes have nothing but host and port; a text that looks like one and is not would never be dialled.
        if matches!(endpoint.0.split_once("://"), Some(("grpc" | "grpcs", _)))
            && endpoint.authority().is_none()
        {
            return Err(invalid());
        }
        Ok(endpoint)
    }
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
            "://x",
        ] {
            assert!(bad.parse::<EndpointUri>().is_err(), "{bad}");
        }
    }
}
