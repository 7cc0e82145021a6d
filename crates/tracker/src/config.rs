//! What a tracker is told: flags, environment, file.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use daemon::config::{
    Common, CommonSettings, ConfigError, Defaults, Loaded, Origins, duration, load, parse, read, value_error,
};
use daemon::exit::HELP;
use distribution::Copies;
use distribution::limits::{REPAIR_AFTER, TrackerLimits};
use protocol::EndpointUri;
use protocol::limits::{
    DEFAULT_FRAGMENT_SIZE_BYTES, MAX_FRAGMENT_SIZE_BYTES, MIN_FRAGMENT_SIZE_BYTES, delivered_event_bytes,
};
use serde::{Deserialize, Deserializer, Serialize};

const DEFAULTS: Defaults =
    Defaults { data_dir: "mds-data/tracker", listen: "127.0.0.1:7401", http: "127.0.0.1:7481" };

/// Takes files, cuts them into fragments and distributes these to torrents over MQTT.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "tracker", version, after_help = HELP)]
pub struct Arguments {
    /// TOML file with settings; environment and flags win over it.
    #[arg(long, value_name = "FILE", env = "MDS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the settings in use, as a configuration file that says where each value comes from, and end.
    #[arg(long)]
    pub print_config: bool,
    /// Ask the tracker that runs with these settings whether it is ready; exit code 0 if it is.
    #[arg(long)]
    pub check_ready: bool,
    /// Start although another tracker seems to be online; that one steps down.
    #[arg(long, conflicts_with = "standby")]
    pub takeover: bool,
    /// If another tracker is online, wait and take over when it goes; waits for a broker that is away, too.
    #[arg(long)]
    pub standby: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Where the settings come from.
    #[arg(skip)]
    pub origins: Origins,
}

/// The settings of a tracker; also the keys of its configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What all daemons have.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: CommonSettings,
    /// Where others reach its Endpoint: grpc://host:port.
    #[arg(long, value_name = "URI", env = "MDS_ADVERTISE")]
    pub advertise: Option<String>,
    /// How many torrents should hold each fragment: a number, or 'all'.
    #[arg(long, value_name = "N|all", env = "MDS_COPIES")]
    #[serde(deserialize_with = "number_or_text")]
    pub copies: Option<String>,
    /// Size of every fragment but a file's last, in bytes; fixed once there is a file.
    #[arg(long, value_name = "BYTES", env = "MDS_FRAGMENT_SIZE")]
    pub fragment_size: Option<u64>,
    /// How long a torrent may be gone before what it held is copied again, as in 5m or 90s.
    #[arg(long, value_name = "DURATION", env = "MDS_REPAIR_AFTER")]
    pub repair_after: Option<String>,
    /// Most fragments on their way at once.
    #[arg(long, value_name = "N", env = "MDS_FRAGMENTS_IN_FLIGHT")]
    pub fragments_in_flight: Option<usize>,
    /// Ignore torrents that do not use topics of their own: for brokers whose access list binds them.
    #[arg(long, value_name = "BOOL", env = "MDS_REQUIRE_DIRECT", num_args = 0..=1, default_missing_value = "true")]
    pub require_direct: Option<bool>,
}

/// The settings, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all daemons have.
    pub common: Common,
    /// Its endpoint, if told.
    pub advertise: Option<EndpointUri>,
    /// The copies aimed at.
    pub copies: Copies,
    /// The fragment size in bytes.
    pub fragment_size_bytes: u64,
    /// How long a torrent may be gone before what it held is copied again.
    pub repair_after: Duration,
    /// Most fragments on their way at once, if told.
    pub fragments_in_flight: Option<usize>,
    /// Whether torrents on shared topics are ignored.
    pub require_direct: bool,
}

impl Arguments {
    /// The settings with the file under them.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn merged(&self) -> Result<Loaded<Settings>, ConfigError> {
        load(self.config.as_deref(), &self.settings, &self.origins)
    }

    /// Reads the arguments of the process. Ends it where they make no sense, or ask for help.
    #[must_use]
    pub fn of_process() -> Self {
        let (arguments, origins) = read();
        Self { origins, ..arguments }
    }
}

impl Settings {
    /// The same with every default filled in, and without secrets.
    #[must_use]
    pub fn in_use(mut self) -> Self {
        self.common = self.common.in_use(DEFAULTS);
        self.copies.get_or_insert_with(|| Copies::default().to_string());
        self.fragment_size.get_or_insert(DEFAULT_FRAGMENT_SIZE_BYTES);
        self.repair_after.get_or_insert_with(|| humantime::format_duration(REPAIR_AFTER).to_string());
        self.fragments_in_flight.get_or_insert(TrackerLimits::default().fragments_in_flight);
        self.require_direct.get_or_insert(false);
        self
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn complete(&self) -> Result<Config, ConfigError> {
        let common = self.common.complete(DEFAULTS)?;
        let advertise = common.advertised(self.advertise.as_deref())?;
        let fragment_size_bytes = self.fragment_size.unwrap_or(DEFAULT_FRAGMENT_SIZE_BYTES);
        let text = fragment_size_bytes.to_string();
        if !(MIN_FRAGMENT_SIZE_BYTES..=MAX_FRAGMENT_SIZE_BYTES).contains(&fragment_size_bytes) {
            let allowed = format!("use {MIN_FRAGMENT_SIZE_BYTES} to {MAX_FRAGMENT_SIZE_BYTES}");
            return Err(value_error("fragment_size", &text, allowed));
        }
        if delivered_event_bytes(fragment_size_bytes) > common.limits.max_event_bytes as u64 {
            return Err(value_error("fragment_size", &text, "a fragment does not fit into max_event_bytes"));
        }
        Ok(Config {
            common,
            advertise,
            copies: self.copies.as_deref().map_or(Ok(Copies::default()), |copies| parse("copies", copies))?,
            fragment_size_bytes,
            repair_after: self
                .repair_after
                .as_deref()
                .map_or(Ok(REPAIR_AFTER), |text| duration("repair_after", text))?,
            fragments_in_flight: self.fragments_in_flight,
            require_direct: self.require_direct.unwrap_or(false),
        })
    }
}

/// A number of copies may stand in the file as a number, too.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number of copies, or \"all\"")]
    enum Told {
        Number(u64),
        Text(String),
    }
    let told = Option::<Told>::deserialize(deserializer)?;
    Ok(told.map(|told| match told {
        Told::Number(number) => number.to_string(),
        Told::Text(text) => text,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_may_be_written_as_a_number_or_as_a_text() {
        let copies = |text: &str| toml::from_str::<Settings>(text).map(|settings| settings.copies);
        assert_eq!(copies("copies = 3").unwrap(), Some("3".into()));
        assert_eq!(copies("copies = \"all\"").unwrap(), Some("all".into()));
        assert_eq!(copies("").unwrap(), None);
        let error = copies("copies = true").unwrap_err().to_string();
        assert!(error.contains("a number of copies, or \"all\""), "{error}");
    }

    #[test]
    fn what_is_printed_as_usable_can_be_started_with() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.complete().map(drop).map_err(|error| error.to_string())
        };
        let text = |text: &str| Some(text.to_owned());
        assert!(with(|_| {}).is_ok());
        for change in [
            (|settings| settings.common.log_format = Some("xml".into())) as fn(&mut Settings),
            |settings| settings.advertise = Some("nonsense".into()),
            |settings| settings.advertise = Some("http://nobody-dials-this".into()),
            |settings| settings.common.listen = Some("0.0.0.0:7401".into()),
        ] {
            assert!(with(change).is_err());
        }
        let mut everywhere =
            Settings { advertise: text("grpc://tracker.example:7401"), ..Settings::default() };
        everywhere.common.listen = text("0.0.0.0:7401");
        assert!(everywhere.complete().is_ok());
    }

    #[test]
    fn the_configuration_file_that_is_shipped_holds_the_defaults() {
        let shipped: Settings = toml::from_str(include_str!("../../../config/tracker.toml")).unwrap();
        assert_eq!(shipped, Settings::default().in_use());
        assert!(shipped.complete().is_ok());
    }
}
