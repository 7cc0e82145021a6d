//! `mds peers`: the torrents.

use std::collections::BTreeMap;

use endpoint::client::Cluster;

use crate::cli::Peers;
use crate::describe::PeerView;
use crate::exit::Failure;
use crate::output::{Output, printable, size};
use crate::reference::resolve;
use crate::terminal::{Colour, coloured};

/// Lists all torrents, or those that hold fragments of one file.
pub async fn run(cluster: &Cluster, peers: &Peers, output: Output) -> Result<(), Failure> {
    let mut torrents: Vec<PeerView> = cluster.servers().await?.iter().map(PeerView::of).collect();
    if let Some(reference) = &peers.reference {
        let hash = resolve(cluster, reference).await?;
        let map = cluster.file_map(&hash).await?;
        let mut fragments_by_holder: BTreeMap<&str, u64> = BTreeMap::new();
        for holder in map.fragments.iter().flat_map(|fragment| &fragment.holders) {
            *fragments_by_holder.entry(holder.as_str()).or_default() += 1;
        }
        torrents.retain_mut(|torrent| {
            torrent.file_fragments = fragments_by_holder.get(torrent.id.as_str()).copied();
            torrent.file_fragments.is_some()
        });
    }
    if output.json {
        return output.value(&torrents);
    }
    let rows: Vec<Vec<String>> = torrents.iter().map(row).collect();
    output.table(&["ID", "STATE", "ZONE", "USED", "CAPACITY", "FRAGMENTS", "LAST SEEN", "ENDPOINTS"], &rows)
}

fn row(torrent: &PeerView) -> Vec<String> {
    let none = || "-".to_owned();
    let fragments = match torrent.file_fragments {
        Some(of_file) => format!("{of_file} of {}", torrent.fragments),
        None => torrent.fragments.to_string(),
    };
    let state =
        if torrent.draining { format!("{}, draining", torrent.state) } else { torrent.state.to_owned() };
    vec![
        printable(&torrent.id),
        coloured(&state, Colour::of_state(torrent.state)),
        torrent.zone.as_deref().map_or_else(none, printable),
        size(torrent.used_bytes),
        torrent.capacity_bytes.map_or_else(none, size),
        fragments,
        torrent.last_seen.clone().unwrap_or_else(none),
        printable(&torrent.endpoints.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let torrent = PeerView {
            id: "t1".into(),
            state: "registered",
            zone: None,
            endpoints: vec!["grpc://a:1".into(), "grpc://b:2".into()],
            used_bytes: 2048,
            capacity_bytes: None,
            fragments: 3,
            last_seen: None,
            draining: false,
            file_fragments: Some(2),
        };
        let cells = ["t1", "registered", "-", "2.0 KiB", "-", "2 of 3", "-", "grpc://a:1 grpc://b:2"];
        assert_eq!(row(&torrent), cells);
    }
}
