//! `--check-ready`: asks the daemon that runs in a data directory whether it is ready. For health checks where there is no shell and no curl.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::{ExitCode, Failure};

/// The longest that one step of the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer is one sentence behind a few headers.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Gives the daemon's own sentence if it is ready.
///
/// # Errors
/// With code 1, if it is not ready or does not answer.
pub fn check_ready(data_dir: &Path) -> Result<String, Failure> {
    let not_ready = |why: String| Failure::text(ExitCode::Failed, why);
    let no_daemon = |error: &dyn std::fmt::Display| {
        let directory = data_dir.display();
        not_ready(format!(
            "no daemon answers for the data directory {directory}: {error}; is it running, with --http?"
        ))
    };
    let address = std::fs::read_to_string(data_dir.join("http")).map_err(|error| no_daemon(&error))?;
    let address: SocketAddr = address.trim().parse().map_err(|error| no_daemon(&error))?;
    let answer = ask(reachable(address)).map_err(|error| no_daemon(&error))?;
    let (head, sentence) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(sentence.trim().to_owned()) } else { Err(not_ready(sentence.trim().to_owned())) }
}

/// An address that stands for all interfaces cannot be dialled everywhere.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use endpoint::CatalogHandle;
    use storage::{Store, StoreOptions};

    use super::*;
    use crate::OwnFragments;
    use crate::http::{Readiness, Site};
    use crate::metrics::Metrics;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_daemon_says_of_itself_is_the_answer() {
        let directory = tempfile::tempdir().unwrap();
        let readiness = Readiness::default();
        let (metrics, (catalog, _questions)) = (Arc::new(Metrics::default()), CatalogHandle::channel(1));
        let store = Store::open(&directory.path().join("store"), StoreOptions::default()).unwrap();
        let (fragments, _damaged) = OwnFragments::new(store.fragments().clone(), metrics.clone());
        let site = Site::new(catalog, Arc::new(fragments), metrics, readiness.clone());
        let server = site.serve("0.0.0.0:0".parse().unwrap()).await.unwrap();
        std::fs::write(directory.path().join("http"), format!("{}\n", server.address())).unwrap();

        let failure = check_ready(directory.path()).unwrap_err();
        let wanted = (ExitCode::Failed, "not ready: the daemon is starting".to_owned());
        assert_eq!((failure.code, failure.to_string()), wanted);
        readiness.set(None);
        assert_eq!(check_ready(directory.path()).unwrap(), "ready");
    }

    #[test]
    fn a_daemon_that_is_not_there_is_not_ready() {
        let directory = tempfile::tempdir().unwrap();
        for address in [None, Some("no address"), Some("127.0.0.1:1")] {
            if let Some(address) = address {
                std::fs::write(directory.path().join("http"), address).unwrap();
            }
            let failure = check_ready(directory.path()).unwrap_err().to_string();
            assert!(failure.starts_with("no daemon answers"), "{failure}");
        }
    }
}
