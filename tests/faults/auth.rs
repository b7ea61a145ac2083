//! Without auth nobody gets in.

use crate::{stock, until};
use accord_fabric::{
    Fabric, Part, READER, TcpProxy,
    http::{HttpCall, HttpResponse},
};
use anyhow::Result;
use http::Method;
use std::time::Duration;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

#[tokio::test]
async fn auth_that_is_down_fails_closed_within_the_staleness_bound_and_recovers() -> Result<()> {
    let mut fabric = Fabric::builder()?.staleness_bound(Duration::from_secs(1)).start().await?;
    stock(&fabric).await?;
    let token = fabric.token(READER).await?;
    assert_eq!(fabric.get("/v1/products/oak-desk").token(&token).send().await?.status, 200);

    fabric.auth.process.kill()?;
    // The catalog, which verifies passports by the same bound, may be the first to notice.
    let refused = until(&fabric, &token, Duration::from_secs(3), is_auths_fault).await?;
    assert_eq!(refused.status, 503, "never 200 and never 401: {}", refused.text());
    assert!(refused.text().contains("REVOCATIONS_STALE"), "{}", refused.text());
    for _ in 0..20 {
        let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }

    // The gateway goes on answering, with refusals that say why: its readiness does not follow auth, its services' health does.
    fabric.gateway.await_metric("accord_dependency_up", &[("dependency", "auth")], |up| up < 1.0).await?;
    let ready = HttpCall::new(fabric.gateway.admin, Method::GET, "/readyz").send().await?;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (200, "ready, without auth\n"));
    for (service, status) in [("", ServingStatus::Serving), (CATALOG, ServingStatus::NotServing)] {
        assert_eq!(health(&fabric, service).await?, status, "{service}");
    }
    let live = HttpCall::new(fabric.gateway.admin, Method::GET, "/livez").send().await?;
    assert_eq!(live.status, 200, "a restart would mend nothing");

    fabric.auth.process.restart()?;
    fabric.auth.wait_serving().await?;
    until(&fabric, &token, Duration::from_secs(10), |answer| answer.status == 200).await?;
    fabric.gateway.wait_serving().await?;
    fabric.stop().await
}

#[tokio::test]
async fn auth_that_hangs_fails_closed() -> Result<()> {
    let fabric = Fabric::builder()?.staleness_bound(Duration::from_secs(1)).start().await?;
    stock(&fabric).await?;
    let token = fabric.token(READER).await?;
    fabric.auth.process.pause()?;
    let refused = until(&fabric, &token, Duration::from_secs(3), is_auths_fault).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    fabric.auth.process.resume()?;
    until(&fabric, &token, Duration::from_secs(10), |answer| answer.status == 200).await?;
    fabric.stop().await
}

#[tokio::test]
async fn decision_whose_connection_breaks_is_asked_for_again() -> Result<()> {
    let builder = Fabric::builder()?;
    let name = TcpProxy::start(vec![builder.address(Part::Auth)]).await?;
    let url = format!("http://{}", name.address());
    let mut fabric = builder.settings(Part::Gateway, toml::toml! { auth.url = url }).start().await?;
    stock(&fabric).await?;
    let token = fabric.token(READER).await?;
    let of_auth = [("upstream", "auth")];
    // The stream of revocations is in flight all the time.
    let others = fabric.gateway.metric("accord_upstream_in_flight", &of_auth).await?;

    fabric.auth.process.pause()?;
    let call = tokio::spawn(fabric.get("/v1/products/oak-desk").token(&token).send());
    fabric.gateway.await_metric("accord_upstream_in_flight", &of_auth, |calls| calls > others).await?;
    name.move_to(fabric.auth.listen);
    fabric.auth.process.resume()?;
    let answer = call.await??;
    assert_eq!(answer.status, 200, "{}", answer.text());
    fabric.stop().await
}

const CATALOG: &str = "catalog.v1.ProductService";

async fn health(fabric: &Fabric, service: &str) -> Result<ServingStatus> {
    let request = HealthCheckRequest { service: service.to_owned() };
    Ok(HealthClient::new(fabric.gateway.channel()?).check(request).await?.into_inner().status())
}

fn is_auths_fault(answer: &HttpResponse) -> bool {
    answer.header("x-accord-fault") == Some("auth")
}
