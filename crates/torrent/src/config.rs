//! What a torrent is told: flags, environment, file.

use std::path::PathBuf;

use clap::Parser;
use daemon::config::{
    Common, CommonSettings, ConfigError, Defaults, Loaded, Origins, load, parse, read, value_error,
};
use daemon::exit::HELP;
use protocol::{ClientId, EndpointUri, Zone};
use serde::{Deserialize, Serialize};

const DEFAULTS: Defaults =
    Defaults { data_dir: "mds-data/torrent", listen: "127.0.0.1:7402", http: "127.0.0.1:7482" };

/// Stores fragments that a tracker distributes over MQTT, and serves them over gRPC.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "torrent", version, after_help = HELP)]
pub struct Arguments {
    /// TOML file with settings; environment and flags win over it.
    #[arg(long, value_name = "FILE", env = "MDS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the settings in use, as a configuration file that says where each value comes from, and end.
    #[arg(long)]
    pub print_config: bool,
    /// Ask the torrent that runs with these settings whether it is ready; exit code 0 if it is.
    #[arg(long)]
    pub check_ready: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Where the settings come from.
    #[arg(skip)]
    pub origins: Origins,
}

/// The settings of a torrent; also the keys of its configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What all daemons have.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: CommonSettings,
    /// Its name on the bus and its MQTT client id; made once and kept in the data directory if not given.
    #[arg(long, value_name = "NAME", env = "MDS_ID")]
    pub id: Option<String>,
    /// Where others reach its Endpoint: grpc://host:port.
    #[arg(long, value_name = "URI", env = "MDS_ADVERTISE")]
    pub advertise: Option<String>,
    /// How many bytes of fragments it may store; what is free on the disk if not given.
    #[arg(long, value_name = "BYTES", env = "MDS_CAPACITY")]
    pub capacity: Option<u64>,
    /// The failure domain it stands in: copies are spread over zones.
    #[arg(long, value_name = "NAME", env = "MDS_ZONE")]
    pub zone: Option<String>,
}

/// The settings, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What all daemons have.
    pub common: Common,
    /// Its name, if told.
    pub id: Option<ClientId>,
    /// Its endpoint, if told.
    pub advertise: Option<EndpointUri>,
    /// Its capacity in bytes, if told.
    pub capacity_bytes: Option<u64>,
    /// Its zone, if told.
    pub zone: Option<Zone>,
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
        self
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn complete(&self) -> Result<Config, ConfigError> {
        let common = self.common.complete(DEFAULTS)?;
        let advertise = common.advertised(self.advertise.as_deref())?;
        let id: Option<ClientId> = self.id.as_deref().map(|id| parse("id", id)).transpose()?;
        if let Some(id) = id.as_ref().filter(|id| **id == common.topics.tracker_client_id()) {
            let reason = "this is the tracker's own client id: the two would throw each other out";
            return Err(value_error("id", id.as_str(), reason));
        }
        Ok(Config {
            common,
            id,
            advertise,
            capacity_bytes: self.capacity,
            zone: self.zone.as_deref().map(|zone| parse("zone", zone)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrent_does_not_call_itself_what_the_tracker_is_called() {
        let mut settings = Settings { id: Some("plant-1-tracker".into()), ..Settings::default() };
        assert!(settings.complete().is_ok());
        settings.common.topic_prefix = Some("plant-1".into());
        let error = settings.complete().unwrap_err().to_string();
        assert!(error.contains("tracker's own client id"), "{error}");
    }

    #[test]
    fn the_configuration_file_that_is_shipped_holds_the_defaults() {
        let shipped: Settings = toml::from_str(include_str!("../../../config/torrent.toml")).unwrap();
        assert_eq!(shipped, Settings::default().in_use());
        assert!(shipped.complete().is_ok());
    }
}
