//! What a torrent tells of itself over gRPC.

use std::time::SystemTime;

use distribution::view::View;
use distribution::{Copies, Torrent};
use endpoint::{Catalog, Role, ServerState, ServerStatus};
use protocol::{EndpointUri, Hash};

/// The torrent's state machine, lent for one question.
#[derive(Debug)]
pub struct TorrentCatalog<'a> {
    pub machine: &'a Torrent,
    pub connected: bool,
}

impl Catalog for TorrentCatalog<'_> {
    fn view(&self) -> &View {
        self.machine.view()
    }

    fn copies(&self) -> Copies {
        self.machine.copies()
    }

    fn stores(&self, fragment: &Hash) -> bool {
        self.machine.stores(fragment)
    }

    fn servers(&self) -> Vec<ServerStatus> {
        let me = &self.machine.config().client;
        let of_view = self.machine.view().clients().iter().map(|(id, client)| {
            let last_seen = (id == me).then(SystemTime::now);
            let mut status = ServerStatus::registered(id.clone(), client, last_seen);
            if self.machine.is_suspect(id) {
                status.state = ServerState::Suspect;
            }
            status
        });
        of_view.collect()
    }

    fn broker_connected(&self) -> bool {
        self.connected
    }

    fn tracker_online(&self) -> bool {
        self.connected && self.machine.tracker_is_online()
    }

    fn tracker_endpoints(&self) -> Vec<EndpointUri> {
        self.machine.tracker_endpoints().iter().cloned().collect()
    }

    fn role(&self) -> Role {
        Role::Torrent
    }

    fn id(&self) -> &str {
        self.machine.config().client.as_str()
    }
}
