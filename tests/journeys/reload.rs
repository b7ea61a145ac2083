//! Hot reload of a contract.

use crate::{
    scripted_upstream::{OVERLAY, ScriptedUpstream},
    wire::GrpcCall,
};
use accord_api::accord::gateway::v1::{
    ExplainRequest, ListMethodsRequest, explain_service_client::ExplainServiceClient,
};
use accord_fabric::{EDITOR, Fabric, Part, binaries::workspace};
use anyhow::{Context, Result, ensure};
use std::{fs, time::Duration};
use tokio::time::Instant;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

const SAY: &str = "echo.v1.EchoService/Say";
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn reload_takes_a_changed_overlay_and_refuses_a_bad_one() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let overlay = directory.path().join("overlay.toml");
    let first = fs::read_to_string(workspace().join(OVERLAY))?;
    fs::write(&overlay, &first)?;
    let echo = ScriptedUpstream::start().await?;
    let often = toml::toml! { contract = { watch_interval = "50ms" } };
    let overlay_path = overlay.to_str().expect("a plain path");
    let mut fabric = echo.behind()?.overlay(overlay_path).settings(Part::Gateway, often).start().await?;
    fabric.manage(&["principal", "add", "operator", "--role", "accord-admin"]).await?;
    let operator = fabric.token("operator").await?;

    let methods = asked(&operator, ListMethodsRequest {})?;
    let methods = explainer(&fabric)?.list_methods(methods).await?.into_inner().methods;
    assert!(methods.iter().any(|method| method == SAY), "{methods:?}");
    let stranger = asked(&fabric.token(EDITOR).await?, ExplainRequest { method: SAY.into() })?;
    assert_eq!(explainer(&fabric)?.explain(stranger).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(access(&fabric, &operator).await?, "public = true");
    assert_eq!(GrpcCall::new(&fabric, "Say", "open").send().await?.code(), Code::Ok);

    let closed = "\n[[rule]]\nselector = \"echo.v1.EchoService/Say\"\npolicy = { access = { authenticated = true } }\n";
    fs::write(&overlay, format!("{first}{closed}"))?;
    let end = Instant::now() + BOUND;
    while access(&fabric, &operator).await? != "authenticated = true" {
        ensure!(Instant::now() < end, "the change never came");
    }
    assert_eq!(GrpcCall::new(&fabric, "Say", "closed").send().await?.code(), Code::Unauthenticated);

    let unsafe_retry =
        "\n[[rule]]\nselector = \"echo.v1.EchoService/Say\"\npolicy = { retry = { max_attempts = 3 } }\n";
    fs::write(&overlay, format!("{first}{unsafe_retry}"))?;
    let end = Instant::now() + BOUND;
    while !fabric.gateway.process.log().contains("is refused, the contract stays as it was") {
        ensure!(Instant::now() < end, "nobody says that the overlay is bad: {}", fabric.gateway.process.last_words());
        fabric.check()?;
        tokio::task::yield_now().await;
    }
    assert_eq!(access(&fabric, &operator).await?, "authenticated = true", "the old contract goes on");
    assert_eq!(GrpcCall::new(&fabric, "Say", "closed").send().await?.code(), Code::Unauthenticated);
    fabric.stop().await
}

fn explainer(fabric: &Fabric) -> Result<ExplainServiceClient<Channel>> {
    let admin = Endpoint::from_shared(format!("http://{}", fabric.gateway.admin))?;
    Ok(ExplainServiceClient::new(admin.connect_lazy()))
}

fn asked<T>(token: &str, message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

/// Who may call `Say`, as the gateway explains it.
async fn access(fabric: &Fabric, token: &str) -> Result<String> {
    let question = asked(token, ExplainRequest { method: SAY.into() })?;
    let explained = explainer(fabric)?.explain(question).await?.into_inner();
    let source = explained.sources.iter().find(|source| source.field.starts_with("access"));
    let source = source.context("nothing says who may call")?;
    Ok(format!("{} = {}", source.field.trim_start_matches("access."), source.value))
}
