//! Reflection, health and metrics of every binary.

use accord_fabric::{Fabric, Server};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use tokio_stream::StreamExt;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_reflection::pb::{v1, v1alpha};

#[tokio::test]
async fn reflection_health_and_metrics_are_served_by_every_binary() -> Result<()> {
    let fabric = Fabric::start().await?;
    for (server, service) in [
        (&fabric.gateway, "catalog.v1.ProductService"),
        (&fabric.auth, "accord.auth.v1.TokenService"),
        (&fabric.cache, "accord.cache.v1.ReadThroughService"),
    ] {
        assert!(listed_v1(server).await?.contains(service), "{service} by v1");
        assert!(listed_v1alpha(server).await?.contains(service), "{service} by v1alpha");
        for name in ["", service] {
            let request = HealthCheckRequest { service: name.to_owned() };
            let status = HealthClient::new(server.channel()?).check(request).await?.into_inner().status();
            assert_eq!(status, ServingStatus::Serving, "{name}");
        }
        assert!(server.metrics().await?.contains("# TYPE rpc_server_call_duration_seconds histogram"), "{service}");
    }
    let outside = listed_v1(&fabric.gateway).await?;
    assert!(!outside.iter().any(|name| name.starts_with("accord.")), "nothing internal at the gateway: {outside:?}");
    fabric.stop().await
}

#[tokio::test]
async fn gateway_shows_limits_age_of_revocations_and_protocols_of_callers() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    fabric.get("/v1/products/oak-desk").send().await?;
    let json = [("accord_protocol", "json"), ("accord_listener", "public")];
    fabric.gateway.await_metric("rpc_server_call_duration_seconds_count", &json, |calls| calls > 0.0).await?;
    for (name, labels, wanted) in [
        ("accord_budget_limit", &[("budget", "calls")][..], 4096.0),
        ("accord_upstream_in_flight_limit", &[("upstream", "catalog")][..], 2048.0),
        ("accord_revocations_age_limit_seconds", &[][..], 5.0),
    ] {
        let shown: f64 = fabric.gateway.metric(name, labels).await?;
        assert!((shown - wanted).abs() < 0.5, "{name}: {shown}");
    }
    let age = fabric.gateway.metric("accord_revocations_age_seconds", &[]).await?;
    assert!(age > 0.0 && age < 5.0, "{age}");
    fabric.stop().await
}

#[tokio::test]
async fn reflection_of_every_binary_tells_the_types_of_error_details() -> Result<()> {
    let fabric = Fabric::start().await?;
    for server in [&fabric.gateway, &fabric.auth, &fabric.cache] {
        let symbol = MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned());
        let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel()?);
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
        let answer = answers.next().await.context("no answer")??.message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    }
    fabric.stop().await
}

/// The services that a server lists. The two versions of the protocol differ in nothing but the package of their types.
macro_rules! listed {
    ($function:ident, $version:ident) => {
        async fn $function(server: &Server) -> Result<BTreeSet<String>> {
            use $version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let question = Some(MessageRequest::ListServices(String::new()));
            let request = ServerReflectionRequest { host: String::new(), message_request: question };
            let mut client = ServerReflectionClient::new(server.channel()?);
            let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
            match answers.next().await.context("no answer")??.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    Ok(list.service.into_iter().map(|service| service.name).collect())
                }
                other => anyhow::bail!("{other:?}"),
            }
        }
    };
}

listed!(listed_v1, v1);
listed!(listed_v1alpha, v1alpha);
