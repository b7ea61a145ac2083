//! Mutual TLS between all binaries, whose certificates and authority are replaced while calls are under way, in the order that
//! `deploy/guide/rotate.md` says.

use crate::{
    certificates::await_reloads,
    create, desk,
    load::under_load,
    tls::{Authority, Connection, Http, Identity, MountedSecret},
};
use accord_fabric::{EDITOR, Fabric, Part, Server, http::HttpCall};
use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use std::{collections::BTreeMap, net::SocketAddr};
use tempfile::TempDir;
use toml::{Table, Value, toml};

/// Who shows a certificate.
const PARTS: [Part; 4] = [Part::Auth, Part::Cache, Part::Catalog, Part::Gateway];

/// Who serves others over TLS.
const SERVERS: [Part; 3] = [Part::Auth, Part::Cache, Part::Catalog];

/// More connections than all clients of one server keep to it: when so many were accepted, each pair has made a new one.
const CONNECTIONS: f64 = 24.0;

/// What each binary has mounted.
struct Certificates {
    secrets: BTreeMap<Part, MountedSecret>,
    shown: BTreeMap<Part, Identity>,
    _directory: TempDir,
}

impl Certificates {
    /// All signed by this authority, which all trust.
    fn issued_by(authority: &Authority) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let secrets =
            PARTS.map(|part| MountedSecret::in_directory(directory.path().join(part.name())).map(|it| (part, it)));
        let secrets = secrets.into_iter().collect::<Result<_>>()?;
        let mut certificates = Self { secrets, shown: BTreeMap::new(), _directory: directory };
        certificates.issue(authority)?;
        certificates.trust(&authority.pem())?;
        Ok(certificates)
    }

    fn issue(&mut self, authority: &Authority) -> Result<()> {
        for (part, secret) in &mut self.secrets {
            let identity = authority.issue()?;
            secret.replace(&[("tls.crt", &identity.certificate), ("tls.key", &identity.key)])?;
            self.shown.insert(*part, identity);
        }
        Ok(())
    }

    fn trust(&mut self, authorities: &str) -> Result<()> {
        self.secrets.values_mut().try_for_each(|secret| secret.replace(&[("ca.crt", authorities)]))
    }

    fn files(&self, part: Part) -> [String; 3] {
        ["ca.crt", "tls.crt", "tls.key"].map(|name| self.secrets[&part].file(name).display().to_string())
    }

    /// How a part shows itself to those it calls, and whom it trusts.
    fn client(&self, part: Part) -> Table {
        let [ca, cert, key] = self.files(part);
        toml! {
            ca_file = ca
            cert_file = cert
            key_file = key
        }
    }

    /// The same for those who call it. Connections get old soon, so that new ones are made all the time.
    fn server(&self, part: Part) -> Table {
        let [ca, cert, key] = self.files(part);
        toml! {
            max_connection_age = "1s"
            max_connection_age_grace = "5s"
            tls = { cert_file = cert, key_file = key, client_ca_file = ca }
        }
    }
}

/// All binaries, each over TLS with certificates on both sides; the gateway's callers need none.
async fn mesh(certificates: &Certificates) -> Result<Fabric> {
    let mut builder = Fabric::builder()?.cache_fronted();
    let urls = BTreeMap::from(SERVERS.map(|part| (part, format!("https://{}", builder.address(part)))));
    for part in PARTS {
        if part != Part::Auth {
            let (url, tls) = (urls[&Part::Auth].clone(), certificates.client(part));
            // Decisions are asked for again and again, and not remembered.
            builder = builder.settings(part, toml! { auth = { url = url, tls = tls, decision_memory = 1 } });
        }
        if part != Part::Gateway {
            let listen = certificates.server(part);
            builder = builder.settings(part, toml! { listen = listen });
        }
    }
    let upstream = |of, part: Part| {
        let (name, url, tls) = (part.name(), urls[&part].clone(), certificates.client(of));
        Value::Table(toml! {
            name = name
            urls = [url]
            tls = tls
        })
    };
    let (cache, tls) = (urls[&Part::Cache].clone(), certificates.client(Part::Gateway));
    let upstreams = [Part::Catalog, Part::Cache].map(|part| upstream(Part::Gateway, part)).to_vec();
    builder = builder.settings(
        Part::Gateway,
        toml! {
            cache = { url = cache, tls = tls }
            upstream = upstreams
        },
    );
    let upstreams = vec![upstream(Part::Cache, Part::Catalog)];
    builder = builder.settings(
        Part::Cache,
        toml! {
            upstream = upstreams
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
    let (old, new) = (Authority::named("old")?, Authority::named("new")?);
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
    let (of_old, of_new) = (old.issue()?, new.issue()?);
    for part in SERVERS {
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
