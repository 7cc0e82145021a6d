//! A short soak. The long one is `cargo run -p mds-tests --bin soak -- --kills 300`.

use mds_tests::needs_mosquitto;
use mds_tests::soak::{Options, run};

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_lose_nothing_that_was_acknowledged() {
    needs_mosquitto!();
    let options = Options { kills: 10, seed: 2027, torrents: 4, checkpoint_every: 6 };
    let report = run(options).await;
    eprintln!("{report}");
    assert!(report.is_good(), "{report}");
}
