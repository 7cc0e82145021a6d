//! How the network does, in one word: what `mds status`, `/api/status` and the page say.

use crate::proto::GetNetworkResponse;

/// How the network does; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is there, in as many copies as it should.
    Ok,
    /// Everything can be read, but not all is as it should be.
    Degraded,
    /// Some data cannot be read now.
    Unavailable,
}

impl Verdict {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        }
    }

    /// The verdict on what a daemon says of the network, and for people what it stands on: nothing if all is well.
    #[must_use]
    pub fn on(network: &GetNetworkResponse) -> (Self, Vec<String>) {
        let health = network.health.unwrap_or_default();
        let unavailable = count(health.fragments_unavailable, "fragment");
        let under_replicated = count(health.fragments_under_replicated, "fragment");
        let suspect = count(health.servers_suspect.into(), "torrent");
        let found = [
            (
                health.fragments_unavailable > 0,
                Self::Unavailable,
                format!(
                    "{unavailable} without a holder that can be asked now: start the torrents that are down"
                ),
            ),
            (
                health.fragments_under_replicated > 0,
                Self::Degraded,
                format!("{under_replicated} with too few copies"),
            ),
            (health.servers_registered == 0, Self::Degraded, "no torrent is registered".to_owned()),
            (health.servers_suspect > 0, Self::Degraded, format!("the connection of {suspect} was lost")),
            (
                !network.broker_connected,
                Self::Degraded,
                "the daemon that tells this is not connected to the broker".to_owned(),
            ),
            (
                // Without the broker it cannot know of one.
                network.broker_connected && !network.tracker_online,
                Self::Degraded,
                "the daemon that tells this knows of no tracker that is online".to_owned(),
            ),
        ];
        let found = found.into_iter().filter(|(is_so, ..)| *is_so);
        found.fold((Self::Ok, Vec::new()), |(worst, mut reasons), (_, verdict, reason)| {
            reasons.push(reason);
            (worst.max(verdict), reasons)
        })
    }
}

fn count(number: i64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::NetworkHealth;

    fn on(change: impl FnOnce(&mut GetNetworkResponse, &mut NetworkHealth)) -> (Verdict, Vec<String>) {
        let mut health = NetworkHealth { servers_registered: 3, servers_known: 3, ..Default::default() };
        let mut network =
            GetNetworkResponse { broker_connected: true, tracker_online: true, ..Default::default() };
        change(&mut network, &mut health);
        network.health = Some(health);
        Verdict::on(&network)
    }

    #[test]
    fn nothing_missing_is_ok() {
        assert_eq!(on(|_, _| {}), (Verdict::Ok, vec![]));
    }

    #[test]
    fn too_few_copies_are_degraded_and_no_copy_is_unavailable() {
        let degraded = on(|_, health| health.fragments_under_replicated = 1);
        assert_eq!(degraded, (Verdict::Degraded, vec!["1 fragment with too few copies".to_owned()]));
        let (verdict, reasons) = on(|_, health| {
            health.fragments_under_replicated = 1;
            health.fragments_unavailable = 2;
        });
        assert_eq!((verdict, reasons.len()), (Verdict::Unavailable, 2));
    }

    #[test]
    fn a_network_that_takes_nothing_is_degraded() {
        for change in [
            (|network, _| network.broker_connected = false)
                as fn(&mut GetNetworkResponse, &mut NetworkHealth),
            |network, _| network.tracker_online = false,
            |_, health| health.servers_registered = 0,
            |_, health| health.servers_suspect = 1,
        ] {
            let (verdict, reasons) = on(change);
            assert_eq!((verdict, reasons.len()), (Verdict::Degraded, 1));
        }
    }
}
