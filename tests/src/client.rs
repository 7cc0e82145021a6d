//! A user's program: puts files in over gRPC, reads them back from one daemon and no other, asks how things stand.

use std::io::{self, Read};

use bytes::Bytes;
use endpoint::client::{Channels, Reader};
use endpoint::proto::tracker_service_client::TrackerServiceClient;
use endpoint::proto::{self, digest_text, endpoint_service_client::EndpointServiceClient};
use protocol::{EndpointUri, Hash};
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::specification::hex;
use crate::wait::{eventually, until};

/// Most bytes of one message.
const CHUNK: usize = 256 << 10;

/// One daemon, as a client sees it.
#[derive(Debug, Clone)]
pub struct Client {
    name: String,
    channel: Channel,
}

impl Client {
    /// The daemon that listens on `host:port`.
    ///
    /// # Panics
    /// If that is no address.
    #[must_use]
    pub fn of(address: &str) -> Self {
        let uri: EndpointUri = format!("grpc://{address}").parse().expect("an address of an endpoint");
        let channel = Channels::default().channel(&uri).expect("this scheme can be dialled");
        Self { name: address.to_owned(), channel }
    }

    /// Where it listens, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.name
    }

    fn reader(&self) -> Reader {
        EndpointServiceClient::new(self.channel.clone()).max_decoding_message_size(1 << 20)
    }

    /// What it knows of itself and of the network; none if it does not answer.
    pub async fn network(&self) -> Option<proto::GetNetworkResponse> {
        Some(self.reader().get_network(proto::GetNetworkRequest {}).await.ok()?.into_inner())
    }

    /// What it knows of a file; none if nothing.
    pub async fn file(&self, digest: &str) -> Option<proto::File> {
        let request = proto::GetFileRequest { name: format!("files/{digest}") };
        self.reader().get_file(request).await.ok()?.into_inner().file
    }

    /// The torrents it knows, by identifier.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn servers(&self) -> Vec<proto::Server> {
        let request = proto::ListServersRequest { page_size: 1000, page_token: String::new() };
        self.reader().list_servers(request).await.expect("the daemon answers").into_inner().servers
    }

    /// The fragments of a file, with their holders; those of the first thousand.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn fragments(&self, digest: &str) -> Vec<proto::Fragment> {
        let parent = format!("files/{digest}");
        let request = proto::ListFragmentsRequest { parent, page_size: 1000, page_token: String::new() };
        self.reader().list_fragments(request).await.expect("the daemon answers").into_inner().fragments
    }

    /// How many of these fragments it has on its own disk.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn held(&self, digests: Vec<String>) -> usize {
        let held = self.reader().batch_get_fragments(proto::BatchGetFragmentsRequest { digests }).await;
        held.expect("the daemon answers").into_inner().fragments.len()
    }

    /// The same where it may fail; none then.
    pub async fn try_held(&self, digests: Vec<String>) -> Option<Vec<String>> {
        let request = proto::BatchGetFragmentsRequest { digests };
        let held = self.reader().batch_get_fragments(request).await.ok()?.into_inner();
        Some(held.fragments.into_iter().map(|fragment| fragment.digest).collect())
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// What the tracker answers.
    pub async fn try_remove(&self, digest: &str) -> Result<(), Status> {
        let mut tracker = TrackerServiceClient::new(self.channel.clone());
        let request = proto::DeleteFileRequest { name: format!("files/{digest}"), ..Default::default() };
        tracker.delete_file(request).await.map(|_| ())
    }

    /// Puts a file in, in fragments of the size that the tracker wants, and gives its digest.
    ///
    /// # Panics
    /// If the tracker refuses.
    pub async fn put(&self, name: &str, content: impl Read + Send + 'static) -> String {
        self.try_put(name, content).await.unwrap_or_else(|status| panic!("{name} is refused: {status}"))
    }

    /// The same where it may fail, e.g. because the tracker is killed.
    ///
    /// # Errors
    /// What the tracker answers.
    ///
    /// # Panics
    /// If the content cannot be read.
    pub async fn try_put(&self, name: &str, content: impl Read + Send + 'static) -> Result<String, Status> {
        let mut tracker = TrackerServiceClient::new(self.channel.clone());
        let request = proto::CreateUploadRequest { display_name: name.to_owned(), ..Default::default() };
        let upload = tracker.create_upload(request).await?.into_inner().upload.unwrap_or_default();
        let fragment_bytes = usize::try_from(upload.fragment_size_bytes).expect("a size");
        let messages = Messages { upload: upload.name.clone(), content, fragment_bytes, filled: 0 };
        let mut messages = messages.peekable();
        // An empty file has no fragments to write.
        if messages.peek().is_some() {
            tracker.write_fragments(futures::stream::iter(messages)).await?;
        }
        let request = proto::CompleteUploadRequest { name: upload.name, ..Default::default() };
        let file = tracker.complete_upload(request).await?.into_inner().file.unwrap_or_default();
        Ok(file.digest.trim_start_matches("sha256:").to_owned())
    }

    /// Puts a file in that has the first of `fragments` so often, and then the others once, and gives its digest. Each is sent once.
    ///
    /// # Panics
    /// If the tracker refuses.
    pub async fn put_repeating(&self, name: &str, fragments: Vec<Bytes>, times: usize) -> String {
        let mut tracker = TrackerServiceClient::new(self.channel.clone());
        let request = proto::CreateUploadRequest { display_name: name.to_owned(), ..Default::default() };
        let created = tracker.create_upload(request).await.expect("it takes uploads");
        let upload = created.into_inner().upload.unwrap_or_default().name;
        let digests: Vec<String> = fragments.iter().map(|data| digest_text(&Hash::of(data))).collect();
        let message = |(data, digest): (Bytes, &String)| proto::WriteFragmentsRequest {
            upload: upload.clone(),
            digest: digest.clone(),
            data,
            finish_fragment: true,
            ..Default::default()
        };
        let messages: Vec<_> = fragments.into_iter().zip(&digests).map(message).collect();
        tracker.write_fragments(futures::stream::iter(messages)).await.expect("it takes the fragments");
        let repeated = digests.iter().take(1).cycle().take(times);
        let fragment_digests = repeated.chain(&digests[1..]).cloned().collect();
        let request = proto::CompleteUploadRequest { name: upload, fragment_digests, ..Default::default() };
        let completed = tracker.complete_upload(request).await.expect("it takes the file");
        let file = completed.into_inner().file.unwrap_or_default();
        file.digest.trim_start_matches("sha256:").to_owned()
    }

    /// Begins to read one fragment from this daemon's own disk.
    ///
    /// # Errors
    /// What the daemon answers.
    pub async fn open_fragment(
        &self,
        digest: &str,
    ) -> Result<Streaming<proto::ReadFragmentResponse>, Status> {
        let name = format!("fragments/{digest}");
        let request = proto::ReadFragmentRequest { name, ..Default::default() };
        Ok(self.reader().read_fragment(request).await?.into_inner())
    }

    /// Reads one fragment from this daemon's own disk.
    ///
    /// # Errors
    /// What the daemon answers.
    pub async fn read_fragment(&self, digest: &str) -> Result<Vec<u8>, Status> {
        let mut stream = self.open_fragment(digest).await?;
        let mut bytes = Vec::new();
        while let Some(message) = stream.message().await? {
            bytes.extend_from_slice(&message.data);
        }
        Ok(bytes)
    }

    /// Begins to read a whole file through this daemon.
    ///
    /// # Errors
    /// What the daemon answers.
    pub async fn open_file(&self, digest: &str) -> Result<Streaming<proto::ReadFileResponse>, Status> {
        let request = proto::ReadFileRequest { name: format!("files/{digest}"), ..Default::default() };
        Ok(self.reader().read_file(request).await?.into_inner())
    }

    /// Reads a whole file through this daemon, and gives the digest of the bytes that came and their number.
    ///
    /// # Errors
    /// What the daemon answers.
    pub async fn read_digest(&self, digest: &str) -> Result<(String, u64), Status> {
        let mut stream = self.open_file(digest).await?;
        let (mut hasher, mut size_bytes) = (Sha256::new(), 0);
        while let Some(message) = stream.message().await? {
            assert_eq!(message.offset, i64::try_from(size_bytes).expect("a size"), "a gap in the stream");
            hasher.update(&message.data);
            size_bytes += message.data.len() as u64;
        }
        Ok((hex(&hasher.finalize()), size_bytes))
    }

    /// Waits until it gives the file back byte for byte.
    ///
    /// # Panics
    /// If other bytes come, or it cannot.
    pub async fn gives_back(&self, digest: &str, size_bytes: u64) {
        let what = format!("{} gives {digest} back", self.name);
        let read = eventually(&what, async || self.read_digest(digest).await.ok()).await;
        assert_eq!(read, (digest.to_owned(), size_bytes), "{}", self.name);
    }

    /// Waits until it counts this many registered torrents.
    ///
    /// # Panics
    /// If it never does.
    pub async fn counts_torrents(&self, number: i32) {
        let what = format!("{} counts {number} torrents", self.name);
        until(&what, async || {
            let health = self.network().await.and_then(|network| network.health);
            health.is_some_and(|health| health.servers_registered == number && health.servers_suspect == 0)
        })
        .await;
    }

    /// Waits until it knows that every fragment of the file has this many holders.
    ///
    /// # Panics
    /// If it never does.
    pub async fn counts_copies(&self, digest: &str, number: i32) {
        let what = format!("{} counts {number} copies of {digest}", self.name);
        until(&what, async || self.file(digest).await.is_some_and(|file| file.min_holders >= number)).await;
    }
}

/// Waits until all these daemons know the same.
///
/// # Panics
/// If they never do.
pub async fn agree(clients: &[Client]) {
    let knowledge = async |client: &Client| {
        client.network().await.map(|network| (network.view_revision, network.view_digest))
    };
    until("all daemons know the same", async || {
        let mut all = Vec::new();
        for client in clients {
            all.push(knowledge(client).await);
        }
        all.iter().all(|knows| knows.is_some() && *knows == all[0])
    })
    .await;
}

/// The messages of an upload.
struct Messages<R> {
    upload: String,
    content: R,
    fragment_bytes: usize,
    /// Bytes of the current fragment that were sent.
    filled: usize,
}

impl<R: Read> Iterator for Messages<R> {
    type Item = proto::WriteFragmentsRequest;

    fn next(&mut self) -> Option<Self::Item> {
        let write_offset = i64::try_from(self.filled).expect("a size");
        let wanted = CHUNK.min(self.fragment_bytes - self.filled);
        let data = read_full(&mut self.content, wanted).expect("the content can be read");
        if data.is_empty() && self.filled == 0 {
            return None;
        }
        self.filled += data.len();
        let finish_fragment = data.len() < wanted || self.filled == self.fragment_bytes;
        if finish_fragment {
            self.filled = 0;
        }
        let upload = std::mem::take(&mut self.upload);
        Some(proto::WriteFragmentsRequest {
            upload,
            write_offset,
            data: data.into(),
            finish_fragment,
            ..Default::default()
        })
    }
}

/// As many bytes as there are, up to `wanted`.
fn read_full(content: &mut impl Read, wanted: usize) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(wanted);
    content.take(wanted as u64).read_to_end(&mut data)?;
    Ok(data)
}
