//! Hot reload of a contract.

use crate::{
    scripted_upstream::{OVERLAY, ScriptedUpstream},
    wire::GrpcCall,
};
use accord_api::accord::gateway::v1::{
    ExplainRequest, FieldSource, ListMethodsRequest, explain_service_client::ExplainServiceClient,
};
use accord_fabric::{EDITOR, Fabric, Part, binaries::workspace};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use std::{
    fs, iter,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

const SAY: &str = "echo.v1.EchoService/Say";
const BOUND: Duration = Duration::from_secs(20);

/// A gateway that watches an overlay file which a test may change.
struct Reload {
    _echo: ScriptedUpstream,
    fabric: Fabric,
    operator: String,
    overlay: PathBuf,
    first: String,
    _directory: TempDir,
}

impl Reload {
    async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let overlay = directory.path().join("overlay.toml");
        let first = fs::read_to_string(workspace().join(OVERLAY))?;
        fs::write(&overlay, &first)?;
        let echo = ScriptedUpstream::start().await?;
        let often = toml::toml! { contract = { watch_interval = "50ms" } };
        let path = overlay.to_str().expect("a plain path");
        let fabric = echo.behind()?.overlay(path).settings(Part::Gateway, often).start().await?;
        fabric.manage(&["principal", "add", "operator", "--role", "accord-admin"]).await?;
        let operator = fabric.token("operator").await?;
        Ok(Self { _echo: echo, fabric, operator, overlay, first, _directory: directory })
    }

    /// Adds a rule for `Say` to what the overlay said first.
    fn change(&self, policy: &str) -> Result<()> {
        let rule = format!("\n[[rule]]\nselector = \"{SAY}\"\npolicy = {policy}\n");
        Ok(fs::write(&self.overlay, format!("{}{rule}", self.first))?)
    }

    async fn code(&self) -> Result<Code> {
        Ok(GrpcCall::new(&self.fabric, "Say", "open").send().await?.code())
    }
}

#[tokio::test]
async fn explain_lists_the_methods_of_the_contract() -> Result<()> {
    let reload = Reload::start().await?;
    let methods = asked(&reload.operator, ListMethodsRequest {})?;
    let methods = explainer(&reload.fabric)?.list_methods(methods).await?.into_inner().methods;
    assert!(methods.iter().any(|method| method == SAY), "{methods:?}");
    reload.fabric.stop().await
}

#[tokio::test]
async fn explain_without_its_permission_is_permission_denied() -> Result<()> {
    let reload = Reload::start().await?;
    let other = asked(&reload.fabric.token(EDITOR).await?, ExplainRequest { method: SAY.into() })?;
    assert_eq!(explainer(&reload.fabric)?.explain(other).await.unwrap_err().code(), Code::PermissionDenied);
    reload.fabric.stop().await
}

#[tokio::test]
async fn changed_overlay_takes_effect_without_a_restart() -> Result<()> {
    let reload = Reload::start().await?;
    assert_eq!(access(&reload.fabric, &reload.operator).await?, "public = true");
    assert_eq!(reload.code().await?, Code::Ok);
    reload.change("{ access = { authenticated = true } }")?;
    let end = Instant::now() + BOUND;
    while access(&reload.fabric, &reload.operator).await? != "authenticated = true" {
        ensure!(Instant::now() < end, "the change never came");
    }
    assert_eq!(reload.code().await?, Code::Unauthenticated);
    reload.fabric.stop().await
}

#[tokio::test]
async fn invalid_overlay_is_refused_and_the_contract_in_force_stays() -> Result<()> {
    let mut reload = Reload::start().await?;
    // A retry of a method that does not say that it may be repeated.
    reload.change("{ retry = { max_attempts = 3 }, access = { authenticated = true } }")?;
    let end = Instant::now() + BOUND;
    while !reload.fabric.gateway.process.log().contains("contract reload refused") {
        let words = reload.fabric.gateway.process.last_words();
        ensure!(Instant::now() < end, "the log does not say that the overlay is refused: {words}");
        reload.fabric.check()?;
        tokio::task::yield_now().await;
    }
    assert_eq!(access(&reload.fabric, &reload.operator).await?, "public = true");
    assert_eq!(reload.code().await?, Code::Ok);
    reload.fabric.stop().await
}

/// How often the contract changes under load, and how many call meanwhile.
const CHANGES: u32 = 8;
const CALLERS: usize = 4;

#[tokio::test]
async fn contract_that_changes_under_load_loses_no_call() -> Result<()> {
    let reload = Reload::start().await?;
    let is_over = AtomicBool::new(false);
    let callers = try_join_all(iter::repeat_with(|| calls(&reload, &is_over)).take(CALLERS));
    let changing = async {
        for change in 1..=CHANGES {
            let bytes = (1000 + change).to_string();
            reload.change(&format!("{{ max_request_bytes = {bytes} }}"))?;
            let end = Instant::now() + BOUND;
            while explained(&reload.fabric, &reload.operator, "max_request_bytes").await? != bytes {
                ensure!(Instant::now() < end, "change {change} never came");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (codes, ()) = tokio::try_join!(callers, changing)?;
    let codes = codes.concat();
    assert!(codes.len() > CALLERS && codes.iter().all(|code| *code == Code::Ok), "{codes:?}");
    reload.fabric.stop().await
}

/// Calls one after another until it is over.
async fn calls(reload: &Reload, is_over: &AtomicBool) -> Result<Vec<Code>> {
    let mut codes = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        codes.push(reload.code().await?);
    }
    Ok(codes)
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
    let sources = sources(fabric, token).await?;
    let source = sources.iter().find(|source| source.field.starts_with("access"));
    let source = source.context("nothing says who may call")?;
    Ok(format!("{} = {}", source.field.trim_start_matches("access."), source.value))
}

/// The value of an option of `Say`.
async fn explained(fabric: &Fabric, token: &str, option: &str) -> Result<String> {
    let sources = sources(fabric, token).await?;
    Ok(sources.into_iter().find(|source| source.field == option).context("nothing says it")?.value)
}

async fn sources(fabric: &Fabric, token: &str) -> Result<Vec<FieldSource>> {
    let question = asked(token, ExplainRequest { method: SAY.into() })?;
    Ok(explainer(fabric)?.explain(question).await?.into_inner().sources)
}
