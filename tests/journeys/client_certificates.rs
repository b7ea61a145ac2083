//! Clients that call by their certificates: whose they are, how soon they end, and that nothing fakes them.

use crate::{
    api_keys::ApiKey,
    reason,
    scripted_upstream::{OVERLAY, ScriptedUpstream},
    tls::{Connection, HERE, Http},
    wire::{GrpcResponse, frame},
};
use accord_fabric::{EDITOR, Fabric, Part, READER, STRANGER, certificates::replace, http::HttpResponse};
use accord_test_certificates::{Authority, Identity};
use anyhow::{Context, Result, ensure};
use http::{Method, Request, request::Builder};
use http_body_util::Full;
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use toml::toml;
use tonic::Code;

/// Within this a change of auth is in force everywhere: the usual `auth.staleness_bound`.
const BOUND: Duration = Duration::from_secs(5);

/// Somewhat more than a gateway remembers that an identity was refused, or takes to follow a file.
const PATIENCE: Duration = Duration::from_secs(20);

const SPIFFE: &str = "spiffe://prod.example/ns/shop/sa/pay";

/// What of an answer counts here: the status of HTTP, and the reason of a refusal.
type Answer = (u16, String);

/// A gateway that asks its clients for certificates.
struct Door {
    authority: Authority,
    client_ca: PathBuf,
    fabric: Fabric,
    echo: ScriptedUpstream,
    _directory: TempDir,
}

impl Door {
    async fn open(identity: &str, client_certificate: &str) -> Result<Self> {
        let (authority, directory) = (Authority::named("authority"), tempfile::tempdir()?);
        let [cert, key, client_ca] = ["tls.crt", "tls.key", "clients.crt"].map(|name| directory.path().join(name));
        let own = authority.issue(&HERE);
        for (file, text) in [(&cert, &own.certificate), (&key, &own.key), (&client_ca, &authority.pem())] {
            replace(file, text)?;
        }
        let [cert, key, ca] = [&cert, &key, &client_ca].map(|file| file.display().to_string());
        let (other_cert, other_key, other_ca) = (cert.clone(), key.clone(), ca.clone());
        let settings = toml! {
            listen = { tls = {
                cert_file = cert, key_file = key, client_ca_file = ca,
                client_certificate = client_certificate, reload_interval = "50ms"
            } }
            internal = { tls = { cert_file = other_cert, key_file = other_key, client_ca_file = other_ca } }
            client_certificates = { identity = identity }
        };
        let echo = ScriptedUpstream::start().await?;
        let builder = Fabric::builder()?.upstream("echo", echo.url()).overlay(OVERLAY);
        let fabric = builder.settings(Part::Gateway, settings).start().await?;
        Ok(Self { authority, client_ca, fabric, echo, _directory: directory })
    }

    /// A certificate with the usual SPIFFE id, which is this principal's.
    async fn known_as(&self, subject: &str) -> Result<Identity> {
        self.fabric.manage(&["certificate-identity", "add", SPIFFE, subject]).await?;
        Ok(self.authority.issue(&[SPIFFE]))
    }

    /// What a JSON request brings whose client shows this certificate.
    async fn ask(&self, client: Option<&Identity>, request: Builder) -> Result<Answer> {
        self.ask_at(self.fabric.gateway.listen, client, request).await
    }

    async fn ask_at(&self, address: SocketAddr, client: Option<&Identity>, request: Builder) -> Result<Answer> {
        let asked = async {
            let mut connection = Connection::open_as(address, &self.authority, Http::One, client).await?;
            connection.exchange(request.header("host", "localhost").body(Full::default())?).await
        };
        let (head, body) = timeout(PATIENCE, Box::pin(asked)).await.context("an answer")??.into_parts();
        let answer = HttpResponse { status: head.status, headers: head.headers, body: body.to_bytes() };
        Ok((answer.status.as_u16(), reason(&answer)))
    }

    /// What a gRPC call brings.
    async fn call(&self, client: Option<&Identity>) -> Result<(Code, String)> {
        let address = self.fabric.gateway.listen;
        let mut connection = Connection::open_as(address, &self.authority, Http::Two, client).await?;
        let request = Request::builder().method(Method::POST);
        let request = request.uri("https://localhost/catalog.v1.ProductService/ListProducts");
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let (head, body) = connection.exchange(request.body(frame(0, &[]).into())?).await?.into_parts();
        let trailers = body.trailers().cloned().unwrap_or_else(|| head.headers.clone());
        Ok(GrpcResponse { head: head.headers, body: body.to_bytes(), trailers }.refusal())
    }

    /// What calls bring once it is no more what it was. In between auth may know already that a token is revoked, and the gateway not yet.
    async fn changed(&self, client: &Identity, was: u16, within: Duration) -> Result<Answer> {
        let end = Instant::now() + within;
        loop {
            let (status, reason) = self.ask(Some(client), products()).await?;
            if status != was && reason != "TOKEN_REVOKED" {
                return Ok((status, reason));
            }
            ensure!(Instant::now() < end, "calls still end with {was}");
        }
    }

    /// Whether the last call that came to the upstream was somebody's.
    fn was_somebodys(&self) -> Result<bool> {
        let received = self.echo.take_received();
        Ok(received.last().context("a call")?.headers.contains_key("x-accord-passport"))
    }
}

/// A call that needs a permission.
fn products() -> Builder {
    Request::get("/v1/products")
}

/// A call that needs none, and that nothing but the upstream answers.
fn word() -> Builder {
    Request::get("/v1/words/hop:recite")
}

fn ok() -> Answer {
    (200, String::new())
}

fn refused(reason: &str) -> Answer {
    (401, reason.to_owned())
}

#[tokio::test]
async fn client_may_what_the_principal_of_its_certificate_may_and_auth_is_asked_once() -> Result<()> {
    let door = Door::open("spiffe_id", "optional").await?;
    let client = door.known_as(READER).await?;
    for _ in 0..3 {
        assert_eq!(door.ask(Some(&client), products()).await?, ok());
        assert_eq!(door.call(Some(&client)).await?, (Code::Ok, String::new()));
    }
    let labels = [("kind", "certificate"), ("outcome", "accepted")];
    let asked = door.fabric.gateway.metric("accord_credentials_exchanges_total", &labels).await?;
    assert!((asked - 1.0).abs() < 0.5, "{asked}");
    let other = "spiffe://prod.example/stranger";
    door.fabric.manage(&["certificate-identity", "add", other, STRANGER]).await?;
    let stranger = door.authority.issue(&[other]);
    assert_eq!(door.ask(Some(&stranger), products()).await?, (403, "PERMISSION_MISSING".to_owned()));
    assert_eq!(door.ask(None, products()).await?, refused("CREDENTIAL_MISSING"));
    door.fabric.stop().await
}

#[tokio::test]
async fn certificate_that_auth_does_not_know_is_unauthenticated_and_public_methods_answer() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    let client = door.authority.issue(&[SPIFFE]);
    assert_eq!(door.ask(Some(&client), products()).await?, refused("CREDENTIAL_INVALID"));
    assert_eq!(door.call(Some(&client)).await?, (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned()));
    assert_eq!(door.ask(Some(&client), word()).await?, ok());
    assert!(!door.was_somebodys()?);
    let client = door.known_as(READER).await?;
    assert_eq!(door.changed(&client, 401, PATIENCE).await?, ok());
    assert_eq!(door.ask(Some(&client), word()).await?, ok());
    assert!(door.was_somebodys()?);
    door.fabric.stop().await
}

#[tokio::test]
async fn identity_that_is_disabled_or_removed_is_refused_within_the_bound() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    let client = door.known_as(READER).await?;
    for command in ["disable", "remove"] {
        assert_eq!(door.ask(Some(&client), products()).await?, ok(), "before {command}");
        door.fabric.manage(&["certificate-identity", command, SPIFFE]).await?;
        assert_eq!(door.changed(&client, 200, BOUND).await?, refused("CREDENTIAL_INVALID"), "{command}");
        if command == "disable" {
            door.fabric.manage(&["certificate-identity", "enable", SPIFFE]).await?;
            assert_eq!(door.changed(&client, 401, PATIENCE).await?, ok());
        }
    }
    door.fabric.stop().await
}

#[tokio::test]
async fn token_or_key_of_a_call_is_stronger_than_the_certificate_of_its_connection() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    let client = door.known_as(STRANGER).await?;
    assert_eq!(door.ask(Some(&client), products()).await?.1, "PERMISSION_MISSING");
    let token = format!("Bearer {}", door.fabric.token(READER).await?);
    assert_eq!(door.ask(Some(&client), products().header("authorization", &token)).await?, ok());
    let key = ApiKey::add(&door.fabric, READER).await?;
    assert_eq!(door.ask(Some(&client), products().header("x-api-key", &key.text)).await?, ok());
    for (header, value) in [("authorization", "Bearer a.b.c"), ("x-api-key", "ak_0123456789abcdef_secret")] {
        let answer = door.ask(Some(&client), word().header(header, value)).await?;
        assert_eq!(answer, refused("CREDENTIAL_INVALID"), "{header}");
    }
    door.fabric.stop().await
}

#[tokio::test]
async fn header_about_a_certificate_makes_nobody_known_and_reaches_no_upstream() -> Result<()> {
    let door = Door::open("spiffe_id", "optional").await?;
    door.known_as(EDITOR).await?;
    let forged = |request: Builder| {
        let said = format!("By=spiffe://prod.example/gateway;URI={SPIFFE}");
        let request = request.header("x-forwarded-client-cert", said).header("client-cert", ":MIIB:");
        request.header("x_forwarded_client_cert", format!("URI={SPIFFE}")).header("x-ssl-client-verify", "SUCCESS")
    };
    assert_eq!(door.ask(None, forged(products())).await?, refused("CREDENTIAL_MISSING"));
    assert_eq!(door.ask(None, forged(word())).await?, ok());
    let received = door.echo.take_received();
    let headers = &received.last().context("a call")?.headers;
    let told = headers.keys().filter(|name| ["cert", "ssl"].iter().any(|part| name.as_str().contains(part)));
    assert_eq!(told.collect::<Vec<_>>(), Vec::<&http::HeaderName>::new());
    door.fabric.stop().await
}

#[tokio::test]
async fn certificate_of_another_authority_or_that_has_ended_is_refused_in_the_handshake() -> Result<()> {
    let door = Door::open("spiffe_id", "optional").await?;
    door.known_as(READER).await?;
    let theirs = Authority::named("another authority").issue(&[SPIFFE]);
    assert!(door.ask(Some(&theirs), word()).await.is_err());
    let log = &door.fabric.gateway.process;
    log.await_log(PATIENCE, |log| log.contains("refused for its client's certificate")).await?;
    let before = SystemTime::now() - Duration::from_mins(1);
    let ended = door.authority.issue_until(&[SPIFFE], before);
    assert!(door.ask(Some(&ended), word()).await.is_err());
    assert_eq!(door.ask(None, word()).await?, ok());
    door.fabric.stop().await
}

#[tokio::test]
async fn certificate_with_two_uris_is_nobodys() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    door.known_as(READER).await?;
    let two = door.authority.issue(&[SPIFFE, "spiffe://prod.example/other"]);
    assert_eq!(door.ask(Some(&two), products()).await?, refused("CREDENTIAL_INVALID"));
    assert_eq!(door.ask(Some(&two), word()).await?, ok());
    assert!(!door.was_somebodys()?);
    let log = &door.fabric.gateway.process;
    log.await_log(PATIENCE, |log| log.contains("does not say who it is")).await?;
    door.fabric.stop().await
}

#[tokio::test]
async fn dns_name_of_a_certificate_is_who_it_is_where_that_is_configured() -> Result<()> {
    let door = Door::open("dns_name", "required").await?;
    door.fabric.manage(&["certificate-identity", "add", "dns:pay.example", READER]).await?;
    door.fabric.manage(&["certificate-identity", "add", SPIFFE, EDITOR]).await?;
    let client = door.authority.issue(&["pay.example"]);
    assert_eq!(door.ask(Some(&client), products()).await?, ok());
    let by_uri = door.authority.issue(&[SPIFFE]);
    assert_eq!(door.ask(Some(&by_uri), products()).await?, refused("CREDENTIAL_INVALID"));
    door.fabric.stop().await
}

#[tokio::test]
async fn authorities_of_clients_are_followed_while_the_gateway_serves() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    let before = door.known_as(READER).await?;
    let next = Authority::named("next authority");
    let after = next.issue(&[SPIFFE]);
    assert_eq!(door.ask(Some(&before), products()).await?, ok());
    assert!(door.ask(Some(&after), products()).await.is_err());
    replace(&door.client_ca, &next.pem())?;
    let end = Instant::now() + PATIENCE;
    while door.ask(Some(&after), products()).await.is_err() {
        ensure!(Instant::now() < end, "the next authority vouches for nobody");
    }
    assert_eq!(door.ask(Some(&after), products()).await?, ok());
    assert!(door.ask(Some(&before), products()).await.is_err());
    door.fabric.stop().await
}

#[tokio::test]
async fn certificate_of_a_browser_does_not_count_for_pages_of_other_origins() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    let client = door.known_as(READER).await?;
    let page = |origin| products().header("origin", origin).header("sec-fetch-mode", "no-cors");
    assert_eq!(door.ask(Some(&client), page("https://localhost")).await?, ok());
    let foreign = door.ask(Some(&client), page("https://evil.example")).await?;
    assert_eq!(foreign, refused("CREDENTIAL_MISSING"));
    let linked = products().header("sec-fetch-site", "cross-site");
    assert_eq!(door.ask(Some(&client), linked).await?, refused("CREDENTIAL_MISSING"));
    door.fabric.stop().await
}

#[tokio::test]
async fn service_calls_by_the_internal_listener_with_its_certificate_and_no_person_does() -> Result<()> {
    let door = Door::open("spiffe_id", "required").await?;
    door.fabric.manage(&["principal", "add", "pay", "--kind", "service", "--role", "catalog-reader"]).await?;
    let service = door.known_as("pay").await?;
    assert_eq!(door.ask_at(door.fabric.internal, Some(&service), products()).await?, ok());
    let other = "spiffe://prod.example/reader";
    door.fabric.manage(&["certificate-identity", "add", other, READER]).await?;
    let person = door.authority.issue(&[other]);
    let refused = door.ask_at(door.fabric.internal, Some(&person), products()).await?;
    assert_eq!(refused, (403, "PRINCIPAL_KIND_REFUSED".to_owned()));
    door.fabric.stop().await
}
