//! A gRPC service whose calls are counted and timed, by method and by the status they end with.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::Frame;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use super::exchanges::{Exchange, Watched};
use super::{GrpcLabels, MethodLabels, Metrics};

const UNKNOWN: &str = "unknown";
const GRPC_STATUS: &str = "grpc-status";

/// By path. Only what is in here becomes a label: whoever calls may invent paths without end.
static METHODS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let methods = endpoint::proto::methods().into_iter();
    methods.map(|method| (format!("/{method}"), &*String::leak(method))).collect()
});

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    service: S,
    metrics: Arc<Metrics>,
}

impl<S> Counted<S> {
    /// Counts the calls of `service`.
    pub fn new(service: S, metrics: Arc<Metrics>) -> Self {
        Self { service, metrics }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = Call::begin(self.metrics.clone(), request.uri().path());
        let answered = self.service.call(request);
        Box::pin(async move {
            let (head, body) = answered.await?.into_parts();
            // An answer without a body has its status in the head.
            call.note_status(&head.headers);
            Ok(http::Response::from_parts(head, Body::new(Watched::new(body, call))))
        })
    }
}

/// A call that has not ended. It ends when this is dropped: cancelled, unless a status was seen.
struct Call {
    metrics: Arc<Metrics>,
    method: &'static str,
    code: Code,
    began: Instant,
}

impl Call {
    fn begin(metrics: Arc<Metrics>, path: &str) -> Self {
        let method = METHODS.get(path).copied().unwrap_or(UNKNOWN);
        metrics.grpc_requests_in_flight.inc();
        Self { metrics, method, code: Code::Cancelled, began: Instant::now() }
    }

    fn note_status(&mut self, fields: &http::HeaderMap) {
        if let Some(status) = fields.get(GRPC_STATUS) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Exchange for Call {
    fn sends(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.note_status(trailers);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Self { metrics, method, code, began } = self;
        metrics.grpc_requests_in_flight.dec();
        metrics.grpc_requests.get_or_create(&GrpcLabels { method, code: code_name(*code) }).inc();
        let duration = metrics.grpc_request_duration.get_or_create(&MethodLabels { method });
        duration.observe(began.elapsed().as_secs_f64());
    }
}

const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_by_method_and_status_and_an_invented_path_makes_no_label() {
        let metrics = Arc::new(Metrics::default());
        drop(Call::begin(metrics.clone(), "/mds.v1.EndpointService/ReadFile"));
        let mut ended = Call::begin(metrics.clone(), "/mds.v1.EndpointService/ReadFile");
        let mut trailers = http::HeaderMap::new();
        trailers.insert(GRPC_STATUS, http::HeaderValue::from_static("5"));
        ended.sends(&Frame::trailers(trailers));
        drop(ended);
        drop(Call::begin(metrics.clone(), "/mds.v1.EndpointService/Invented"));
        let text = metrics.text();
        for line in [
            "mds_grpc_requests_total{method=\"mds.v1.EndpointService/ReadFile\",code=\"CANCELLED\"} 1\n",
            "mds_grpc_requests_total{method=\"mds.v1.EndpointService/ReadFile\",code=\"NOT_FOUND\"} 1\n",
            "mds_grpc_requests_total{method=\"unknown\",code=\"CANCELLED\"} 1\n",
            "mds_grpc_request_duration_seconds_count{method=\"mds.v1.EndpointService/ReadFile\"} 2\n",
            "mds_grpc_requests_in_flight 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("Invented"), "{text}");
    }
}
