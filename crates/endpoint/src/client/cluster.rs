//! All daemons of one network, behind one handle. A question goes to one of them and, if it does not answer, to the next.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use protocol::limits::MAX_FRAGMENT_SIZE_BYTES;
use protocol::{ClientId, EndpointUri, Hash};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::names::{file_name, server_id};
use crate::proto::endpoint_service_client::EndpointServiceClient;
use crate::proto::tracker_service_client::TrackerServiceClient;
use crate::proto::{self, ErrorReason, digest_text, parse_digest};
use crate::serve::MAX_MESSAGE_BYTES;
use crate::service::MAX_BATCH;

use super::{CallError, Channels, ClientError};

/// How long one daemon may take for an answer that is not a stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const PAGE_SIZE: i32 = 1000;

/// How many daemons must say that a file is not known, by its digest or by its name. One alone may have missed it: it was away, or is
/// joining just now.
const OPINIONS: usize = 3;

/// The daemons of one network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    channels: Channels,
    shared: Arc<Mutex<Known>>,
}

/// Whom to ask, best first.
#[derive(Debug, Default)]
struct Known {
    endpoints: Vec<EndpointUri>,
}

/// Which files a list is to contain. What is empty filters nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// The name contains this.
    pub name_contains: String,
    /// The name is this.
    pub name: String,
    /// The digest begins with these hex digits.
    pub digest_prefix: String,
}

/// A file with all its fragments and where they are.
#[derive(Debug, Clone)]
pub struct FileMap {
    /// The file.
    pub hash: Hash,
    /// Size of the whole content in bytes.
    pub size_bytes: u64,
    /// What else is known of it.
    pub file: proto::File,
    /// The fragments in file order.
    pub fragments: Vec<FragmentPlace>,
    /// Where the holders can be asked, by identifier.
    pub endpoints: BTreeMap<ClientId, Vec<EndpointUri>>,
}

/// A fragment at its place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentPlace {
    /// The fragment.
    pub hash: Hash,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Where it begins in the file, in bytes.
    pub offset_bytes: u64,
    /// Who holds it, those that may be down last.
    pub holders: Vec<ClientId>,
}

impl Cluster {
    /// Asks the first of `endpoints` that answers for all other daemons.
    ///
    /// # Errors
    /// If none answers.
    pub async fn connect(endpoints: impl IntoIterator<Item = EndpointUri>) -> Result<Self, ClientError> {
        let known = Known { endpoints: endpoints.into_iter().collect() };
        if known.endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        let cluster = Self { channels: Channels::default(), shared: Arc::new(Mutex::new(known)) };
        cluster.leave_those_that_stand_by().await;
        cluster.servers().await?;
        Ok(cluster)
    }

    /// A tracker that waits for another one's end knows nothing of what happens: of several daemons it is the last to ask, as one
    /// that does not answer. If there is no better one, the order stays.
    async fn leave_those_that_stand_by(&self) {
        let endpoints = self.endpoints();
        if endpoints.len() < 2 {
            return;
        }
        for (at, endpoint) in endpoints.iter().enumerate() {
            let Ok(mut client) = self.reader(endpoint) else { continue };
            let network = answer(client.get_network(proto::GetNetworkRequest {})).await;
            let takes_part = |network: proto::GetNetworkResponse| {
                network.role() != proto::ServerRole::Tracker || network.tracker_online
            };
            if network.is_ok_and(takes_part) {
                endpoints[..at].iter().for_each(|endpoint| self.ask_last(endpoint));
                return;
            }
        }
    }

    /// All endpoints known, those that answered last first.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointUri> {
        self.known().endpoints.clone()
    }

    /// The connections.
    #[must_use]
    pub const fn channels(&self) -> &Channels {
        &self.channels
    }

    /// What one daemon knows of itself and of the network.
    ///
    /// # Errors
    /// If no daemon answers.
    pub async fn network(&self) -> Result<proto::GetNetworkResponse, ClientError> {
        let ask = |mut client: Reader| async move { client.get_network(proto::GetNetworkRequest {}).await };
        Ok(self.ask(ask).await?.1)
    }

    /// All torrents. Their endpoints are remembered as further daemons to ask.
    ///
    /// # Errors
    /// If no daemon answers.
    pub async fn servers(&self) -> Result<Vec<proto::Server>, ClientError> {
        let mut servers = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListServersRequest { page_size: PAGE_SIZE, page_token };
            let page = self.ask(|mut client| {
                let request = request.clone();
                async move { client.list_servers(request).await }
            });
            let page = page.await?.1;
            servers.extend(page.servers);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        self.remember(&servers);
        Ok(servers)
    }

    /// One file.
    ///
    /// # Errors
    /// If it is not known, or no daemon answers.
    pub async fn file(&self, file: &Hash) -> Result<proto::File, ClientError> {
        let name = file_name(file);
        let ask = |mut client: Reader| {
            let name = name.clone();
            async move { client.get_file(proto::GetFileRequest { name }).await }
        };
        let (endpoint, response) = self.ask(ask).await?;
        response.file.ok_or(ClientError::InvalidAnswer { endpoint, what: "file" })
    }

    /// The files that match `filter`, ordered by digest, page by page as they are wanted.
    pub fn files(&self, filter: FileFilter) -> impl Stream<Item = Result<proto::File, ClientError>> + use<> {
        let first = proto::ListFilesRequest {
            page_size: 0,
            page_token: String::new(),
            display_name_contains: filter.name_contains,
            display_name: filter.name,
            digest_prefix: filter.digest_prefix,
        };
        let pages = futures::stream::try_unfold((self.clone(), Some(first)), |(cluster, request)| async {
            let Some(mut request) = request else { return Ok::<_, ClientError>(None) };
            let ask = |mut client: Reader| {
                let request = request.clone();
                async move { client.list_files(request).await }
            };
            // Who asks for one file is told that it is not known; who asks for all of a kind is told that there are none.
            let is_about_one = !(request.display_name.is_empty() && request.digest_prefix.is_empty());
            let is_unknown = |page: &proto::ListFilesResponse| {
                is_about_one && request.page_token.is_empty() && page.files.is_empty()
            };
            let page = cluster.ask_around(ask, is_unknown).await?.1;
            request.page_token = page.next_page_token;
            let next = Some(request).filter(|request| !request.page_token.is_empty());
            Ok(Some((page.files, (cluster, next))))
        });
        pages.flat_map(|page| match page {
            Ok(files) => futures::stream::iter(files).map(Ok).boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        })
    }

    /// A file with all its fragments and their holders.
    ///
    /// # Errors
    /// If it is not known, or no daemon answers.
    pub async fn file_map(&self, hash: &Hash) -> Result<FileMap, ClientError> {
        let file = self.file(hash).await?;
        let mut map = FileMap {
            hash: *hash,
            size_bytes: u64::try_from(file.size_bytes).unwrap_or_default(),
            fragments: Vec::with_capacity(
                usize::try_from(file.fragment_count).unwrap_or_default().min(1 << 20),
            ),
            endpoints: BTreeMap::new(),
            file,
        };
        let mut request = proto::ListFragmentsRequest {
            parent: file_name(hash),
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        loop {
            let page = self.ask(|mut client| {
                let request = request.clone();
                async move { client.list_fragments(request).await }
            });
            let (endpoint, page) = page.await?;
            for fragment in &page.fragments {
                let place = fragment_place(fragment);
                map.fragments.push(
                    place
                        .ok_or(ClientError::InvalidAnswer { endpoint: endpoint.clone(), what: "fragment" })?,
                );
            }
            // A daemon that goes on for ever is not listened to for ever.
            if map.fragments.len() > usize::try_from(map.file.fragment_count).unwrap_or_default() {
                return Err(ClientError::Inconsistent(*hash));
            }
            self.remember(&page.servers);
            map.endpoints.extend(page.servers.iter().filter_map(server_endpoints));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let mut end = 0;
        for fragment in &map.fragments {
            if fragment.offset_bytes != end {
                return Err(ClientError::Inconsistent(*hash));
            }
            end = end.saturating_add(fragment.size_bytes);
        }
        if end == map.size_bytes { Ok(map) } else { Err(ClientError::Inconsistent(*hash)) }
    }

    /// Which of `fragments` each daemon has on its own disk. Daemons that do not answer are left out.
    pub async fn who_has(&self, fragments: &[Hash]) -> Vec<(EndpointUri, Vec<Hash>)> {
        let digests: Vec<String> = fragments.iter().take(MAX_BATCH).map(digest_text).collect();
        let asked = self.endpoints().into_iter().map(|endpoint| {
            let request = proto::BatchGetFragmentsRequest { digests: digests.clone() };
            async move {
                let mut client = self.reader(&endpoint).ok()?;
                let held = answer(client.batch_get_fragments(request)).await.ok()?;
                let held = held.fragments.iter().filter_map(|held| parse_digest(&held.digest).ok());
                Some((endpoint, held.collect()))
            }
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Reads a range of a file through one daemon, in file order. If the stream breaks it goes on at another daemon. The bytes are
    /// as that daemon gave them: check the file's digest. A `read_limit` of 0 reads to the end.
    pub fn read_file(
        &self,
        file: &Hash,
        read_offset: u64,
        read_limit: u64,
    ) -> BoxStream<'static, Result<proto::ReadFileResponse, ClientError>> {
        super::read_file::resuming(self.clone(), *file, read_offset, read_limit).boxed()
    }

    /// Follows the network at one daemon, named with each message: first its state, then every change. After a break it goes on without
    /// a gap at the same daemon, or begins anew, with a `SNAPSHOT_BEGUN`, at another one. Ends with an error when no daemon answers.
    pub fn watch(&self) -> BoxStream<'static, Result<(EndpointUri, proto::WatchResponse), ClientError>> {
        super::watch::following(self.clone()).boxed()
    }

    /// A client of the tracker's uploads. Asks all daemons where the tracker is.
    ///
    /// # Errors
    /// If none of the daemons is the tracker or knows where it is.
    pub async fn tracker(&self) -> Result<(EndpointUri, TrackerServiceClient<Channel>), ClientError> {
        let (mut errors, mut off_line) = (Vec::new(), None);
        for endpoint in self.endpoints() {
            let mut client = self.reader(&endpoint)?;
            let network = match answer(client.get_network(proto::GetNetworkRequest {})).await {
                Ok(network) => network,
                Err(status) => {
                    errors.push(CallError::new(&endpoint, &status));
                    continue;
                }
            };
            let told = network.tracker_endpoints.iter().filter_map(|text| text.parse().ok());
            let itself = (network.role() == proto::ServerRole::Tracker).then(|| endpoint.clone());
            if let Some(tracker) = itself.into_iter().chain(told).next() {
                if network.tracker_online {
                    return self.tracker_at(tracker);
                }
                // It stands by, is not connected now, or went away: there may be another one.
                off_line.get_or_insert(tracker);
            }
        }
        off_line.map_or_else(|| Err(ClientError::NoTracker(errors)), |tracker| self.tracker_at(tracker))
    }

    fn tracker_at(
        &self,
        tracker: EndpointUri,
    ) -> Result<(EndpointUri, TrackerServiceClient<Channel>), ClientError> {
        let client = TrackerServiceClient::new(self.channels.channel(&tracker)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok((tracker, client))
    }

    /// A client for the read service of one daemon.
    ///
    /// # Errors
    /// If the endpoint cannot be dialled.
    pub fn reader(&self, endpoint: &EndpointUri) -> Result<Reader, ClientError> {
        let channel = self.channels.channel(endpoint)?;
        Ok(EndpointServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Puts one question to the daemons in turn until one answers. That a file is not known is an answer if a few say so.
    pub(super) async fn ask<T, F>(
        &self,
        question: impl Fn(Reader) -> F,
    ) -> Result<(EndpointUri, T), ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask_around(question, |_| false).await
    }

    /// The same where a response, too, may say that a file is not known.
    async fn ask_around<T, F>(
        &self,
        question: impl Fn(Reader) -> F,
        is_unknown: impl Fn(&T) -> bool,
    ) -> Result<(EndpointUri, T), ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut errors = Vec::new();
        let mut unknown: Option<Result<(EndpointUri, T), ClientError>> = None;
        let mut opinions = 0;
        for endpoint in self.endpoints() {
            let Ok(client) = self.reader(&endpoint) else { continue };
            let opinion = match answer(question(client)).await {
                Ok(response) if is_unknown(&response) => Ok((endpoint, response)),
                Ok(response) => {
                    self.prefer(&endpoint);
                    return Ok((endpoint, response));
                }
                Err(status) => {
                    let error = CallError::new(&endpoint, &status);
                    if error.reason == Some(ErrorReason::FileNotFound) {
                        Err(ClientError::Refused(error))
                    } else if error.is_worth_asking_another() {
                        errors.push(error);
                        continue;
                    } else {
                        return Err(ClientError::Refused(error));
                    }
                }
            };
            unknown.get_or_insert(opinion);
            opinions += 1;
            if opinions == OPINIONS {
                break;
            }
        }
        unknown.unwrap_or(Err(ClientError::Unreachable(errors)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question goes to `endpoint` first.
    fn prefer(&self, endpoint: &EndpointUri) {
        let mut known = self.known();
        if let Some(at) = known.endpoints.iter().position(|known| known == endpoint) {
            known.endpoints[..=at].rotate_right(1);
        }
    }

    /// The next question goes to `endpoint` last.
    fn ask_last(&self, endpoint: &EndpointUri) {
        let mut known = self.known();
        if let Some(at) = known.endpoints.iter().position(|known| known == endpoint) {
            known.endpoints[at..].rotate_left(1);
        }
    }

    fn remember(&self, servers: &[proto::Server]) {
        let mut known = self.known();
        for endpoint in servers.iter().flat_map(|server| &server.endpoints) {
            if let Ok(endpoint) = endpoint.parse::<EndpointUri>()
                && endpoint.authority().is_some()
                && !known.endpoints.contains(&endpoint)
            {
                known.endpoints.push(endpoint);
            }
        }
    }
}

/// A client for the read service of one daemon.
pub type Reader = EndpointServiceClient<Channel>;

async fn answer<T>(asked: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answered) => answered.map(Response::into_inner),
        Err(_) => {
            Err(Status::new(Code::DeadlineExceeded, format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())))
        }
    }
}

fn fragment_place(fragment: &proto::Fragment) -> Option<FragmentPlace> {
    Some(FragmentPlace {
        hash: parse_digest(&fragment.digest).ok()?,
        // More would be taken into memory before its hash could be seen to be wrong.
        size_bytes: u64::try_from(fragment.size_bytes)
            .ok()
            .filter(|size| *size <= MAX_FRAGMENT_SIZE_BYTES)?,
        offset_bytes: u64::try_from(fragment.offset_bytes).ok()?,
        holders: fragment.holders.iter().filter_map(|name| server_id(name)).collect(),
    })
}

fn server_endpoints(server: &proto::Server) -> Option<(ClientId, Vec<EndpointUri>)> {
    let endpoints = server.endpoints.iter().filter_map(|text| text.parse().ok()).collect();
    Some((server_id(&server.name)?, endpoints))
}
