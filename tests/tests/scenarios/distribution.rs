//! Fragment Distribution: the diagram.

use mds_tests::sim::Cluster;
use protocol::EventKind;

#[test]
fn fragment_distribution_standard_procedure() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    let file = cluster.put_random(3);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.said(EventKind::FragmentDistributionEnded), 3);
}
