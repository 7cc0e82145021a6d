//! Streams fragments out of the logs to one client, which checks and writes them.

use std::fs::File;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use generated::store_client::StoreClient;
use generated::store_server::{Store, StoreServer};
use generated::{Fragment, StreamRequest};

use super::read_order;

#[allow(missing_docs, clippy::pedantic, clippy::wildcard_enum_match_arm, reason = "generated code")]
mod generated {
    tonic::include_proto!("ideal");
}

/// Fragments that wait to be sent.
const AHEAD: usize = 8;
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Serves every `nodes`-th fragment from the `node`-th on; says its port.
#[derive(Debug, clap::Args)]
pub struct Server {
    log: PathBuf,
    fragment_size_bytes: u64,
    node: u64,
    nodes: usize,
}

/// Fetches the fragments of all servers and writes the file.
#[derive(Debug, clap::Args)]
pub struct Client {
    target: PathBuf,
    fragment_size_bytes: u64,
    ports: Vec<u16>,
}

impl Server {
    pub fn run(&self) -> Result<()> {
        let order = read_order(&self.log)?;
        let nodes = self.nodes as u64;
        let places = (0..).zip(order).filter(|(_, number)| number % nodes == self.node);
        let mut places: Vec<(u64, u64)> = places.map(|(place, number)| (number, place)).collect();
        places.sort_unstable();
        let size_bytes = self.fragment_size_bytes;
        let store = Served { log: Arc::new(File::open(&self.log)?), places: places.into(), size_bytes };
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            println!("{}", listener.local_addr()?.port());
            let service = StoreServer::new(store).max_encoding_message_size(MAX_MESSAGE_BYTES);
            // tonic's own server option is not applied to a listener that it has not made.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await?;
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Served {
    log: Arc<File>,
    /// Numbers and their places in the log.
    places: Arc<[(u64, u64)]>,
    size_bytes: u64,
}

#[tonic::async_trait]
impl Store for Served {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<Fragment, Status>> + Send>>;

    async fn stream(&self, _: Request<StreamRequest>) -> Result<Response<Self::StreamStream>, Status> {
        let (send, fragments) = mpsc::channel(AHEAD);
        let (log, places, size_bytes) = (self.log.clone(), self.places.clone(), self.size_bytes);
        tokio::task::spawn_blocking(move || {
            for &(number, place) in places.iter() {
                let fragment = read(&log, place * size_bytes, size_bytes);
                let fragment = fragment.map(|data| Fragment { number, data }).map_err(Status::from);
                if send.blocking_send(fragment).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(fragments))))
    }
}

/// As much as there is: the file's last fragment may be smaller.
fn read(log: &File, offset: u64, size_bytes: u64) -> std::io::Result<Bytes> {
    let size = log.metadata()?.len().saturating_sub(offset).min(size_bytes);
    let mut bytes = vec![0; size as usize];
    log.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}

impl Client {
    pub fn run(&self) -> Result<()> {
        let target = Arc::new(File::create(&self.target)?);
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let mut fetching = JoinSet::new();
            for port in &self.ports {
                fetching.spawn(fetch(*port, target.clone(), self.fragment_size_bytes));
            }
            while let Some(fetched) = fetching.join_next().await {
                fetched??;
            }
            Ok(())
        })
    }
}

async fn fetch(port: u16, target: Arc<File>, size_bytes: u64) -> Result<()> {
    let client = StoreClient::connect(format!("http://127.0.0.1:{port}")).await?;
    let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut fragments = client.stream(StreamRequest {}).await?.into_inner();
    while let Some(Fragment { number, data }) = fragments.message().await? {
        // The whole file is compared afterwards, which is not counted; a client has to do this.
        black_box(Sha256::digest(&data));
        target.write_all_at(&data, number * size_bytes)?;
    }
    Ok(())
}
