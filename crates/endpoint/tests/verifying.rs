//! Verifying what is on a daemon's disk, asked over the network.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeSet;

use endpoint::client::CallError;
use endpoint::names::file_name;
use endpoint::proto::{self, ErrorReason, digest_text};
use futures::TryStreamExt;
use protocol::Hash;
use support::{Daemon, Disk, FRAGMENT_SIZE, KnownFile, Plan, connect, content, fragments_of, start};
use tonic::{Code, Status, Streaming};

type Messages = Streaming<proto::VerifyFragmentsResponse>;

async fn verify(daemon: &Daemon, parent: &str) -> Result<Messages, Status> {
    let mut client = connect(std::slice::from_ref(daemon)).await.reader(&daemon.endpoint).unwrap();
    let request = proto::VerifyFragmentsRequest { parent: parent.to_owned() };
    Ok(client.verify_fragments(request).await?.into_inner())
}

async fn verify_all(daemon: &Daemon, parent: &str) -> Vec<proto::VerifyFragmentsResponse> {
    verify(daemon, parent).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn everything_or_one_file_is_verified_and_the_counts_grow() {
    let (long, short) = (content(5 * FRAGMENT_SIZE), content(3 * FRAGMENT_SIZE + 1));
    let (of_long, of_short) = (fragments_of(&long), fragments_of(&short));
    let files = [KnownFile::of(&long, None), KnownFile::of(&short, None)];
    let [long_name, short_name] = [file_name(&files[0].hash), file_name(&files[1].hash)];
    // The long file begins as the short one does; of that, t2 has only the last fragment.
    let all: BTreeSet<_> = [&of_long[..], &of_short[..]].concat().into_iter().collect();
    let all: Vec<_> = all.into_iter().collect();
    let daemons = start(
        &files,
        vec![Plan::torrent("t1", &all), Plan::torrent("t2", &of_short[3..]), Plan::torrent("t3", &[])],
    );
    let messages = verify_all(&daemons[0], "").await;
    let counts: Vec<i64> = messages.iter().map(|message| message.fragment_count).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&(all.len() as i64)), "{counts:?}");
    let sizes: usize = all.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(messages.last().unwrap().size_bytes, sizes as i64);
    assert!(messages.iter().all(|message| message.damaged_digests.is_empty()));

    for (daemon, name, expected) in
        [(0, &long_name, 5), (0, &short_name, 4), (1, &short_name, 1), (2, &short_name, 0)]
    {
        let messages = verify_all(&daemons[daemon], name).await;
        assert_eq!(messages.last().unwrap().fragment_count, expected, "{name} on {daemon}");
    }
    let nothing = verify_all(&daemons[2], "").await;
    assert_eq!(nothing, [proto::VerifyFragmentsResponse::default()], "an empty disk is an answer");
}

#[tokio::test]
async fn what_is_damaged_is_named_once() {
    let content = content(4 * FRAGMENT_SIZE);
    let (file, fragments) = (KnownFile::of(&content, None), fragments_of(&content));
    let name = file_name(&file.hash);
    let expected: BTreeSet<String> = fragments.iter().map(|(hash, _)| digest_text(hash)).collect();
    for disk in [Disk::Lying, Disk::Damaged] {
        let daemons =
            start(&[KnownFile::of(&content, None)], vec![Plan::torrent("t1", &fragments).disk(disk)]);
        for parent in ["", &name] {
            let messages = verify_all(&daemons[0], parent).await;
            let damaged: Vec<_> =
                messages.iter().flat_map(|message| message.damaged_digests.clone()).collect();
            assert_eq!((damaged.len(), damaged.into_iter().collect()), (4, expected.clone()), "{disk:?}");
            assert_eq!(messages.last().unwrap().fragment_count, 4);
        }
    }
}

#[tokio::test]
async fn only_files_that_are_known_can_be_verified() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    for (parent, code, reason) in [
        ("files/nonsense".to_owned(), Code::InvalidArgument, ErrorReason::InvalidDigest),
        (file_name(&Hash::of(b"unknown")), Code::NotFound, ErrorReason::FileNotFound),
    ] {
        let status = verify(&daemons[0], &parent).await.unwrap_err();
        let error = CallError::new(&daemons[0].endpoint, &status);
        assert_eq!((error.code, error.reason), (code, Some(reason)), "{parent}");
    }
}

#[tokio::test]
async fn one_verification_runs_at_a_time() {
    let content = content(FRAGMENT_SIZE);
    let disk = vec![Plan::torrent("t1", &fragments_of(&content)).disk(Disk::Frozen)];
    let daemons = start(&[KnownFile::of(&content, None)], disk);
    let first = verify(&daemons[0], "").await.unwrap();
    let status = verify(&daemons[0], "").await.unwrap_err();
    let error = CallError::new(&daemons[0].endpoint, &status);
    assert_eq!((error.code, error.reason), (Code::ResourceExhausted, Some(ErrorReason::ServerBusy)));
    // The step that was under way ends, and with it the verification that nobody waits for any more.
    drop(first);
    daemons[0].thaw();
    verify(&daemons[0], "").await.unwrap();
}
