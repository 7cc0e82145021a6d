//! What tools that know nothing of us rely on: health and reflection.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::{Plan, start};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn channel(daemon: &support::Daemon) -> Channel {
    let (authority, _) = daemon.endpoint.authority().unwrap();
    Endpoint::from_shared(format!("http://{authority}")).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn the_server_and_each_service_are_serving() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let mut client = HealthClient::new(channel(&daemons[0]).await);
    for service in ["", "mds.v1.EndpointService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = client.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "mds.v1.TrackerService".into() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), tonic::Code::NotFound);
}

macro_rules! services_by_reflection {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version as pb;
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($channel);
        let request = pb::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(pb::server_reflection_request::MessageRequest::ListServices(String::new())),
        };
        let mut answers =
            client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        let Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
            answer.message_response
        else {
            panic!("not a list of services")
        };
        list.service.into_iter().map(|service| service.name).collect::<BTreeSet<String>>()
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let channel = channel(&daemons[0]).await;
    let v1 = services_by_reflection!(v1, channel.clone());
    let v1alpha = services_by_reflection!(v1alpha, channel);
    for services in [v1, v1alpha] {
        for service in ["mds.v1.EndpointService", "grpc.health.v1.Health"] {
            assert!(services.contains(service), "{service} in {services:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_reflection_that_stays_open_does_not_hold_up_the_end() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let mut daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let mut client = ServerReflectionClient::new(channel(&daemons[0]).await);
    let (questions, asked) = futures::channel::mpsc::unbounded();
    let request = Some(MessageRequest::ListServices(String::new()));
    questions
        .unbounded_send(ServerReflectionRequest { host: String::new(), message_request: request })
        .unwrap();
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    daemons[0].ask_to_end();
    tokio::time::timeout(Duration::from_secs(5), daemons[0].ended()).await.expect("the server ends at once");
    assert_eq!(answers.message().await.unwrap(), None);
    drop(questions);
}
