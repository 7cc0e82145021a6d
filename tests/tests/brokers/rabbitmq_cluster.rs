//! Three nodes of RabbitMQ. The tracker, each torrent and a second tracker are at different nodes.

use std::io::Cursor;

use mds_tests::brokers::rabbitmq::{PACKAGE, RabbitMq};
use mds_tests::brokers::shared::Shared;
use mds_tests::needs_program;
use mds_tests::wait::until;

use crate::suite::{Server, Service, suite_on};

static BROKER: Shared<RabbitMq> = Shared::new();

// A cluster is there because it does not lose everything at once; one node of it dies, below.
suite_on!(BROKER.get(RabbitMq::start_cluster), PACKAGE.is_installed_or_skip(), of_what_it_keeps);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_takes_only_the_daemons_with_it_that_are_connected_to_it() {
    needs_program!(PACKAGE);
    let broker = BROKER.get(RabbitMq::start_cluster);
    let mut broker = broker.write().await;
    let mut service = Service::start(&*broker, "node-down", 3).await;
    service.passes_a_file_on(7).await;

    // The tracker and the third torrent are at the first node, the first torrent at the second, the second at the third.
    let before: Vec<usize> = service.torrents.iter().map(Server::registrations).collect();
    broker.kill_node(1);
    service.tracker.client.counts_torrents(2).await;
    let digest = service.tracker.client.put("meanwhile.bin", Cursor::new(vec![8; 100_000])).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    assert!(service.tracker.daemon.is_running());
    let others: Vec<usize> = service.torrents[1..].iter().map(Server::registrations).collect();
    assert_eq!(others, before[1..], "nobody else had to join again");

    broker.start_node(1);
    until("its torrent is registered again", async || service.torrents[0].registrations() > before[0]).await;
    service.all_have_joined().await;
    service.passes_a_file_on(9).await;
}
