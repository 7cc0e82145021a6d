//! `/files/{digest}` and `/fragments/{digest}`: bytes by their digest, whole or in part.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use bytes::Bytes;
use endpoint::proto::endpoint_service_server::EndpointService;
use endpoint::proto::{ReadFileRequest, ReadFragmentRequest, parse_digest};
use endpoint::{Catalog, Refusal, Role, names};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use protocol::{EndpointUri, Hash};
use tonic::{Request, Status};
use tracing::warn;

use super::conditions::{Verdict, weigh};
use super::range::Part;
use super::{Site, answers, fields};

/// A content that is there.
struct Content {
    kind: Kind,
    digest: Hash,
    size_bytes: u64,
    saved_as: String,
}

#[derive(Clone, Copy)]
enum Kind {
    /// It comes from wherever its fragments are.
    File,
    /// It comes from the own disk alone.
    Fragment,
}

pub async fn file(
    State(site): State<Arc<Site>>,
    method: Method,
    digest: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response<Body> {
    let Some(digest) = read_digest(digest) else { return not_a_digest() };
    let known = site.catalog.ask(move |catalog| {
        let file = catalog.view().file(&digest)?;
        Some((file.size_bytes, fields::saved_as(&digest, file.name.as_ref())))
    });
    match known.await {
        Ok(Some((size_bytes, saved_as))) => {
            let content = Content { kind: Kind::File, digest, size_bytes, saved_as };
            answer(&site, &content, &method, &headers).await
        }
        Ok(None) => answers::refusal(&Refusal::FileNotFound(digest).into(), ": 'mds ls' lists what is"),
        Err(stopped) => answers::refusal(&Refusal::from(stopped).into(), ""),
    }
}

pub async fn fragment(
    State(site): State<Arc<Site>>,
    method: Method,
    digest: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response<Body> {
    let Some(digest) = read_digest(digest) else { return not_a_digest() };
    match site.fragments.size_of(&digest) {
        Some(size_bytes) => {
            let content = Content { kind: Kind::Fragment, digest, size_bytes, saved_as: digest.to_string() };
            answer(&site, &content, &method, &headers).await
        }
        None => {
            let text = format!("fragment {digest} is not on this server");
            let elsewhere = site.elsewhere(vec![digest]).await;
            answers::text(StatusCode::NOT_FOUND, &format!("{text}{elsewhere}"))
        }
    }
}

fn read_digest(text: Result<Path<String>, PathRejection>) -> Option<Hash> {
    parse_digest(&text.ok()?.0).ok()
}

fn not_a_digest() -> Response<Body> {
    answers::text(
        StatusCode::NOT_FOUND,
        "that is no SHA-256 digest: use 64 hex digits, or sha256: and 64 hex digits",
    )
}

async fn answer(site: &Site, content: &Content, method: &Method, headers: &HeaderMap) -> Response<Body> {
    let is_get = *method == Method::GET;
    let size_bytes = content.size_bytes;
    match weigh(headers, is_get, &fields::etag(&content.digest), size_bytes) {
        Verdict::NotModified => {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.headers_mut() = fields::about(&content.digest);
            // As a 200 would have it: otherwise it would be told of the body that a 304 does not have.
            fields::set(answer.headers_mut(), header::CONTENT_LENGTH, &size_bytes.to_string());
            answer
        }
        Verdict::PreconditionFailed => answers::text(
            StatusCode::PRECONDITION_FAILED,
            "the content of a digest never changes, and this is another one than If-Match names",
        ),
        Verdict::Send(Part::Unsatisfiable) => {
            let text = format!("there are {size_bytes} bytes, and the range lies behind them");
            let mut answer = answers::text(StatusCode::RANGE_NOT_SATISFIABLE, &text);
            fields::set(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size_bytes}"));
            answer
        }
        Verdict::Send(Part::Whole) if !is_get || size_bytes == 0 => {
            complete(content, StatusCode::OK, size_bytes, Body::empty())
        }
        Verdict::Send(Part::Whole) => match send(site, content, 0..=size_bytes - 1).await {
            Ok(body) => complete(content, StatusCode::OK, size_bytes, body),
            Err(refused) => refused,
        },
        Verdict::Send(Part::Bytes(bytes)) => {
            let (first, last) = (*bytes.start(), *bytes.end());
            match send(site, content, bytes).await {
                Ok(body) => {
                    let mut answer = complete(content, StatusCode::PARTIAL_CONTENT, last - first + 1, body);
                    let range = format!("bytes {first}-{last}/{size_bytes}");
                    fields::set(answer.headers_mut(), header::CONTENT_RANGE, &range);
                    answer
                }
                Err(refused) => refused,
            }
        }
    }
}

fn complete(content: &Content, status: StatusCode, body_bytes: u64, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = fields::of_content(&content.digest, &content.saved_as);
    fields::set(answer.headers_mut(), header::CONTENT_LENGTH, &body_bytes.to_string());
    answer
}

/// The body with these bytes. It begins only when the first of them are here, so that whoever asks learns of a failure by the status.
async fn send(site: &Site, content: &Content, bytes: RangeInclusive<u64>) -> Result<Body, Response<Body>> {
    let Ok(place) = site.transfers.clone().try_acquire_owned() else {
        return Err(answers::busy("this server sends as many files as it can"));
    };
    let begun = async {
        let mut stream = open(site, content, bytes).await?;
        let first = stream.try_next().await?;
        Ok((first, stream))
    };
    let (first, rest) = match begun.await {
        Ok(begun) => begun,
        Err(status) => return Err(refused(site, content, &status).await),
    };
    let digest = content.digest;
    let all = stream::iter(first.map(Ok)).chain(rest).map(move |data: Result<Bytes, Status>| {
        // It is given back when the body is dropped, sent or not.
        let _ = &place;
        data.inspect_err(|status| warn!(%digest, "a transfer broke off: {}", status.message()))
    });
    Ok(Body::from_stream(all))
}

async fn open(
    site: &Site,
    content: &Content,
    bytes: RangeInclusive<u64>,
) -> Result<BoxStream<'static, Result<Bytes, Status>>, Status> {
    let int64 = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let read_offset = int64(*bytes.start());
    let read_limit = int64((bytes.end() - bytes.start()).saturating_add(1));
    match content.kind {
        Kind::File => {
            let name = names::file_name(&content.digest);
            let request = ReadFileRequest { name, read_offset, read_limit };
            let messages = site.reads.read_file(Request::new(request)).await?.into_inner();
            Ok(messages.map_ok(|message| message.data).boxed())
        }
        Kind::Fragment => {
            let name = names::fragment_name(&content.digest);
            let request = ReadFragmentRequest { name, read_offset, read_limit };
            let messages = site.reads.read_fragment(Request::new(request)).await?.into_inner();
            Ok(messages.map_ok(|message| message.data).boxed())
        }
    }
}

async fn refused(site: &Site, content: &Content, status: &Status) -> Response<Body> {
    let lacking = match content.kind {
        Kind::File => answers::missing_fragments(status),
        Kind::Fragment => vec![content.digest],
    };
    let elsewhere = if lacking.is_empty() { String::new() } else { site.elsewhere(lacking).await };
    answers::refusal(status, &elsewhere)
}

impl Site {
    /// Where else fragments are, as the end of a sentence.
    async fn elsewhere(&self, fragments: Vec<Hash>) -> String {
        let holders = self.catalog.ask(move |catalog| endpoints_of_holders(catalog, &fragments)).await;
        match holders.unwrap_or_default() {
            holders if holders.is_empty() => "; no other server is known to have it".into(),
            holders => {
                let holders: Vec<String> = holders.iter().map(ToString::to_string).collect();
                format!("; over gRPC, those who should have it are {}", holders.join(", "))
            }
        }
    }
}

fn endpoints_of_holders(catalog: &dyn Catalog, fragments: &[Hash]) -> BTreeSet<EndpointUri> {
    let view = catalog.view();
    let holders: BTreeSet<_> = fragments.iter().flat_map(|fragment| view.holders(fragment)).collect();
    let others = catalog.servers().into_iter().filter(|server| server.id.as_str() != catalog.id());
    let mut endpoints: BTreeSet<EndpointUri> =
        others.filter(|server| holders.contains(&server.id)).flat_map(|server| server.endpoints).collect();
    if holders.is_empty() && catalog.role() == Role::Torrent {
        // What is in a file and has no holder is still the tracker's.
        let is_known = fragments.iter().any(|fragment| view.fragment_bytes(fragment).is_some());
        endpoints.extend(catalog.tracker_endpoints().into_iter().filter(|_| is_known));
    }
    endpoints
}
