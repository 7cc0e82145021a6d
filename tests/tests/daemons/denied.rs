//! Alternative 3 of the join: a torrent that does not fit is told so, with a code and a reason.

use mds_tests::needs_mosquitto;
use mds_tests::spec_only::{Answer, SpecTorrent, TorrentOptions};

use crate::support::{Service, recorded_site};

#[tokio::test]
async fn who_does_not_fit_is_denied_with_code_and_reason() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let service = Service::start(site, 1, &["--fragment-size", "4096"]).await;
    let taken = service.tracker.client.servers().await[0].endpoints[0].clone();

    let other_size = TorrentOptions { fragment_size: Some(4095), ..TorrentOptions::new("other-size") };
    let other_hash = TorrentOptions { hash_algorithm: "MD5".to_owned(), ..TorrentOptions::new("other-hash") };
    let other_place = TorrentOptions { endpoints: vec![taken.clone()], ..TorrentOptions::new("other-place") };
    // What is wrong, and what the reason must name so that somebody can do something about it.
    let cases = [(other_size, 1, "4096"), (other_hash, 2, "SHA256"), (other_place, 4, taken.as_str())];
    for (options, code, named) in cases {
        let id = options.id.clone();
        let torrent = SpecTorrent::start(broker.address(), options).await;
        let Answer::Denied(denied_with, reason) = torrent.answer().await else { panic!("{id} may join") };
        assert_eq!(denied_with, code, "{id}: {reason}");
        assert!(reason.contains(named), "{id}: {reason}");
        let said = recorder.hears_of("ClientJoinDenied", &id).await;
        assert_eq!((said.number("ReasonCode"), said.text("Reason")), (Some(code), reason.as_str()));
        assert_eq!(said.direct, None, "{id} knows the shared topics only");
    }

    service.tracker.client.counts_torrents(1).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        let registered = heard.events.iter().filter(|record| record.is("ClientRegistered"));
        assert_eq!(registered.map(|record| record.client()).collect::<Vec<_>>(), ["t1"]);
    });
}
