//! Files at the edges: of no byte, of one, of exactly a fragment, of the same fragment many times.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::process::Command;

use mds_tests::client::agree;

use crate::support::{Service, TORRENTS, content, recorded_site};

const FRAGMENT_SIZE: usize = 1024;

/// What `sha256sum` prints for these bytes.
fn sha256sum(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().expect("sha256sum is installed");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn files_of_every_odd_size_go_in_and_come_back_under_the_name_that_sha256sum_prints() {
    needs_mosquitto!();
    let (_broker, recorder, site) = recorded_site().await;
    let service = Service::start(site, 3, &["--copies", "2", "--fragment-size", "1024"]).await;
    let one = content(10, FRAGMENT_SIZE);
    let mut one_and_a_byte = one.clone();
    one_and_a_byte.push(0);
    // Name, bytes, and how many fragments of how many kinds they are.
    let files: [(&str, Vec<u8>, usize, usize); 8] = [
        ("empty", Vec::new(), 0, 0),
        ("one byte", vec![7], 1, 1),
        ("a fragment less a byte", content(11, FRAGMENT_SIZE - 1), 1, 1),
        ("a fragment", one.clone(), 1, 1),
        ("a fragment and a byte", one_and_a_byte, 2, 2),
        ("two fragments", content(12, 2 * FRAGMENT_SIZE), 2, 2),
        ("equal fragments", vec![b'a'; 20 * FRAGMENT_SIZE], 20, 1),
        ("equal fragments and a shorter one", vec![b'a'; 5 * FRAGMENT_SIZE + 1], 6, 2),
    ];
    for (name, bytes, number, kinds) in &files {
        let digest = service.tracker.client.put(name, Cursor::new(bytes.clone())).await;
        assert_eq!(digest, sha256sum(bytes), "{name}");
        service.tracker.client.counts_copies(&digest, 2).await;
        agree(&service.clients()).await;
        for client in service.clients() {
            client.gives_back(&digest, bytes.len() as u64).await;
            let file = client.file(&digest).await.unwrap();
            assert_eq!(file.size_bytes, i64::try_from(bytes.len()).unwrap(), "{name}");
            assert_eq!(file.display_name, *name);
            let fragments = client.fragments(&digest).await;
            let different: BTreeSet<&str> =
                fragments.iter().map(|fragment| fragment.digest.as_str()).collect();
            assert_eq!((fragments.len(), different.len()), (*number, *kinds), "{name}");
        }
    }
    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_identifiers_are_unique();
        heard.assert_issuers(&TORRENTS);
    });
}

#[tokio::test]
async fn the_same_file_twice_is_one_file_and_its_fragments_are_distributed_once() {
    needs_mosquitto!();
    let (_broker, recorder, site) = recorded_site().await;
    let service = Service::start(site, 2, &["--copies", "2", "--fragment-size", "1024"]).await;
    let bytes = content(13, 4 * FRAGMENT_SIZE + 5);
    let tracker = &service.tracker.client;
    let first = tracker.put("first", Cursor::new(bytes.clone())).await;
    tracker.counts_copies(&first, 2).await;
    let revision = tracker.network().await.unwrap().view_revision;

    let second = tracker.put("second", Cursor::new(bytes.clone())).await;
    assert_eq!(second, first);
    // A file that comes after it has been distributed: so has it.
    let last = tracker.put("last", Cursor::new(b"a barrier".to_vec())).await;
    tracker.counts_copies(&last, 2).await;
    agree(&service.clients()).await;
    let network = tracker.network().await.unwrap();
    assert_eq!(network.health.unwrap().files, 2);
    let what = "the first file again, the last file, and the end of its one fragment";
    assert_eq!(network.view_revision, revision + 3, "{what}");
    assert_eq!(recorder.count(|record| record.is("FragmentDistributionStarted")), 5 + 1);
    assert_eq!(tracker.file(&first).await.unwrap().display_name, "first");
    for client in service.clients() {
        client.gives_back(&first, bytes.len() as u64).await;
    }
}
