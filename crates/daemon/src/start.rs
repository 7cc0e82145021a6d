//! What both daemons do when they start: open the store, listen, say where.

use std::net::SocketAddr;
use std::path::Path;
use std::{fs, io};

use protocol::EndpointUri;
use storage::{Store, StoreOptions};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::config::Common;
use crate::http::{HttpServer, Site};
use crate::{ExitCode, Failure};

const ENDPOINT_FILE: &str = "endpoint";
const HTTP_FILE: &str = "http";

/// Opens the store in the data directory.
///
/// # Errors
/// With code 6, if it cannot be used.
pub fn open_store(directory: &Path) -> Result<Store, Failure> {
    fs::create_dir_all(directory).map_err(|error| {
        let path = directory.display();
        Failure::text(
            ExitCode::Store,
            format!("the data directory {path} cannot be made: {error}; use another --data-dir"),
        )
    })?;
    let store = Store::open(directory, StoreOptions::default())
        .map_err(|error| Failure::new(ExitCode::Store, error))?;
    // The directory is this daemon's now. Where an earlier run had its addresses, somebody else may answer.
    forget_addresses(directory);
    if let Some(recovered) = store.recovered() {
        warn!(
            ?recovered,
            "the database was damaged and begins anew; the fragments are safe in their segments"
        );
    }
    let opened = store.opened();
    if opened.damaged_records > 0 {
        warn!(records = opened.damaged_records, "damaged fragments are no longer listed");
    }
    info!(
        data_dir = %directory.display(),
        fragments = store.fragments().len(),
        index_rebuilt = opened.index_rebuilt,
        rescanned_bytes = opened.rescanned_bytes,
        truncated_bytes = opened.truncated_bytes,
        "store opened"
    );
    Ok(store)
}

/// Listens for gRPC and writes the address in use to `DATA_DIR/endpoint`.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn listen(common: &Common) -> Result<(TcpListener, SocketAddr), Failure> {
    let refused = |error: io::Error| {
        Failure::text(
            ExitCode::Failed,
            format!("cannot listen on {}: {error}; use another --listen", common.listen),
        )
    };
    let listener = TcpListener::bind(common.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    write_address(&common.data_dir.join(ENDPOINT_FILE), address)?;
    info!(%address, "endpoint listens");
    Ok((listener, address))
}

/// Serves the pages, if wanted, and writes the address in use to `DATA_DIR/http`, which is not there otherwise.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve_http(common: &Common, site: Site) -> Result<Option<HttpServer>, Failure> {
    let Some(wanted) = common.http else { return Ok(None) };
    let server = site.serve(wanted).await.map_err(|error| {
        Failure::text(
            ExitCode::Failed,
            format!("cannot listen on {wanted}: {error}; use another --http, or --http off"),
        )
    })?;
    let address = server.address();
    write_address(&common.data_dir.join(HTTP_FILE), address)?;
    info!(%address, "HTTP listens");
    Ok(Some(server))
}

fn forget_addresses(directory: &Path) {
    for file in [ENDPOINT_FILE, HTTP_FILE] {
        // A file that is not there, or in a directory that nobody can write into, tells nothing new.
        let _ = fs::remove_file(directory.join(file));
    }
}

/// Whoever reads the file while it is replaced reads the old address or the new one.
fn write_address(path: &Path, address: SocketAddr) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, format!("{address}\n")).and_then(|()| fs::rename(&fresh, path));
    written.map_err(|error| {
        Failure::text(ExitCode::Store, format!("{} cannot be written: {error}", path.display()))
    })
}

/// The URI to announce for an address that is listened on.
///
/// # Errors
/// If the address is none that a URI can have.
pub fn advertised(told: Option<&EndpointUri>, address: SocketAddr) -> Result<EndpointUri, Failure> {
    let of_address = || format!("grpc://{address}").parse();
    told.cloned()
        .map_or_else(of_address, Ok)
        .map_err(|error| Failure::text(ExitCode::Usage, format!("--listen: {error}")))
}
