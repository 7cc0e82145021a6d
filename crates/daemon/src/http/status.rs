//! `/api/status`: how the network does, as the page shows it. Its lists have the fields of `mds peers --json` and `mds ls --json`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use endpoint::Verdict;
use endpoint::proto::endpoint_service_server::EndpointService;
use endpoint::proto::{
    File, FileState, GetNetworkRequest, ListFilesRequest, ListServersRequest, Server, ServerRole, ServerState,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tonic::{Request, Status};

use super::{Site, answers};

/// Most torrents and most files that are told of: a page is for people.
const MAX_ENTRIES: i32 = 200;

/// How old an answer may be: however many browsers are open, the event loop is asked so often.
const MAX_AGE: Duration = Duration::from_secs(1);
/// An answer that took long is used for so many times as long.
const PAUSE_PER_ANSWER: u32 = 20;

/// The last answer, with the time until which it is used. Who wants another one waits for whoever asks already.
#[derive(Debug, Default)]
pub struct LastTold(Mutex<Option<(Instant, Bytes)>>);

impl LastTold {
    async fn of(&self, site: &Site) -> Result<Bytes, Status> {
        let mut last = self.0.lock().await;
        if let Some((until, told)) = &*last
            && *until > Instant::now()
        {
            return Ok(told.clone());
        }
        let began = Instant::now();
        let told = Bytes::from(tell(site).await?.to_string());
        let pause = began.elapsed() * PAUSE_PER_ANSWER;
        *last = Some((Instant::now() + pause.max(MAX_AGE), told.clone()));
        Ok(told)
    }
}

pub async fn status(State(site): State<Arc<Site>>) -> Response<Body> {
    match site.last_told.of(&site).await {
        Ok(told) => {
            let mut answer = Response::new(Body::from(told));
            let fields = answer.headers_mut();
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            answer
        }
        Err(status) => answers::refusal(&status, ""),
    }
}

async fn tell(site: &Site) -> Result<Value, Status> {
    let network = site.reads.get_network(Request::new(GetNetworkRequest {})).await?.into_inner();
    let request = ListServersRequest { page_size: MAX_ENTRIES, ..Default::default() };
    let servers = site.reads.list_servers(Request::new(request)).await?.into_inner();
    let request = ListFilesRequest { page_size: MAX_ENTRIES, ..Default::default() };
    let files = site.reads.list_files(Request::new(request)).await?.into_inner();
    let health = network.health.unwrap_or_default();
    let (verdict, reasons) = Verdict::on(&network);
    let role = match network.role() {
        ServerRole::Tracker => "tracker",
        ServerRole::Torrent | ServerRole::Unspecified => "torrent",
    };
    Ok(json!({
        "verdict": verdict.word(),
        "reasons": reasons,
        "server_id": network.server_id,
        "role": role,
        "version": network.version,
        "copies": network.copies,
        "torrents_known": health.servers_known,
        "files_known": health.files,
        "files_bytes": health.files_bytes,
        "fragments": health.fragments,
        "fragments_under_replicated": health.fragments_under_replicated,
        "fragments_unavailable": health.fragments_unavailable,
        "torrents": servers.servers.iter().map(torrent).collect::<Vec<_>>(),
        "files": files.files.iter().map(file).collect::<Vec<_>>(),
    }))
}

/// A text, or null where there is none.
fn told(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn torrent(server: &Server) -> Value {
    let seen = server.last_seen_time.and_then(|time| SystemTime::try_from(time).ok());
    json!({
        "id": server.name.trim_start_matches("servers/"),
        "state": match server.state() {
            ServerState::Registered => "registered",
            ServerState::Suspect => "suspect",
            ServerState::Unregistered | ServerState::Unspecified => "unregistered",
        },
        "draining": server.draining,
        "zone": told(&server.zone),
        "endpoints": server.endpoints,
        "used_bytes": server.used_bytes,
        "capacity_bytes": server.capacity_bytes,
        "fragments": server.fragment_count,
        "last_seen": seen.map(|time| humantime::format_rfc3339_millis(time).to_string()),
    })
}

fn file(file: &File) -> Value {
    json!({
        "digest": file.digest.trim_start_matches("sha256:"),
        "size_bytes": file.size_bytes,
        "name": told(&file.display_name),
        "state": match file.state() {
            FileState::Healthy => "healthy",
            FileState::Degraded => "degraded",
            FileState::Unavailable | FileState::Unspecified => "unavailable",
        },
        "copies": file.min_holders,
        "target_copies": file.target_holders,
        "fragment_count": file.fragment_count,
    })
}
