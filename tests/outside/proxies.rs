//! Proxies that stand in the gateway's place and ask auth: Envoy by gRPC, nginx and Traefik by HTTP, with the configurations that
//! the guide shows.

use crate::tool;
use accord_api::catalog::v1::{
    CreateProductRequest, ListProductsRequest, product_service_client::ProductServiceClient,
};
use accord_fabric::{Bearer, Fabric, Launch, Part, Port, Process, READER, STRANGER, http::HttpCall};
use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tonic::{Code, Status, service::interceptor::InterceptedService, transport::Channel};

/// How long a proxy may take to listen on a loaded machine.
const START: Duration = Duration::from_secs(30);

const CATALOG: &str = "catalog.v1.ProductService";

/// A proxy before the catalog and a service that shows the headers that reach it.
struct Proxied {
    fabric: Fabric,
    door: SocketAddr,
    token: String,
    process: Process,
    _ports: [Port; 2],
    _directory: TempDir,
}

impl Proxied {
    async fn envoy() -> Result<Self> {
        Self::start(
            |text, directory| {
                let config = directory.path().join("envoy.yaml");
                fs::write(&config, text)?;
                let arguments = ["-c", config.to_str().context("a path")?, "--concurrency", "1", "--base-id", "0"];
                let own = ["--use-dynamic-base-id"];
                Ok((tool("ACCORD_TEST_ENVOY")?, own.iter().chain(&arguments[..4]).map(ToString::to_string).collect()))
            },
            "envoy.yaml",
        )
        .await
    }

    async fn nginx() -> Result<Self> {
        Self::start(
            |text, directory| {
                let config = directory.path().join("nginx.conf");
                let place = directory.path().display();
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {place}/{kind};"))
                    .concat();
                let around = format!(
                    "daemon off; master_process off; pid {place}/pid; error_log stderr; events {{}}\n\
                 http {{ access_log off; {temporary}\n{text}}}\n"
                );
                fs::write(&config, around)?;
                Ok((tool("ACCORD_TEST_NGINX")?, vec!["-c".to_owned(), config.display().to_string()]))
            },
            "nginx.conf",
        )
        .await
    }

    async fn traefik() -> Result<Self> {
        let mut proxied = Self::start(
            |text, directory| {
                let routes = directory.path().join("routes.yaml");
                fs::write(&routes, text)?;
                let arguments = [
                    "--entrypoints.web.address=127.0.0.1:10000".to_owned(),
                    format!("--providers.file.filename={}", routes.display()),
                ];
                Ok((tool("ACCORD_TEST_TRAEFIK")?, arguments.to_vec()))
            },
            "traefik.yaml",
        )
        .await?;
        proxied.has_routes().await?;
        Ok(proxied)
    }

    /// Traefik listens before it has read its routes, and answers 404 until then.
    async fn has_routes(&mut self) -> Result<()> {
        let end = Instant::now() + START;
        while self.page(None, &[]).await?.0 == 404 {
            self.process.check()?;
            ensure!(Instant::now() < end, "Traefik has no routes: {}", self.process.last_words());
            // Nothing tells when it has: it is asked again.
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn start(
        command: impl Fn(&str, &TempDir) -> Result<(String, Vec<String>)>,
        configuration: &str,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ports = [Port::reserve()?, Port::reserve()?];
        let [asked, door] = ports.each_ref().map(Port::address);
        let fabric = fabric(asked, &directory).await?;
        let pages = serve_headers().await?;
        let places = [(10000, door), (8092, asked), (9000, fabric.catalog.listen), (9001, pages)];
        let adapted = |text: String| {
            places.iter().fold(text, |text, (port, place)| {
                let (documented, there) = (port.to_string(), place.port().to_string());
                text.replace(&format!("127.0.0.1:{documented}"), &format!("127.0.0.1:{there}"))
                    .replace(&format!("port_value: {documented}}}"), &format!("port_value: {there}}}"))
            })
        };
        let file = accord_fabric::binaries::workspace().join("tests/clients/proxies").join(configuration);
        let (program, arguments) = command(&adapted(fs::read_to_string(file)?), &directory)?;
        let arguments = arguments.into_iter().map(&adapted).map(Into::into).collect();
        let launch = Launch {
            name: configuration.to_owned(),
            program: program.into(),
            arguments,
            environment: Vec::new(),
            log: directory.path().join("log"),
        };
        let mut process = Process::start(launch)?;
        listening(door, &mut process).await?;
        let token = fabric.token(READER).await?;
        Ok(Self { fabric, door, token, process, _ports: ports, _directory: directory })
    }

    fn products(&self, token: &str) -> Result<ProductServiceClient<InterceptedService<Channel, Bearer>>> {
        let channel = Channel::from_shared(format!("http://{}", self.door))?.connect_lazy();
        Ok(ProductServiceClient::with_interceptor(channel, Bearer::new(token)?))
    }

    /// The status of a request for a page, and the headers that reached the service.
    async fn page(&self, token: Option<&str>, headers: &[(&str, &str)]) -> Result<(u16, BTreeMap<String, String>)> {
        let call = HttpCall::new(self.door, Method::GET, "/products");
        let call = token.into_iter().fold(call, HttpCall::token);
        let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        let answer = call.send().await?;
        let status = answer.status.as_u16();
        let seen = if status == 200 { serde_json::from_slice(&answer.body)? } else { BTreeMap::new() };
        Ok((status, seen))
    }

    /// A reader's page comes with identity and without credential; whoever has none, or another's passport, is refused.
    async fn hold_pages(&self) -> Result<()> {
        let (status, seen) =
            self.page(Some(&self.token), &[("x-accord-subject", "root"), ("x-accord-tenant", "x")]).await?;
        let said = ["x-accord-subject", "x-accord-kind"].map(|name| seen.get(name).map(String::as_str));
        ensure!(status == 200 && said == [Some(READER), Some("user")], "{status} {seen:?}");
        ensure!(seen.get("x-accord-tenant").is_none_or(|tenant| tenant != "x"), "a forged tenant passed: {seen:?}");
        ensure!(seen.get("authorization").is_none_or(String::is_empty), "the credential went on: {seen:?}");
        let passport = seen.get("x-accord-passport").context("a passport")?;
        for (token, expected) in [(None, 401), (Some("a.b.c"), 401), (Some(passport.as_str()), 401)] {
            let (status, _) = self.page(token, &[]).await?;
            ensure!(status == expected, "{token:?}: {status}");
        }
        let stranger = self.fabric.token(STRANGER).await?;
        let (status, _) = self.page(Some(&stranger), &[]).await?;
        ensure!(status == 403, "somebody without the permission: {status}");
        Ok(())
    }

    /// A page that came comes no more while auth is down.
    async fn hold_denial_while_auth_is_down(mut self, expected: u16) -> Result<()> {
        let (before, _) = self.page(Some(&self.token), &[]).await?;
        self.fabric.auth.process.kill()?;
        let (down, _) = self.page(Some(&self.token), &[]).await?;
        ensure!((before, down) == (200, expected), "{before} {down}");
        self.process.kill()?;
        Ok(())
    }

    /// A page comes for an API key as for a token, and without the key; for one that is disabled it comes no more.
    async fn hold_pages_of_keys(&self) -> Result<()> {
        let file = self.fabric.directory().join("reader.key");
        let path = file.display().to_string();
        self.fabric.manage(&["api-key", "add", READER, "--key-file", &path]).await?;
        let key = fs::read_to_string(&file)?.trim().to_owned();
        let (status, alone) = self.page(None, &[("x-api-key", &key)]).await?;
        ensure!(status == 200, "{status}");
        let (status, as_bearer) = self.page(Some(&key), &[]).await?;
        ensure!(status == 200, "{status}");
        for seen in [alone, as_bearer] {
            ensure!(seen.get("x-accord-subject").is_some_and(|subject| subject == READER), "{seen:?}");
            ensure!(!seen.values().any(|value| value.contains(&key)), "the key went on: {seen:?}");
        }
        let wrong = format!("{}{}", &key[..20], "A".repeat(43));
        for refused in [
            self.page(None, &[("x-api-key", &wrong)]).await?.0,
            self.page(Some(&self.token), &[("x-api-key", &key)]).await?.0,
        ] {
            ensure!(refused != 200, "{refused}");
        }
        self.fabric.manage(&["api-key", "disable", &key[..19]]).await?;
        ensure!(self.page(None, &[("x-api-key", &key)]).await?.0 == 401, "it is disabled");
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        self.process.kill()?;
        self.fabric.stop().await
    }
}

/// The product's services with a listener for proxies at auth, which knows the catalog's contract.
async fn fabric(asked: SocketAddr, directory: &TempDir) -> Result<Fabric> {
    let descriptors = directory.path().join("catalog.binpb");
    fs::write(&descriptors, accord_api::FILE_DESCRIPTOR_SET)?;
    // Those of other services, which the policies of every fabric name.
    let others =
        ["baskets", "carts", "orders"].iter().flat_map(|what| [format!("{what}.read"), format!("{what}.write")]);
    let others: Vec<_> = others.chain(["echo.fail".to_owned()]).collect();
    let (descriptors, asked) = (descriptors.display().to_string(), asked.to_string());
    let settings = toml::toml! {
        ext_authz = { listen = { address = asked } }
        policy = { permissions = others }
        [[upstream]]
        name = "catalog"
        descriptors = descriptors
        services = [CATALOG]
    };
    Fabric::builder()?.settings(Part::Auth, settings).start().await
}

/// Answers every request with the headers that it came with, as JSON.
async fn serve_headers() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
                let body = serde_json::to_vec(&headers.collect::<BTreeMap<_, _>>()).unwrap_or_default();
                Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(body))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

async fn listening(address: SocketAddr, process: &mut Process) -> Result<()> {
    let end = Instant::now() + START;
    while TcpStream::connect(address).await.is_err() {
        process.check()?;
        ensure!(Instant::now() < end, "the proxy does not listen: {}", process.last_words());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn list() -> ListProductsRequest {
    ListProductsRequest::default()
}

#[track_caller]
fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn envoy_lets_pass_what_the_contract_and_policies_allow() -> Result<()> {
    let proxied = Proxied::envoy().await?;
    // The catalog verifies the passport that auth made for it, which only what came through the proxy has.
    let mut products = proxied.products(&proxied.token)?;
    products.list_products(list()).await?;
    assert_eq!(code(products.create_product(CreateProductRequest::default()).await), Code::PermissionDenied);
    assert_eq!(code(proxied.products("a.b.c")?.list_products(list()).await), Code::Unauthenticated);
    proxied.hold_pages().await?;
    proxied.stop().await
}

#[tokio::test]
async fn envoy_lets_pass_api_keys_within_what_they_may_and_takes_them_out() -> Result<()> {
    let proxied = Proxied::envoy().await?;
    proxied.hold_pages_of_keys().await?;
    let file = proxied.fabric.directory().join("list.key");
    let path = file.display().to_string();
    let narrow = ["api-key", "add", READER, "--permission", "catalog.nothing", "--key-file", &path];
    proxied.fabric.manage(&narrow).await?;
    let key = fs::read_to_string(&file)?.trim().to_owned();
    assert_eq!(code(proxied.products(&key)?.list_products(list()).await), Code::PermissionDenied);
    proxied.stop().await
}

#[tokio::test]
async fn envoy_denies_every_request_while_auth_is_down() -> Result<()> {
    let mut proxied = Proxied::envoy().await?;
    proxied.products(&proxied.token)?.list_products(list()).await?;
    proxied.fabric.auth.process.kill()?;
    assert_eq!(code(proxied.products(&proxied.token)?.list_products(list()).await), Code::PermissionDenied);
    assert_eq!(proxied.page(Some(&proxied.token), &[]).await?.0, 403);
    proxied.process.kill()?;
    Ok(())
}

#[tokio::test]
async fn nginx_denies_every_request_while_auth_is_down() -> Result<()> {
    Proxied::nginx().await?.hold_denial_while_auth_is_down(500).await
}

#[tokio::test]
async fn traefik_denies_every_request_while_auth_is_down() -> Result<()> {
    Proxied::traefik().await?.hold_denial_while_auth_is_down(500).await
}

#[tokio::test]
async fn nginx_lets_pass_what_policies_allow() -> Result<()> {
    let proxied = Proxied::nginx().await?;
    proxied.hold_pages().await?;
    proxied.hold_pages_of_keys().await?;
    proxied.stop().await
}

#[tokio::test]
async fn traefik_lets_pass_what_policies_allow() -> Result<()> {
    let proxied = Proxied::traefik().await?;
    proxied.hold_pages().await?;
    proxied.hold_pages_of_keys().await?;
    proxied.stop().await
}
