//! Under which names contents are given.
//!
//! A page from elsewhere can have its own name point to this machine, and then a browser here would let it read what it is given ("DNS
//! rebinding"), although only the loopback interface is listened on. But the browser asks under that page's name, and a daemon knows its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use axum::middleware::Next;
use protocol::EndpointUri;

use super::{Site, answers};

/// Stands for every name.
const ANY: &str = "*";

/// The names of one daemon. Addresses, and `localhost`, are always among them: nobody else's page has such a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: BTreeSet<String>,
}

impl Hosts {
    /// `configured` names, separated by commas, and the one under which the Endpoint is `advertised`.
    #[must_use]
    pub fn new(configured: Option<&str>, advertised: &EndpointUri) -> Self {
        let configured = configured.unwrap_or_default().split(',').map(str::trim);
        let names = configured
            .chain(advertised.authority().map(|(authority, _)| host(authority)))
            .filter(|name| !name.is_empty());
        Self { names: names.map(normal).collect() }
    }

    /// Whether contents are given under this name; it may have a port.
    #[must_use]
    pub fn has(&self, authority: &str) -> bool {
        let name = host(authority);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let name = normal(name);
        address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.names.contains(&name)
            || self.names.contains(ANY)
    }
}

/// An authority without its port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        Some(_) | None => authority,
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Refuses requests under names that are not this daemon's. Who names no host is no browser.
pub async fn check(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response<Body> {
    let asked = match request.headers().get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => Some(request.uri().authority().map_or("localhost", |authority| authority.as_str())),
    };
    if asked.is_some_and(|host| site.hosts.has(host)) {
        return next.run(request).await;
    }
    answers::text(
        StatusCode::MISDIRECTED_REQUEST,
        "this daemon gives nothing under that name: ask for its address, or add the name to its --http-hosts",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(configured: Option<&str>) -> Hosts {
        Hosts::new(configured, &"grpc://Torrent-1.plant.example:7402".parse().unwrap())
    }

    #[test]
    fn addresses_localhost_and_its_own_names_are_the_daemons() {
        let hosts = hosts(Some("files.example, Files"));
        let own = [
            "127.0.0.1:7481",
            "[::1]:7481",
            "[fe80::1]",
            "10.1.2.3",
            "localhost",
            "LOCALHOST:80",
            "torrent-1.plant.example:7482",
            "torrent-1.plant.example.",
            "files.example",
            "files:7482",
        ];
        own.into_iter().for_each(|name| assert!(hosts.has(name), "{name}"));
    }

    #[test]
    fn other_names_are_not() {
        let hosts = hosts(None);
        let others = [
            "",
            ":80",
            "evil.example:7481",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1:7481:evil",
            "evil.example:",
            "[evil.example]",
        ];
        others.into_iter().for_each(|name| assert!(!hosts.has(name), "{name}"));
        assert!(super::Hosts::new(Some("*"), &"grpc://t:1".parse().unwrap()).has("evil.example"));
    }
}
