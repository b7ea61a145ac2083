//! Gateways whose certificates are from a SPIFFE Workload API, towards their clients and towards upstreams.

use crate::{
    certificates::{Call, Front, await_reloads, serving},
    load::under_load,
    reason,
    scripted_upstream::{OVERLAY, ScriptedUpstream},
    tls::{Connection, Http},
    wire::{GrpcCall, word},
};
use accord_api::spiffe::{X509svid, X509svidResponse};
use accord_fabric::{Fabric, Part, READER, http::HttpResponse};
use accord_test_certificates::{Authority, Identity};
use accord_test_spiffe::{Agent, unregistered};
use anyhow::{Context, Result, ensure};
use http::Request;
use http_body_util::Full;
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use toml::toml;

const BOUND: Duration = Duration::from_secs(30);

/// How long an X.509-SVID is valid.
const LIFETIME: Duration = Duration::from_hours(1);

/// How often an X.509-SVID is renewed under load.
const RENEWALS: usize = 4;

const GATEWAY: &str = "spiffe://prod.example/ns/accord/sa/gateway";
const PAY: &str = "spiffe://prod.example/ns/shop/sa/pay";

fn issue(authority: &Authority, id: &str) -> Identity {
    authority.issue_until(&[id, "localhost"], SystemTime::now() + LIFETIME)
}

/// What an agent hands out to the workload with this identity, whose peers these authorities vouch for.
fn answer(id: &str, identity: &Identity, authorities: &[&Authority]) -> X509svidResponse {
    let svid = X509svid {
        spiffe_id: id.to_owned(),
        x509_svid: identity.der.to_vec(),
        x509_svid_key: identity.key_der().secret_der().to_vec(),
        bundle: authorities.iter().flat_map(|authority| authority.der().to_vec()).collect(),
        hint: String::new(),
    };
    X509svidResponse { svids: vec![svid], ..X509svidResponse::default() }
}

/// A gateway whose public listener has its certificate from an agent, and knows its clients by theirs.
struct Door {
    authority: Authority,
    agent: Agent,
    fabric: Fabric,
    _echo: ScriptedUpstream,
    _directory: TempDir,
}

impl Door {
    async fn open() -> Result<Self> {
        let (authority, directory) = (Authority::named("authority"), tempfile::tempdir()?);
        let said = Ok(answer(GATEWAY, &issue(&authority, GATEWAY), &[&authority]));
        let agent = Agent::start(&directory.path().join("agent.sock"), said);
        Self::behind(authority, agent, directory).await
    }

    async fn behind(authority: Authority, agent: Agent, directory: TempDir) -> Result<Self> {
        let address = agent.address();
        let settings = toml! {
            listen = { tls = { workload_api = address } }
            client_certificates = { identity = "spiffe_id" }
        };
        let echo = ScriptedUpstream::start().await?;
        let builder = Fabric::builder()?.upstream("echo", echo.url()).overlay(OVERLAY);
        let fabric = builder.settings(Part::Gateway, settings).start().await?;
        Ok(Self { authority, agent, fabric, _echo: echo, _directory: directory })
    }

    async fn connect(&self, client: &Identity) -> Result<Connection> {
        Box::pin(Connection::open_as(self.fabric.gateway.listen, &self.authority, Http::Two, Some(client))).await
    }

    /// What a call brings that needs a permission: its status, and the reason of a refusal.
    async fn ask(&self, client: &Identity) -> Result<(u16, String)> {
        let request = Request::get("https://localhost/v1/products").body(Full::default())?;
        let asked = async { self.connect(client).await?.exchange(request).await };
        let (head, body) = timeout(BOUND, Box::pin(asked)).await.context("an answer")??.into_parts();
        let answer = HttpResponse { status: head.status, headers: head.headers, body: body.to_bytes() };
        Ok((answer.status.as_u16(), reason(&answer)))
    }

    /// Hands the gateway another X.509-SVID, and waits until a new connection is shown it.
    async fn renew(&self, client: &Identity) -> Result<()> {
        let next = issue(&self.authority, GATEWAY);
        self.agent.say(Ok(answer(GATEWAY, &next, &[&self.authority])));
        let end = Instant::now() + BOUND;
        while self.connect(client).await?.shown != next.der {
            ensure!(Instant::now() < end, "new connections don't see the new certificate");
        }
        Ok(())
    }
}

#[tokio::test]
async fn caller_with_an_svid_is_authenticated_by_its_spiffe_id() -> Result<()> {
    let door = Door::open().await?;
    let client = issue(&door.authority, PAY);
    assert_eq!(door.ask(&client).await?, (401, "CREDENTIAL_INVALID".to_owned()));
    door.fabric.manage(&["certificate-identity", "add", PAY, READER]).await?;
    let known = async {
        while door.ask(&client).await? != (200, String::new()) {}
        anyhow::Ok(())
    };
    timeout(BOUND, known).await.context("the identity that was added is known")??;
    door.fabric.stop().await
}

#[tokio::test]
async fn caller_of_a_trust_domain_that_the_agent_does_not_name_is_refused_in_the_handshake() -> Result<()> {
    let door = Door::open().await?;
    let id = "spiffe://other.example/ns/shop/sa/pay";
    // The same authority: it is the trust domain that is not known.
    assert!(door.ask(&issue(&door.authority, id)).await.is_err());
    let why = format!("names no authorities of the trust domain of {id}");
    door.fabric.gateway.process.await_log(BOUND, |log| log.contains(&why)).await?;
    door.fabric.stop().await
}

#[tokio::test]
async fn svid_that_is_renewed_under_load_loses_no_call() -> Result<()> {
    let door = Door::open().await?;
    let client = issue(&door.authority, PAY);
    let kept = tokio::sync::Mutex::new(door.connect(&client).await?);
    let call = || async {
        Call::Grpc.send(&mut *kept.lock().await).await.context("on the connection that is kept")?;
        Call::Grpc.send(&mut door.connect(&client).await?).await.context("on a new connection")
    };
    under_load(call, async {
        for _ in 0..RENEWALS {
            door.renew(&client).await?;
        }
        Ok(())
    })
    .await?;
    door.fabric.stop().await
}

#[tokio::test]
async fn gateway_goes_on_with_its_last_svid_when_the_agent_is_gone() -> Result<()> {
    let Door { authority, agent, mut fabric, _echo, _directory } = Door::open().await?;
    let client = issue(&authority, PAY);
    let socket = PathBuf::from(agent.address().trim_start_matches("unix://"));
    drop(agent);
    let said = "the last one stays in use until it ends";
    fabric.gateway.process.await_log(BOUND, |log| log.contains(said)).await?;
    let mut connection = Connection::open_as(fabric.gateway.listen, &authority, Http::Two, Some(&client)).await?;
    Call::Grpc.send(&mut connection).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
    let ends = fabric.gateway.metric("accord_tls_svid_expiry_seconds", &[("spiffe_id", GATEWAY)]).await?;
    assert!((now..now + LIFETIME.as_secs_f64()).contains(&ends), "{ends}");
    // It is asked again once it is back.
    let next = issue(&authority, GATEWAY);
    let _agent = Agent::start(&socket, Ok(answer(GATEWAY, &next, &[&authority])));
    await_reloads(&mut fabric.gateway, "server_tls", 1).await?;
    fabric.stop().await
}

#[tokio::test]
async fn gateway_waits_at_its_start_until_it_has_an_svid() -> Result<()> {
    let (authority, directory) = (Authority::named("authority"), tempfile::tempdir()?);
    let agent = Agent::start(&directory.path().join("agent.sock"), unregistered());
    let said = Ok(answer(GATEWAY, &issue(&authority, GATEWAY), &[&authority]));
    let settings = toml! { listen = { tls = { workload_api = "SPIFFE_ENDPOINT_SOCKET" } } };
    let echo = ScriptedUpstream::start().await?;
    let builder = Fabric::builder()?.upstream("echo", echo.url()).overlay(OVERLAY);
    let builder = builder.environment(Part::Gateway, "SPIFFE_ENDPOINT_SOCKET", &agent.address());
    let starting = Box::pin(builder.settings(Part::Gateway, settings).start());
    let registering = async {
        timeout(BOUND, agent.asked_after(1)).await.context("the gateway asks again")?;
        agent.say(said);
        anyhow::Ok(())
    };
    let (fabric, ()) = tokio::try_join!(starting, registering)?;
    fabric.stop().await
}

#[tokio::test]
async fn svid_and_authorities_towards_an_upstream_that_are_renewed_under_load_lose_no_call() -> Result<()> {
    let (old, new, directory) = (Authority::named("authority"), Authority::named("authority"), tempfile::tempdir()?);
    let upstream_id = "spiffe://prod.example/ns/shop/sa/echo";
    let agent = Agent::start(&directory.path().join("agent.sock"), Ok(answer(GATEWAY, &issue(&old, GATEWAY), &[&old])));
    let (server_before, server_after) = (issue(&old, upstream_id), issue(&new, upstream_id));
    let echo = ScriptedUpstream::start().await?;
    let front =
        Front::start(echo.url().trim_start_matches("http://").parse()?, serving(&server_before, &[&old])?).await?;
    let address = agent.address();
    let tls = toml! { tls = { workload_api = address, server_spiffe_ids = [upstream_id] } };
    let url = format!("https://127.0.0.1:{}", front.address.port());
    let builder = Fabric::builder()?.upstream("echo", &url).upstream_settings("echo", tls).overlay(OVERLAY);
    let mut fabric = builder.start().await?;
    let gateway = fabric.gateway.listen;
    let call = || async move {
        let call = GrpcCall::to(gateway, "/echo.v1.EchoService/Say").body(word("hop"));
        call.send().await?.ok().map(drop)
    };
    let mut replaced = async |times: u32| await_reloads(&mut fabric.gateway, "client_tls", times).await;
    let own = issue(&new, GATEWAY);
    under_load(call, async {
        // Each side trusts both authorities before the other one shows a certificate of the new one.
        agent.say(Ok(answer(GATEWAY, &issue(&old, GATEWAY), &[&old, &new])));
        front.change(serving(&server_before, &[&old, &new])?);
        replaced(1).await?;
        front.change(serving(&server_after, &[&old, &new])?);
        agent.say(Ok(answer(GATEWAY, &own, &[&old, &new])));
        replaced(2).await?;
        front.await_client(&own).await?;
        front.change(serving(&server_after, &[&new])?);
        agent.say(Ok(answer(GATEWAY, &own, &[&new])));
        replaced(3).await?;
        Ok(())
    })
    .await?;
    fabric.stop().await
}
