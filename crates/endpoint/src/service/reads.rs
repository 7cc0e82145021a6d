//! Reading bytes: one fragment from this daemon's disk, or a whole file from wherever its fragments are.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use protocol::{EndpointUri, Hash};
use tonic::Status;

use super::EndpointApi;
use super::budget::Share;
use super::describe::{Servers, int64};
use crate::catalog::Role;
use crate::client::{FetchFailure, WantedFragment, fetch_fragment};
use crate::errors::Refusal;
use crate::fragments::ReadError;
use crate::names::{parse_file_name, parse_fragment_name};
use crate::proto;
use crate::range::byte_range;

/// Most bytes of `data` in one message.
pub const MAX_CHUNK_BYTES: usize = 256 << 10;
/// How many bytes `ReadFile` reads ahead of what the client has taken, but at least one fragment.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// What is read through this daemon.
pub(super) struct Content {
    pub hash: Hash,
    pub size_bytes: u64,
    pub fragments: Arc<[Hash]>,
    pub fragment_size_bytes: u64,
}

/// The part of a fragment that a read wants.
struct Piece {
    fragment: Hash,
    size_bytes: u64,
    /// Where in the fragment the wanted bytes begin and end.
    from: u64,
    to: u64,
    /// Where in the file the wanted bytes begin.
    offset: u64,
}

impl EndpointApi {
    pub(super) async fn fragment_stream(
        &self,
        request: &proto::ReadFragmentRequest,
    ) -> Result<BoxStream<'static, Result<proto::ReadFragmentResponse, Status>>, Refusal> {
        let fragment = parse_fragment_name("name", &request.name)?;
        let size_bytes = self.fragments.size_of(&fragment).ok_or(Refusal::FragmentNotHeld(fragment))?;
        let range = byte_range(size_bytes, request.read_offset, request.read_limit)?;
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let share = self.fragment_budget.take(size_bytes).await?;
        let content = self.read_own(fragment).await.map_err(|error| own_refusal(fragment, &error))?;
        let wanted = slice(&content, range.start, range.end);
        let mut offset = range.start;
        let messages = chunks(wanted).enumerate().map(move |(index, data)| {
            let message = proto::ReadFragmentResponse {
                offset: int64(offset),
                total_size_bytes: if index == 0 { int64(size_bytes) } else { 0 },
                data,
            };
            offset += message.data.len() as u64;
            Ok(message)
        });
        Ok(with_share(stream::iter(messages), share))
    }

    pub(super) async fn file_stream(
        &self,
        request: &proto::ReadFileRequest,
    ) -> Result<BoxStream<'static, Result<proto::ReadFileResponse, Status>>, Refusal> {
        let file = parse_file_name("name", &request.name)?;
        let known = self.ask(move |catalog| {
            let view = catalog.view();
            let info = view.file(&file)?;
            Some((info.size_bytes, info.fragments.clone(), view.fragment_size_bytes()))
        });
        let (size_bytes, fragments, fragment_size) = known.await?.ok_or(Refusal::FileNotFound(file))?;
        let fragment_size_bytes = fragment_size.unwrap_or(size_bytes).max(1);
        let content = Content { hash: file, size_bytes, fragments, fragment_size_bytes };
        self.content_stream(content, request.read_offset, request.read_limit)
    }

    /// A range of a content, fragment by fragment, from wherever they are.
    pub(super) fn content_stream(
        &self,
        content: Content,
        read_offset: i64,
        read_limit: i64,
    ) -> Result<BoxStream<'static, Result<proto::ReadFileResponse, Status>>, Refusal> {
        let Content { hash: file, size_bytes, fragments, fragment_size_bytes: fragment_size } = content;
        let range = byte_range(size_bytes, read_offset, read_limit)?;
        let pieces = pieces(&fragments, fragment_size, size_bytes, range.start, range.end);
        let ahead = usize::try_from(READ_AHEAD_BYTES / fragment_size).unwrap_or(1) + 1;
        let api = self.clone();
        let mut is_first = true;
        let messages = stream::iter(pieces)
            .map(move |piece| {
                let api = api.clone();
                async move { api.piece(file, piece).await }
            })
            .buffered(ahead.min(8))
            .flat_map(move |piece| match piece {
                Ok(piece) => {
                    let total_size_bytes = if is_first { int64(size_bytes) } else { 0 };
                    is_first = false;
                    piece.messages(total_size_bytes)
                }
                Err(refusal) => stream::iter([Err(Status::from(refusal))]).boxed(),
            });
        Ok(messages.boxed())
    }

    async fn read_own(&self, fragment: Hash) -> Result<Bytes, ReadError> {
        let fragments = Arc::clone(&self.fragments);
        let read = tokio::task::spawn_blocking(move || fragments.read(&fragment)).await;
        // A read that panicked or was cancelled is as good as a disk that failed.
        read.unwrap_or_else(|error| Err(ReadError::Io(Arc::new(std::io::Error::other(error)))))
    }

    /// The wanted bytes of one fragment: from this daemon's disk, else from a holder.
    async fn piece(&self, file: Hash, piece: Piece) -> Result<FilledPiece, Refusal> {
        let share = self.file_budget.take(piece.size_bytes).await?;
        let own = match self.fragments.size_of(&piece.fragment) {
            Some(_) => self.read_own(piece.fragment).await,
            None => Err(ReadError::Missing),
        };
        let chunks = match own {
            Ok(content) => vec![slice(&content, piece.from, piece.to)],
            Err(error) => {
                if !matches!(error, ReadError::Missing) {
                    tracing::warn!(fragment = %piece.fragment, %error, "own copy cannot be read, asking others");
                }
                let content = self.read_from_others(file, &piece, &error).await?;
                cut(content, piece.from, piece.to)
            }
        };
        Ok(FilledPiece { offset: piece.offset, chunks, share })
    }

    async fn read_from_others(
        &self,
        file: Hash,
        piece: &Piece,
        own: &ReadError,
    ) -> Result<Vec<Bytes>, Refusal> {
        let fragment = piece.fragment;
        let mut holders = self
            .ask(move |catalog| {
                let servers = Servers::of(catalog);
                let holders = servers.holders(catalog, &fragment).into_iter();
                let others = holders.filter(|holder| holder.as_str() != catalog.id());
                let known = others.filter_map(|holder| servers.get(holder));
                let mut asked: Vec<(bool, Vec<EndpointUri>)> = known
                    .map(|holder| {
                        (servers.is_suspect(&holder.id), holder.endpoints.iter().cloned().collect())
                    })
                    .collect();
                // A fragment that nobody holds yet is where it was uploaded.
                if asked.is_empty() && catalog.role() != Role::Tracker {
                    asked.push((true, catalog.tracker_endpoints()));
                }
                asked
            })
            .await?;
        // Different fragments begin with different holders; those that did not answer lately, or are suspect, come last.
        let turn = usize::from(fragment.as_bytes()[31]) % holders.len().max(1);
        holders.rotate_left(turn);
        holders.sort_by_key(|(is_suspect, endpoints)| {
            (*is_suspect, endpoints.iter().all(|e| self.peers.is_avoided(e)))
        });
        for endpoint in holders.iter().flat_map(|(_, endpoints)| endpoints) {
            let Ok(channel) = self.peers.channel(endpoint) else { continue };
            let wanted = WantedFragment { hash: fragment, size_bytes: piece.size_bytes };
            match fetch_fragment(channel, wanted, self.peer_patience).await {
                Ok(content) => {
                    self.peers.welcome(endpoint);
                    return Ok(content);
                }
                Err(failure) => {
                    tracing::debug!(%fragment, %endpoint, %failure, "holder did not deliver");
                    if matches!(failure, FetchFailure::Unreachable { .. } | FetchFailure::Silent { .. }) {
                        self.peers.avoid(endpoint);
                    }
                }
            }
        }
        Err(match own {
            ReadError::Missing => Refusal::NoReachableHolder { file, fragments: vec![fragment] },
            ReadError::Damaged | ReadError::Io(_) => own_refusal(fragment, own),
        })
    }
}

/// The bytes of a piece.
struct FilledPiece {
    offset: u64,
    chunks: Vec<Bytes>,
    share: Share,
}

impl FilledPiece {
    fn messages(
        self,
        mut total_size_bytes: i64,
    ) -> BoxStream<'static, Result<proto::ReadFileResponse, Status>> {
        let mut offset = self.offset;
        let messages = self.chunks.into_iter().flat_map(chunks).map(move |data| {
            let message = proto::ReadFileResponse { offset: int64(offset), total_size_bytes, data };
            total_size_bytes = 0;
            offset += message.data.len() as u64;
            Ok(message)
        });
        with_share(stream::iter(messages), self.share)
    }
}

fn own_refusal(fragment: Hash, error: &ReadError) -> Refusal {
    match error {
        ReadError::Missing => Refusal::FragmentNotHeld(fragment),
        ReadError::Damaged => Refusal::StoredBytesDamaged(fragment),
        ReadError::Io(source) => {
            tracing::error!(%fragment, error = %source, "the store failed");
            Refusal::StoreFailed(fragment)
        }
    }
}

/// The pieces of a file that make up the bytes from `start` to `end`.
fn pieces(
    fragments: &Arc<[Hash]>,
    fragment_size: u64,
    size_bytes: u64,
    start: u64,
    end: u64,
) -> impl Iterator<Item = Piece> + Send + 'static {
    let fragments = Arc::clone(fragments);
    let first = if start < end { start / fragment_size } else { 0 };
    let behind = if start < end { end.div_ceil(fragment_size) } else { 0 };
    (first..behind).filter_map(move |index| {
        let fragment = *fragments.get(usize::try_from(index).ok()?)?;
        let at = index * fragment_size;
        let size = fragment_size.min(size_bytes - at);
        let (from, to) = (start.max(at) - at, end.min(at + size) - at);
        Some(Piece { fragment, size_bytes: size, from, to, offset: at + from })
    })
}

/// The bytes from `from` to `to`, as far as they are there.
fn slice(content: &Bytes, from: u64, to: u64) -> Bytes {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(content.len());
    content.slice(at(from)..at(to).max(at(from)))
}

/// The bytes from `from` to `to` of a content in parts.
fn cut(parts: Vec<Bytes>, from: u64, to: u64) -> Vec<Bytes> {
    let mut at = 0;
    let mut wanted = Vec::with_capacity(parts.len());
    for part in parts {
        let length = part.len() as u64;
        let piece = slice(&part, from.saturating_sub(at), to.saturating_sub(at));
        if !piece.is_empty() {
            wanted.push(piece);
        }
        at += length;
    }
    wanted
}

/// Slices of at most [`MAX_CHUNK_BYTES`]; nothing is copied.
fn chunks(mut content: Bytes) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || {
        let length = content.len().min(MAX_CHUNK_BYTES);
        (length > 0).then(|| content.split_to(length))
    })
}

/// The stream, with its share of the budget given back when the stream is dropped.
fn with_share<T: Send + 'static>(
    messages: impl stream::Stream<Item = T> + Send + 'static,
    share: Share,
) -> BoxStream<'static, T> {
    let held = stream::poll_fn(move |_| {
        let _ = &share;
        std::task::Poll::Ready(None)
    });
    messages.chain(held).boxed()
}
