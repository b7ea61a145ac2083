//! Mutual TLS between all binaries, whose certificates and authority are replaced while calls are under way, in the order that
//! `deploy/guide/rotate.md` says.

use crate::{
    certificates::await_reloads,
    create, desk,
    load::under_load,
    tls::{Connection, HERE, Http},
};
use accord_fabric::{
    EDITOR, Fabric, Part, Server,
    http::HttpCall,
    mutual_tls::{Certificates, PARTS, SERVERS, clients, later, upstream},
};
use accord_test_certificates::{Authority, Identity};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use std::{
    fs,
    net::SocketAddr,
    time::{Duration, SystemTime},
};
use toml::toml;

/// A certificate for this machine of somebody with a name, until this moment.
fn issue(authority: &Authority, name: &str, ends: SystemTime) -> Identity {
    authority.issue_until(&[&[name], &HERE[..]].concat(), ends)
}

/// How long a line of a log may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// More connections than all clients of one server keep to it: when so many were accepted, each pair has made a new one.
const CONNECTIONS: f64 = 24.0;

/// All binaries, each over TLS with certificates on both sides; the gateway's callers need none.
async fn mesh(certificates: &Certificates) -> Result<Fabric> {
    let mut builder = Fabric::builder()?.cache_fronted().mutual_tls(certificates);
    for part in PARTS {
        if part != Part::Auth {
            // Decisions are asked for again and again, and not remembered.
            builder = builder.settings(part, toml! { auth = { decision_memory = 1 } });
        }
        if part != Part::Gateway {
            // Connections get old soon, so that new ones are made all the time.
            builder = builder
                .settings(part, toml! { listen = { max_connection_age = "1s", max_connection_age_grace = "5s" } });
        }
    }
    builder = builder.settings(
        Part::Cache,
        toml! {
            [[namespace]]
            name = "carts"
            read_permission = "carts.read"
            write_permission = "carts.write"
        },
    );
    builder.start().await
}

/// A write that goes to the catalog and makes answers of the cache invalid, a read that the cache loads for its caller, and a write of
/// a key, of which the cache asks auth. None of them may go past whom it is for.
async fn call_all(gateway: SocketAddr, token: &str) -> Result<()> {
    let call = |method, path| HttpCall::new(gateway, method, path).token(token);
    let write = call(Method::PUT, "/v1/products/oak-desk").json(&desk("Oak desk"));
    let read = call(Method::GET, "/v1/products/oak-desk").header("cache-control", "no-cache");
    let key = call(Method::PUT, "/v1/cache/carts/ada").json(&json!({ "value": "bWlsaw==" }));
    for (call, cache_status) in [(write, None), (read, Some("accord; fwd=request")), (key, None)] {
        let answer = call.send().await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        let said = answer.header("cache-status");
        ensure!(cache_status.is_none_or(|wanted| said.is_some_and(|said| said.starts_with(wanted))), "{said:?}");
    }
    Ok(())
}

/// Waits until all have taken over so many changes of their files.
async fn taken_over(fabric: &mut Fabric, changes: u32) -> Result<()> {
    // How many things are made from each binary's files: towards auth, towards the cache, one for each upstream.
    let clients = [(Part::Gateway, 4), (Part::Cache, 2), (Part::Catalog, 1)];
    let servers = SERVERS.map(|part| (part, 1));
    for (kind, holders) in [("client_tls", &clients), ("server_tls", &servers)] {
        for (part, of_each) in holders {
            await_reloads(server(fabric, *part), kind, changes * of_each).await?;
        }
    }
    Ok(())
}

/// Waits until each server has accepted so many connections that each of its clients has a new one.
async fn connected_anew(fabric: &mut Fabric) -> Result<()> {
    let accepted = "accord_connections_accepted_total";
    let mut before = Vec::new();
    for part in SERVERS {
        let server = server(fabric, part);
        let port = server.listen.port().to_string();
        before.push((part, server.metric(accepted, &[("network_local_port", &port)]).await?, port));
    }
    for (part, before, port) in before {
        let is_anew = |count| count > before + CONNECTIONS;
        server(fabric, part).await_metric(accepted, &[("network_local_port", &port)], is_anew).await?;
    }
    Ok(())
}

fn server(fabric: &mut Fabric, part: Part) -> &mut Server {
    match part {
        Part::Auth => &mut fabric.auth,
        Part::Cache => &mut fabric.cache,
        Part::Catalog => &mut fabric.catalog,
        _ => &mut fabric.gateway,
    }
}

/// The certificate that a server shows to a client with this one who trusts this authority; an error where one refuses the other.
async fn shown(server: SocketAddr, authority: &Authority, client: &Identity) -> Result<CertificateDer<'static>> {
    let mut connection = Connection::open_as(server, authority, Http::Two, Some(client)).await?;
    // A client that is refused hears of it after its own handshake.
    let request = Request::builder().method(Method::GET).uri("https://localhost/");
    connection.exchange(request.body(Full::<Bytes>::default())?).await?;
    Ok(connection.shown)
}

#[tokio::test]
async fn certificates_and_authority_of_all_binaries_are_replaced_under_load_and_no_call_fails() -> Result<()> {
    let (old, new) = (Authority::named("old"), Authority::named("new"));
    let mut certificates = Certificates::issued_by(&old)?;
    let mut fabric = mesh(&certificates).await?;
    ensure!(create(&fabric, "Oak desk").await?.status == 200);
    let (gateway, token) = (fabric.gateway.listen, fabric.token(EDITOR).await?);
    under_load(|| call_all(gateway, &token), async {
        certificates.trust(&format!("{}{}", old.pem(), new.pem()))?;
        taken_over(&mut fabric, 1).await?;
        certificates.issue(&new)?;
        taken_over(&mut fabric, 2).await?;
        connected_anew(&mut fabric).await?;
        certificates.trust(&new.pem())?;
        taken_over(&mut fabric, 3).await?;
        connected_anew(&mut fabric).await
    })
    .await?;
    for part in SERVERS {
        let client = clients(part)[0].name();
        let (of_old, of_new) = (issue(&old, client, later()), issue(&new, client, later()));
        let server = server(&mut fabric, part);
        let failed = server.metric("accord_tls_handshakes_failed_total", &[]).await?;
        ensure!(failed < 0.5, "{failed} handshakes failed at {}", part.name());
        let address = server.listen;
        ensure!(shown(address, &new, &of_new).await? == certificates.shown[&part].der, "{}", part.name());
        ensure!(shown(address, &new, &of_old).await.is_err(), "{} lets in whom the old one signed", part.name());
        ensure!(shown(address, &old, &of_new).await.is_err(), "{} shows what the old one signed", part.name());
    }
    fabric.stop().await
}

/// What a process shows that nobody lets in, and what it is told.
fn refused_identities(ours: &Authority) -> [(Identity, &'static str, &'static str); 3] {
    let ended = SystemTime::now() - Duration::from_mins(1);
    [
        (
            issue(ours, "gateway", ended),
            "it says that the caller's certificate is not valid at this time",
            "renew `tls.cert_file`",
        ),
        (
            issue(&Authority::named("theirs"), "gateway", later()),
            "it trusts no authority that vouches for the caller's certificate",
            "have `tls.cert_file` signed by an authority that it trusts",
        ),
        (
            issue(ours, "stranger", later()),
            "it lets in no caller with the names of the caller's certificate",
            "let it admit a name of `tls.cert_file`",
        ),
    ]
}

#[tokio::test]
async fn peer_whose_certificate_is_not_good_is_refused_by_each_process_and_both_sides_say_why() -> Result<()> {
    let ours = Authority::named("ours");
    let certificates = Certificates::issued_by(&ours)?;
    let mut fabric = mesh(&certificates).await?;
    let urls = SERVERS.map(|part| (part, format!("https://{}", server(&mut fabric, part).listen)));
    for (identity, cause, remedy) in refused_identities(&ours) {
        let directory = tempfile::tempdir()?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        for (name, text) in [("ca.crt", &ours.pem()), ("tls.crt", &identity.certificate), ("tls.key", &identity.key)] {
            fs::write(file(name), text)?;
        }
        let (ca, cert, key) = (file("ca.crt"), file("tls.crt"), file("tls.key"));
        let tls = toml! {
            ca_file = ca
            cert_file = cert
            key_file = key
        };
        let upstreams: Vec<_> = urls[1..].iter().map(|(part, url)| upstream(*part, url, &tls)).collect();
        let settings = toml! {
            auth = { tls = tls }
            upstream = upstreams
        };
        let other = fabric.another_with(Part::Gateway, settings)?;
        for (part, url) in &urls {
            let url = url.as_str();
            let told = |line: &str| [url, cause, remedy].iter().all(|part| line.contains(part));
            let said = other.process.await_log(PATIENCE, |log| log.lines().any(told)).await;
            said.with_context(|| format!("{cause}, by {}: {}", part.name(), other.process.log()))?;
        }
        // The listener that other services call.
        ensure!(shown(fabric.internal, &ours, &identity).await.is_err(), "the gateway lets in: {cause}");
    }
    ensure!(shown(fabric.internal, &ours, &issue(&ours, "catalog", later())).await.is_ok());
    for part in PARTS {
        let process = &server(&mut fabric, part).process;
        for why in ["refused for its client's certificate", "none of them is in `client_names_file`; add one there"] {
            process
                .await_log(PATIENCE, |log| log.contains(why))
                .await
                .with_context(|| format!("{}: {why}", part.name()))?;
        }
    }
    fabric.stop().await
}
