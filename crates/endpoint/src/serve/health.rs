//! Health that ends with its server: who watches it is told of the end, and holds it up no longer.

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use super::end_of;

/// The implementation of `grpc.health.v1.Health`.
#[derive(Debug)]
pub struct EndingHealth {
    health: HealthService,
    ending: watch::Receiver<bool>,
}

impl EndingHealth {
    /// What `reporter` reports. Once `ending` is true, or its sender is gone, every watcher is told `NOT_SERVING`, and its stream ends.
    pub fn new(reporter: HealthReporter, ending: watch::Receiver<bool>) -> Self {
        Self { health: HealthService::from_health_reporter(reporter), ending }
    }
}

#[async_trait]
impl Health for EndingHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.health.check(request).await
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let told = self.health.watch(request).await?.into_inner();
        let last = HealthCheckResponse { status: ServingStatus::NotServing.into() };
        // Whether the stream still came to tell the last status is a matter of chance: it is told in any case, and once.
        let mut before = None;
        let changes =
            told.take_until(end_of(&self.ending)).chain(stream::iter([Ok(last)])).filter(move |told| {
                let status = told.as_ref().ok().map(|told| told.status);
                let is_new = status != before;
                before = status;
                std::future::ready(is_new)
            });
        Ok(Response::new(changes.boxed()))
    }
}
