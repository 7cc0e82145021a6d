//! Configuration: defaults < file < environment < flags.
//!
//! A daemon's settings are one struct of optional values that is read three times: by clap from flags and environment, and by serde from
//! the file. [`load()`] lays the first over the second and remembers where each value comes from; defaults are filled in where a value is
//! used.
//!
//! | to change | open |
//! |---|---|
//! | what both daemons can be told | this file |
//! | how the file is read, which names are alike | `load` |
//! | what `--print-config` shows, the reference for documents | `print` |
//! | which variables of the environment are refused | `environment` |
//! | how a password gets in | `secret` |

mod environment;
mod error;
mod load;
mod origin;
mod print;
mod secret;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bus::BrokerUrl;
use clap::Args;
use protocol::{EndpointUri, Topics};
use serde::{Deserialize, Serialize};

use crate::logging::LogFormat;
use crate::scrub::Pace;

pub use error::{ConfigError, value_error};
pub use load::{Loaded, load};
pub use origin::{Origin, Origins, read};
pub use print::{Setting, print, reference, show};

/// The settings that both daemons have. Durations are texts such as `500ms`, `10s`, `5m`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct CommonSettings {
    /// The MQTT broker: mqtt://HOST:PORT or mqtt://USER:PASSWORD@HOST:PORT, or mqtts://… with TLS.
    #[arg(long, value_name = "URL", env = "MDS_BROKER", hide_env_values = true)]
    pub broker: Option<String>,
    /// The user at the broker, if the URL names none.
    #[arg(long, value_name = "NAME", env = "MDS_BROKER_USER")]
    pub broker_user: Option<String>,
    /// File with that user's password, alone on its line: it need not stand in a command line, an environment or a URL.
    #[arg(long, value_name = "FILE", env = "MDS_BROKER_PASSWORD_FILE")]
    pub broker_password_file: Option<PathBuf>,
    /// PEM file with the certificates to trust with mqtts://.
    #[arg(long, value_name = "FILE", env = "MDS_BROKER_CA")]
    pub broker_ca: Option<PathBuf>,
    /// Keep trying when the broker cannot be reached at the start, instead of ending with code 4.
    #[arg(long, env = "MDS_RETRY_CONNECT", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub retry_connect: Option<bool>,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", env = "MDS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the gRPC Endpoint; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", env = "MDS_LISTEN")]
    pub listen: Option<String>,
    /// Address of HTTP (files, a page for browsers, health, metrics), or 'off'.
    #[arg(long, value_name = "ADDR", env = "MDS_HTTP")]
    pub http: Option<String>,
    /// Names, separated by commas, under which browsers may ask for contents besides the advertised one; '*' for any.
    #[arg(long, value_name = "NAMES", env = "MDS_HTTP_HOSTS")]
    pub http_hosts: Option<String>,
    /// Stands before every topic, so that one broker can carry many services.
    #[arg(long, value_name = "P", env = "MDS_TOPIC_PREFIX")]
    pub topic_prefix: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT", env = "MDS_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Largest event in bytes, sent or received. The same everywhere.
    #[arg(long, value_name = "BYTES", env = "MDS_MAX_EVENT_BYTES")]
    pub max_event_bytes: Option<usize>,
    /// How many bytes of the store are verified in a second, in the background; 0 for none.
    #[arg(long, value_name = "BYTES", env = "MDS_SCRUB_RATE")]
    pub scrub_rate: Option<u64>,
    /// How long after the whole store was verified that begins anew.
    #[arg(long, value_name = "DURATION", env = "MDS_SCRUB_INTERVAL")]
    pub scrub_interval: Option<String>,
}

/// 10 TiB in 30 days, for about a quarter of a percent of a core.
const DEFAULT_SCRUB_RATE: u64 = 4 << 20;
const DEFAULT_SCRUB_INTERVAL: &str = "24h";

const DEFAULT_BROKER: &str = "mqtt://127.0.0.1:1883";

/// Stands for a text that should be a broker's URL, is not, and may hold a password.
const NOT_A_BROKER_URL: &str = "(not a broker URL)";

/// What one daemon has for defaults.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Data directory.
    pub data_dir: &'static str,
    /// gRPC address.
    pub listen: &'static str,
    /// HTTP address.
    pub http: &'static str,
}

/// The common settings, complete and checked.
#[derive(Debug, Clone)]
pub struct Common {
    /// The broker.
    pub broker: BrokerUrl,
    /// Certificates to trust.
    pub broker_ca: Option<PathBuf>,
    /// Whether to keep trying.
    pub retry_connect: bool,
    /// Data directory.
    pub data_dir: PathBuf,
    /// gRPC address.
    pub listen: SocketAddr,
    /// HTTP address, if not off.
    pub http: Option<SocketAddr>,
    /// Names under which HTTP gives contents.
    pub http_hosts: Option<String>,
    /// The topics behind the prefix.
    pub topics: Topics,
    /// The prefix itself.
    pub topic_prefix: String,
    /// Limits on events.
    pub limits: protocol::Limits,
    /// How fast the store is verified.
    pub scrub: Pace,
}

impl CommonSettings {
    /// How log lines look.
    ///
    /// # Errors
    /// If the value is neither `text` nor `json`.
    pub fn log_format(&self) -> Result<LogFormat, ConfigError> {
        parse("log_format", self.log_format.as_deref().unwrap_or("text"))
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn complete(&self, defaults: Defaults) -> Result<Common, ConfigError> {
        self.log_format()?;
        let prefix = self.topic_prefix.clone().unwrap_or_default();
        let http = self.http.as_deref().unwrap_or(defaults.http);
        let mut limits = protocol::Limits::default();
        limits.max_event_bytes = self.max_event_bytes.unwrap_or(limits.max_event_bytes);
        Ok(Common {
            broker: self.broker_url()?,
            broker_ca: self.broker_ca.clone(),
            retry_connect: self.retry_connect.unwrap_or(false),
            data_dir: self.data_dir.clone().unwrap_or_else(|| defaults.data_dir.into()),
            listen: address("listen", self.listen.as_deref().unwrap_or(defaults.listen))?,
            http: if http == "off" { None } else { Some(address("http", http)?) },
            http_hosts: self.http_hosts.clone(),
            topics: Topics::new(&prefix).map_err(|error| value_error("topic_prefix", &prefix, error))?,
            topic_prefix: prefix,
            limits,
            scrub: Pace {
                bytes_per_second: self.scrub_rate.unwrap_or(DEFAULT_SCRUB_RATE),
                interval: duration(
                    "scrub_interval",
                    self.scrub_interval.as_deref().unwrap_or(DEFAULT_SCRUB_INTERVAL),
                )?,
            },
        })
    }

    /// An error does not repeat the text, which may hold a password: it goes into a log.
    fn broker_url(&self) -> Result<BrokerUrl, ConfigError> {
        let text = self.broker.as_deref().unwrap_or(DEFAULT_BROKER);
        let url: BrokerUrl = text.parse().map_err(|error| value_error("broker", NOT_A_BROKER_URL, error))?;
        secret::with_credentials(url, self.broker_user.as_deref(), self.broker_password_file.as_deref())
    }

    /// Says so if everybody can read the configuration file, and the broker's password stands in it.
    pub fn warn_of_readers(&self, origins: &Origins) {
        let url = self.broker.as_deref().and_then(|text| text.parse::<BrokerUrl>().ok());
        let has_password =
            url.as_ref().and_then(BrokerUrl::credentials).is_some_and(|(_, password)| !password.is_empty());
        if let Some(Origin::File { path, .. }) = origins.get("broker").filter(|_| has_password) {
            secret::warn_if_readable_by_all(path);
        }
    }

    /// The same with every default filled in, and without a password, for [`print()`].
    #[must_use]
    pub fn in_use(mut self, defaults: Defaults) -> Self {
        self.broker.get_or_insert_with(|| DEFAULT_BROKER.into());
        self.listen.get_or_insert_with(|| defaults.listen.into());
        self.http.get_or_insert_with(|| defaults.http.into());
        self.http_hosts.get_or_insert_with(String::new);
        self.topic_prefix.get_or_insert_with(String::new);
        self.log_format.get_or_insert_with(|| "text".into());
        self.retry_connect.get_or_insert(false);
        self.data_dir.get_or_insert_with(|| defaults.data_dir.into());
        self.max_event_bytes.get_or_insert(protocol::Limits::default().max_event_bytes);
        self.scrub_rate.get_or_insert(DEFAULT_SCRUB_RATE);
        self.scrub_interval.get_or_insert_with(|| DEFAULT_SCRUB_INTERVAL.into());
        if let Some(broker) = &mut self.broker {
            *broker = match broker.parse::<BrokerUrl>() {
                Ok(url) => url.to_string(),
                Err(_) => NOT_A_BROKER_URL.into(),
            };
        }
        self
    }
}

/// Parses a setting.
///
/// # Errors
/// Names the key, the value and what is wrong with it.
pub fn parse<T: FromStr<Err: std::fmt::Display>>(key: &'static str, value: &str) -> Result<T, ConfigError> {
    value.parse().map_err(|error| value_error(key, value, error))
}

impl Common {
    /// The Endpoint to announce, if told.
    ///
    /// # Errors
    /// If it is none; or if none is told although the daemon listens on all interfaces: then only the operator knows by which name others
    /// reach it.
    pub fn advertised(&self, told: Option<&str>) -> Result<Option<EndpointUri>, ConfigError> {
        if told.is_none() && self.listen.ip().is_unspecified() {
            let reason =
                "no address that others can dial: say with --advertise grpc://host:port where they find it";
            return Err(value_error("listen", &self.listen.to_string(), reason));
        }
        let advertised: Option<EndpointUri> = told.map(|uri| parse("advertise", uri)).transpose()?;
        if let Some(uri) = advertised.as_ref().filter(|uri| uri.authority().is_none()) {
            return Err(value_error("advertise", uri.as_str(), "use grpc://host:port, or grpcs://host:port"));
        }
        Ok(advertised)
    }
}

/// Parses a duration such as `500ms`, `10s`, `5m`.
///
/// # Errors
/// Names the key, the value and what is wrong with it.
pub fn duration(key: &'static str, value: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(value)
        .map_err(|error| value_error(key, value, format!("{error}; use for example 10s or 5m")))
}

fn address(key: &'static str, value: &str) -> Result<SocketAddr, ConfigError> {
    let not_found =
        |reason: String| value_error(key, value, format!("{reason}; use for example 127.0.0.1:7401"));
    let mut addresses = value.to_socket_addrs().map_err(|error| not_found(error.to_string()))?;
    addresses.next().ok_or_else(|| not_found("no address".into()))
}

#[cfg(test)]
mod tests;
