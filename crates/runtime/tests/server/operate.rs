//! What those who run a process can ask it.

use std::time::Duration;

use accord_runtime::{
    admin,
    grpc_server::{GrpcServer, GrpcService, Unguarded},
    health::Health,
    server::{ListenConfig, Listener},
    shutdown::Shutdown,
    telemetry::{self, Telemetry, TelemetryConfig},
};
use http_body_util::BodyExt;
use tokio::sync::OnceCell;
use tonic::{
    Code,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    FILE_DESCRIPTOR_SET, HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use tower::ServiceExt;

use crate::{
    call::{request, status},
    probe::Probe,
};

/// Telemetry is set up once per process; what the tests count is told apart by methods.
async fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceCell<Telemetry> = OnceCell::const_new();
    TELEMETRY.get_or_init(async || telemetry::init("test", &TelemetryConfig::default()).unwrap()).await
}

async fn admin_service(health: &Health) -> GrpcService<Routes> {
    let server =
        GrpcServer::new(health, Unguarded::new()).service(Probe::default()).descriptors(FILE_DESCRIPTOR_SET, &[]);
    admin::service(server, telemetry().await, health).unwrap()
}

async fn get(service: &GrpcService<Routes>, path: &str) -> (u16, String) {
    let request = http::Request::get(path).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let answer = service.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn channel(health: &Health) -> Channel {
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
    let url = format!("http://{}", listener.address());
    tokio::spawn(listener.serve(admin_service(health).await, Shutdown::new(Duration::ZERO)));
    Endpoint::from_shared(url).unwrap().connect_lazy()
}

#[tokio::test]
async fn readiness_waits_for_dependencies_at_the_start_alone_and_names_them() {
    let health = Health::new();
    let service = admin_service(&health).await;
    health.dependency("store", false);
    assert_eq!(get(&service, "/readyz").await, (503, "not ready: store\n".to_owned()));
    assert_eq!(get(&service, "/livez").await.0, 200);
    let metrics = get(&service, "/metrics").await.1;
    assert!(metrics.contains("accord_dependency_up{dependency=\"store\""), "{metrics}");
    health.dependency("store", true);
    assert_eq!(get(&service, "/readyz").await, (200, "ready\n".to_owned()));
    health.dependency("store", false);
    assert_eq!(get(&service, "/readyz").await, (200, "ready, without store\n".to_owned()));
    health.draining();
    assert_eq!(get(&service, "/readyz").await, (503, "not ready: draining\n".to_owned()));
}

#[tokio::test]
async fn path_that_nobody_serves_is_not_found_whatever_asks_for_it() {
    let service = admin_service(&Health::new()).await;
    for path in ["/", "/readyz/", "/healthz", "/ready", "//metrics", "/%6detrics", "/grpc.health.v1.Health"] {
        assert_eq!(get(&service, path).await, (404, "nothing is served at this path\n".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn readiness_is_answered_in_http_whatever_timeout_comes_along() {
    let service = admin_service(&Health::new()).await;
    let probe = http::Request::get("/readyz").header("grpc-timeout", "soon").body(String::new()).unwrap();
    let answer = service.oneshot(probe).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("grpc-status")), (200, None));
}

/// What comes of a request for a method, and the methods that the answer allows.
async fn ask(
    change: impl FnOnce(&mut http::Request<http_body_util::Empty<bytes::Bytes>>),
) -> (u16, Option<String>, bool) {
    let mut asked = request("/grpc.health.v1.Health/Check", &[]);
    change(&mut asked);
    let answer = admin_service(&Health::new()).await.oneshot(asked).await.unwrap();
    let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    assert_eq!(answer.headers().contains_key("grpc-status"), status == 200);
    (status, allow, answer.into_body().collect().await.unwrap().to_bytes().is_empty())
}

#[tokio::test]
async fn grpc_method_asked_for_otherwise_than_by_post_is_not_allowed() {
    for method in [http::Method::GET, http::Method::PUT, http::Method::OPTIONS] {
        let asked = ask(|request| *request.method_mut() = method).await;
        assert_eq!(asked, (405, Some("POST".to_owned()), false));
    }
}

#[tokio::test]
async fn answer_to_head_has_no_body() {
    let asked = ask(|request| *request.method_mut() = http::Method::HEAD).await;
    assert_eq!(asked, (405, Some("POST".to_owned()), true));
}

#[tokio::test]
async fn grpc_method_over_http1_is_refused() {
    let asked = ask(|request| *request.version_mut() = http::Version::HTTP_11).await;
    assert_eq!(asked, (415, None, false));
}

#[tokio::test]
async fn content_type_that_is_not_grpc_with_protobuf_is_refused() {
    let types =
        ["", "text/plain", "application/json", "application/grpc+json", "application/grpc-web", "application/grpcx"];
    for content_type in types {
        let asked = ask(|request| {
            request.headers_mut().insert("content-type", content_type.parse().unwrap());
        });
        assert_eq!(asked.await, (415, None, false), "{content_type:?}");
    }
}

#[tokio::test]
async fn two_content_types_are_refused() {
    let asked = ask(|request| {
        request.headers_mut().append("content-type", "text/plain".parse().unwrap());
    });
    assert_eq!(asked.await, (415, None, false));
}

#[tokio::test]
async fn content_type_of_grpc_is_accepted_in_every_spelling() {
    for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8", "Application/gRPC ; a=b"] {
        let asked = ask(|request| {
            request.headers_mut().insert("content-type", content_type.parse().unwrap());
        });
        assert_eq!(asked.await.0, 200, "{content_type:?}");
    }
}

#[tokio::test]
async fn health_answers_and_watches_over_the_wire() {
    let health = Health::new();
    let mut client = HealthClient::new(channel(&health).await);
    let overall = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(overall.into_inner().status(), ServingStatus::Serving);
    let unknown = client.check(HealthCheckRequest { service: "nobody".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    health.draining();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn reflection_lists_services_in_v1_and_v1alpha() {
    use v1::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    use v1alpha::{
        server_reflection_request::MessageRequest as AlphaAsk, server_reflection_response::MessageResponse as AlphaTold,
    };
    let channel = channel(&Health::new()).await;

    let ask = v1::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut told = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = told.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    let listed: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    let own =
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    assert_eq!(listed, own);

    let ask = v1alpha::ServerReflectionRequest {
        message_request: Some(AlphaAsk::FileContainingSymbol("grpc.health.v1.Health".to_owned())),
        ..Default::default()
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut told = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let told = told.message().await.unwrap().unwrap().message_response;
    assert!(matches!(told, Some(AlphaTold::FileDescriptorResponse(files)) if !files.file_descriptor_proto.is_empty()));
}

#[tokio::test]
async fn metrics_count_unknown_methods_under_one_name() {
    let service = admin_service(&Health::new()).await;
    let known = service.clone().oneshot(request("/grpc.health.v1.Health/Check", &[])).await.unwrap();
    // An empty body is no message: refused, and counted under the method all the same.
    assert_ne!(status(known).await.code(), Code::Ok);
    for invented in ["/invented.v1.Name/A", "/invented.v1.Name/B"] {
        let unknown = service.clone().oneshot(request(invented, &[])).await.unwrap();
        assert_eq!(status(unknown).await.code(), Code::Unimplemented);
    }
    let (_, text) = get(&service, "/metrics").await;
    assert!(text.contains("rpc_server_call_duration_seconds_bucket"), "{text}");
    assert!(text.contains(r#"rpc_method="grpc.health.v1.Health/Check""#), "{text}");
    assert!(
        text.contains(r#"rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",rpc_system_name="grpc""#),
        "{text}"
    );
    assert!(!text.contains("invented"), "{text}");
}

#[tokio::test]
async fn metrics_count_status_in_trailers_and_cancelled_calls() {
    let service = GrpcServer::new(&Health::new(), Unguarded::new()).service(Probe::default());
    telemetry().await;
    let named = accord_runtime::observe::Observe::new(
        service.into_service().unwrap(),
        std::sync::Arc::new(|path: &str| {
            Some(accord_runtime::observe::MethodSeries::new(path.trim_start_matches('/')))
        }),
    );
    let ended = named.clone().oneshot(request("Ended", &[])).await.unwrap();
    assert_eq!(status(ended).await.code(), Code::Ok);
    drop(named.clone().oneshot(request("Endless", &[])).await.unwrap());
    let late = named.clone().oneshot(request("Never", &[("grpc-timeout", "1m")])).await.unwrap();
    assert_eq!(status(late).await.code(), Code::DeadlineExceeded);

    let text = telemetry().await.prometheus();
    for (method, code) in [("Ended", "OK"), ("Endless", "CANCELLED"), ("Never", "DEADLINE_EXCEEDED")] {
        let labels = format!(r#"rpc_method="probe.v1.Probe/{method}",rpc_response_status_code="{code}""#);
        assert!(text.contains(&labels), "{labels} is not in {text}");
    }
}

#[tokio::test]
async fn metrics_tell_the_listeners_of_a_process_apart() {
    telemetry().await;
    let answer = tower::service_fn(async |_| Ok(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new())));
    let observed = accord_runtime::observe::Observe::new(
        answer,
        std::sync::Arc::new(|_: &str| Some(accord_runtime::observe::MethodSeries::new("a.B/C"))),
    );
    for listener in ["public", "internal"] {
        drop(observed.clone().listener(listener).oneshot(http::Request::new(())).await.unwrap());
    }
    let text = telemetry().await.prometheus();
    for listener in ["public", "internal"] {
        let label = format!(r#"accord_listener="{listener}""#);
        let counts = |line: &str| line.contains(&label) && line.contains(r#"rpc_method="a.B/C""#);
        assert!(text.lines().any(counts), "{label} is not in {text}");
    }
}

#[tokio::test]
async fn request_id_is_echoed_or_generated() {
    let service = Probe::default().grpc_server();
    let answer = service.clone().oneshot(request("Answer", &[("x-request-id", "order-17")])).await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "order-17");
    let answer = service.oneshot(request("Panic", &[])).await.unwrap();
    assert_eq!(answer.headers()["x-request-id"].len(), 36);
    assert_eq!(status(answer).await.code(), Code::Internal);
}
