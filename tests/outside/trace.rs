//! One trace through the gateway, orders, the gateway again, cache and catalog, as a real collector receives it.

use crate::tool;
use accord_fabric::{Builder, EDITOR, Fabric, Launch, Part, Port, Process, http::HttpCall};
use anyhow::{Result, ensure};
use http::Method;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use toml::toml;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// The traces of two that wait for a load in the other one.
const WAITING: [&str; 2] = ["4bf92f3577b34da6a3ce929d0e0e4736", "80e1afed08e019fc1110464cfa66635c"];
/// How long what is exported may take to be written down.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);

/// A collector that writes down what it receives.
struct Collector {
    process: Process,
    endpoint: String,
    _ports: [Port; 2],
    _directory: tempfile::TempDir,
}

impl Collector {
    fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ports = [Port::reserve()?, Port::reserve()?];
        let [endpoint, http] = ports.each_ref().map(|port| port.address().to_string());
        let what = ["start", "--exporter", "blackhole", "--disable-batching", "--debug-log", "traces"];
        let how = ["--debug-log", "metrics", "--debug-log-verbosity", "detailed"];
        let at = ["--otlp-grpc-endpoint", &endpoint, "--otlp-http-endpoint", &http];
        let process = Process::start(Launch {
            name: "rotel".into(),
            program: tool("ACCORD_TEST_ROTEL")?.into(),
            arguments: what.iter().chain(&how).chain(&at).map(Into::into).collect(),
            environment: Vec::new(),
            log: directory.path().join("rotel.log"),
        })?;
        Ok(Self { process, endpoint: format!("http://{endpoint}"), _ports: ports, _directory: directory })
    }

    async fn receives(&self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        self.process.await_log(WRITTEN_WITHIN, wanted).await
    }
}

fn parent(trace: &str) -> String {
    format!("00-{trace}-b7ad6b7169203331-01")
}

#[tokio::test]
async fn trace_goes_through_every_binary() -> Result<()> {
    let collector = Collector::start()?;
    let fabric = Fabric::builder()?.orders().otlp(&collector.endpoint).start().await?;
    let token = fabric.token(EDITOR).await?;
    create_desk(&fabric, &token).await?;
    let add = fabric.call(Method::POST, "/v1/basket/items").token(&token).header("traceparent", &parent(TRACE));
    let added = add.json(&json!({ "productId": "oak-desk", "quantity": 1 })).send().await?;
    ensure!(added.status == 200, "{}", added.text());

    // The gateway is met twice: at the door, and at the internal listener, where orders calls with a span of its own.
    let hops = [
        ("accord-gateway", "accord-orders"),
        ("accord-orders", "accord-gateway"),
        ("accord-gateway", "accord-cache"),
        ("accord-cache", "accord-catalog"),
    ];
    let all = |log: &str| {
        hops.iter().all(|(outer, inner)| calls(log, outer, inner)) && log.contains("rpc.server.call.duration")
    };
    collector.receives(all).await?;
    fabric.stop().await
}

#[tokio::test]
async fn spans_have_names_attributes_and_statuses_by_the_conventions_of_grpc() -> Result<()> {
    let collector = Collector::start()?;
    let fabric = Fabric::builder()?.otlp(&collector.endpoint).start().await?;
    let token = fabric.token(EDITOR).await?;
    let read = fabric.get("/v1/products/none").token(&token).header("traceparent", &parent(TRACE)).send().await?;
    ensure!(read.status == 404, "{}", read.text());
    let method = "catalog.v1.ProductService/GetProduct";
    let (named, of_method) = (format!("Name : {method}"), format!("-> rpc.method: Str({method})"));
    let ended = ["-> rpc.system.name: Str(grpc)", "-> rpc.response.status_code: Str(NOT_FOUND)", &of_method, &named];
    // What its caller did wrong is no error of the server.
    let server = [&ended[..], &["Kind : SPAN_KIND_SERVER", "Status code : STATUS_CODE_UNSET"]].concat();
    let failed = ["Kind : SPAN_KIND_CLIENT", "Status code : STATUS_CODE_ERROR", "-> error.type: Str(NOT_FOUND)"];
    let port = fabric.catalog.listen.port();
    let at = [format!("-> server.port: Int({port})"), format!("-> network.peer.port: Int({port})")];
    let to = ["-> server.address: Str(127.0.0.1)", "-> network.peer.address: Str(127.0.0.1)", &at[0], &at[1]];
    let client = [&ended[..], &failed, &to].concat();
    let load = ["Name : load", "Kind : SPAN_KIND_INTERNAL", &of_method];
    let wanted = [
        ("accord-gateway", &server[..]),
        ("accord-cache", &load),
        ("accord-cache", &client),
        ("accord-catalog", &server),
    ];
    collector.receives(|log| wanted.iter().all(|(service, lines)| has_span(log, service, lines))).await?;
    fabric.stop().await
}

#[tokio::test]
async fn waiters_of_the_load_of_an_answer_are_linked_to_its_span_in_the_trace_of_who_came_first() -> Result<()> {
    waiters_are_linked(Fabric::builder()?, "/v1/products/oak-desk").await
}

#[tokio::test]
async fn waiters_of_the_load_of_a_key_are_linked_to_its_span_in_the_trace_of_who_came_first() -> Result<()> {
    let settings = toml! {
        [[namespace]]
        name = "products"
        read_permission = "carts.read"
        write_permission = "carts.write"
        [namespace.origin]
        upstream = "catalog"
        method = "catalog.v1.ProductService/GetProduct"
        permission = "catalog.products.read"
    };
    waiters_are_linked(
        Fabric::builder()?.cache_fronted().settings(Part::Cache, settings),
        "/v1/cache/products/oak-desk",
    )
    .await
}

async fn waiters_are_linked(builder: Builder, path: &str) -> Result<()> {
    let collector = Collector::start()?;
    let mut fabric = builder.otlp(&collector.endpoint).start().await?;
    let token = fabric.token(EDITOR).await?;
    create_desk(&fabric, &token).await?;
    let address = fabric.gateway.listen;
    let read = |trace: &str| {
        // Longer than a busy machine takes to see that they wait.
        let call = HttpCall::new(address, Method::GET, path).token(&token).header("request-timeout", "9");
        tokio::spawn(call.header("traceparent", &parent(trace)).send())
    };
    // The load is held, so that those who come meanwhile wait for it.
    fabric.catalog.process.pause()?;
    let first = read(TRACE);
    fabric.cache.await_metric("accord_cache_flights", &[], |flights| flights > 0.5).await?;
    let waiting = WAITING.map(read);
    fabric.cache.await_metric("accord_cache_waiters", &[], |waiters| waiters > 2.5).await?;
    fabric.catalog.process.resume()?;
    for answer in std::iter::once(first).chain(waiting) {
        let answer = answer.await??;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    collector.receives(|log| WAITING.iter().all(|waiting| is_linked_to_load(log, waiting))).await?;
    fabric.stop().await
}

async fn create_desk(fabric: &Fabric, token: &str) -> Result<()> {
    let price = json!({ "currency": "EUR", "minorUnits": "45900" });
    let desk = json!({ "id": "oak-desk", "title": "Oak desk", "price": price });
    let call = fabric.call(Method::POST, "/v1/products").token(token).header("idempotency-key", "trace");
    ensure!(call.json(&desk).send().await?.status == 200);
    Ok(())
}

/// Whether a service has a span of the trace with all of these lines.
fn has_span(log: &str, service: &str, wanted: &[&str]) -> bool {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    spans(log, service, TRACE).any(|span| {
        let lines: BTreeSet<_> = span.lines().map(line).collect();
        wanted.iter().all(|wanted| lines.contains(*wanted))
    })
}

/// Whether a span of a trace is linked to the load in the other one whose attempt the catalog answered.
fn is_linked_to_load(log: &str, waiting: &str) -> bool {
    let attempts = of_spans(log, "accord-catalog", "Parent ID");
    let is_attempt = |span: &&str| field(span, "ID").is_some_and(|id| attempts.contains(id));
    let loads: BTreeSet<_> =
        spans(log, "accord-cache", TRACE).filter(is_attempt).map(|it| field(it, "Parent ID")).collect();
    let links = spans(log, "accord-cache", waiting).flat_map(|span| span.split("SpanLink #").skip(1));
    let mut links = links.map(|link| (field(link, "-> Trace ID"), field(link, "-> ID")));
    links.any(|(trace, span)| trace == Some(TRACE) && loads.contains(&span))
}

/// Whether the log has a span of the inner service whose parent is a span of the outer one, in the trace.
fn calls(log: &str, outer: &str, inner: &str) -> bool {
    let spans = of_spans(log, outer, "ID");
    of_spans(log, inner, "Parent ID").iter().any(|parent| spans.contains(parent))
}

/// A field of all spans of the trace under the resources of a service.
fn of_spans<'a>(log: &'a str, service: &str, name: &str) -> BTreeSet<&'a str> {
    spans(log, service, TRACE).filter_map(|span| field(span, name)).collect()
}

/// All spans of a trace under the resources of a service.
fn spans<'a>(log: &'a str, service: &str, trace: &str) -> impl Iterator<Item = &'a str> {
    // Metrics, of whatever service, may follow the spans.
    let is_of = move |resource: &&str| resource.split("ScopeSpans").next().is_some_and(|head| head.contains(service));
    let resources = log.split("ResourceSpans").skip(1).filter(is_of);
    let spans = resources.flat_map(|resource| resource.split("Span #").skip(1));
    spans.filter(move |span| field(span, "Trace ID") == Some(trace))
}

/// The first value of this name.
fn field<'a>(of: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = of.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.trim() == name).map(|(_, value)| value.trim())
}
