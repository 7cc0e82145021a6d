//! What a tracker tells of itself over gRPC.

use daemon::Clock;
use distribution::tracker::MemberState;
use distribution::view::View;
use distribution::{Copies, Tracker};
use endpoint::{Catalog, Role, ServerState, ServerStatus};
use protocol::{ClientId, EndpointUri, Hash};

/// The tracker's state machine, lent for one question.
#[derive(Debug)]
pub struct TrackerCatalog<'a> {
    pub machine: &'a Tracker,
    pub clock: Clock,
    pub id: &'a ClientId,
    pub endpoint: &'a EndpointUri,
    pub connected: bool,
}

impl Catalog for TrackerCatalog<'_> {
    fn view(&self) -> &View {
        self.machine.view()
    }

    fn copies(&self) -> Copies {
        self.machine.config().copies
    }

    fn stores(&self, fragment: &Hash) -> bool {
        self.machine.stores(fragment)
    }

    /// Every torrent since the tracker's start: one that left is told of too, with what it had when it was there unknown.
    fn servers(&self) -> Vec<ServerStatus> {
        let members = self.machine.members().map(|(id, member)| {
            let last_seen = Some(self.clock.wall_time(member.last_heard));
            let state = match member.state {
                MemberState::Registered => ServerState::Registered,
                MemberState::Suspect => ServerState::Suspect,
                MemberState::Unregistered => ServerState::Unregistered,
            };
            let is_draining = self.machine.view().is_draining(id);
            match self.machine.view().client(id) {
                Some(client) => ServerStatus {
                    state,
                    is_draining,
                    ..ServerStatus::registered(id.clone(), client, last_seen)
                },
                None => ServerStatus {
                    id: id.clone(),
                    state: ServerState::Unregistered,
                    endpoints: Default::default(),
                    zone: None,
                    used_bytes: 0,
                    capacity_bytes: None,
                    fragments: 0,
                    last_seen,
                    is_draining,
                },
            }
        });
        members.collect()
    }

    fn broker_connected(&self) -> bool {
        self.connected
    }

    fn tracker_online(&self) -> bool {
        self.connected
    }

    fn role(&self) -> Role {
        Role::Tracker
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn tracker_endpoints(&self) -> Vec<EndpointUri> {
        vec![self.endpoint.clone()]
    }
}
