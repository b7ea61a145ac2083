//! Namespaces of the cache through the gateway, as JSON and as gRPC, under the passports that the gateway gets for its callers.

use crate::reason;
use accord_api::accord::cache::v1::{
    BatchGetRequest, GetRequest, PutRequest, ReadRequest, cache_service_client::CacheServiceClient,
    read_through_service_client::ReadThroughServiceClient,
};
use accord_fabric::{Bearer, Fabric, Part, STRANGER, binaries, http::HttpResponse};
use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::process::Command;
use toml::toml;
use tonic::{
    Code,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// `milk` and `bread` as JSON has bytes.
const MILK: &str = "bWlsaw==";
const BREAD: &str = "YnJlYWQ=";

/// The fabric with a namespace, and the tokens of who may write, who may read, and who writes for another tenant.
struct Carts {
    fabric: Fabric,
    writer: String,
    reader: String,
    other: String,
}

impl Carts {
    async fn start() -> Result<Self> {
        let settings = toml! {
            [[namespace]]
            name = "carts"
            read_permission = "carts.read"
            write_permission = "carts.write"
            max_value_bytes = 1000
        };
        let fabric = Fabric::builder()?.cache_fronted().settings(Part::Cache, settings).start().await?;
        for (name, tenant, role) in
            [("nora", "north", "cart-writer"), ("nils", "north", "cart-reader"), ("sara", "south", "cart-writer")]
        {
            fabric.manage(&["principal", "add", name, "--tenant", tenant, "--role", role]).await?;
        }
        let (writer, reader) = (fabric.token("nora").await?, fabric.token("nils").await?);
        let other = fabric.token("sara").await?;
        Ok(Self { fabric, writer, reader, other })
    }

    async fn get(&self, token: &str, path: &str) -> Result<HttpResponse> {
        self.fabric.get(&format!("/v1/cache/{path}")).token(token).send().await
    }

    async fn send(&self, method: Method, token: &str, path: &str, body: Value) -> Result<HttpResponse> {
        self.fabric.call(method, &format!("/v1/cache/{path}")).token(token).json(&body).send().await
    }

    async fn put(&self, key: &str, body: Value) -> Result<HttpResponse> {
        self.send(Method::PUT, &self.writer, &format!("carts/{key}"), body).await
    }

    async fn delete(&self, token: &str, key: &str) -> Result<HttpResponse> {
        self.fabric.call(Method::DELETE, &format!("/v1/cache/carts/{key}")).token(token).send().await
    }

    async fn holds(&self, key: &str) -> Result<bool> {
        let answer = self.get(&self.reader, &format!("carts/{key}")).await?;
        assert!(answer.status == 200 || reason(&answer) == "KEY_ABSENT", "{}", answer.text());
        Ok(answer.status == 200)
    }
}

fn client(address: SocketAddr, token: &str) -> Result<CacheServiceClient<InterceptedService<Channel, Bearer>>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    Ok(CacheServiceClient::with_interceptor(channel, Bearer::new(token)?))
}

fn version(answer: &HttpResponse) -> Result<String> {
    Ok(answer.json()?["version"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn value_put_as_json_is_read_over_grpc_and_one_put_over_grpc_as_json() -> Result<()> {
    let carts = Carts::start().await?;
    let put = carts.put("ada", json!({ "value": MILK, "ttl": "60s" })).await?;
    assert_eq!((put.status.as_u16(), put.json()?["freshness"]["stored"].as_bool()), (200, Some(true)));
    let mut grpc = client(carts.fabric.gateway.listen, &carts.writer)?;
    let asked = GetRequest { namespace: "carts".to_owned(), key: "ada".to_owned(), consistency: None };
    let entry = grpc.get(asked).await?.into_inner().entry.unwrap_or_default();
    assert_eq!((&entry.value[..], entry.version), (&b"milk"[..], version(&put)?));

    let written =
        PutRequest { namespace: "carts".into(), key: "a b/c".into(), value: "bread".into(), ..Default::default() };
    grpc.put(written).await?;
    let got = carts.get(&carts.reader, "carts/a%20b%2Fc").await?.json()?;
    assert_eq!(
        (&got["key"], &got["value"], &got["freshness"]["outcome"]),
        (&json!("a b/c"), &json!(BREAD), &json!("OUTCOME_HIT"))
    );
    carts.fabric.stop().await
}

#[tokio::test]
async fn compare_and_set_over_another_or_no_version_is_aborted() -> Result<()> {
    let carts = Carts::start().await?;
    let first = version(&carts.put("ada", json!({ "value": MILK })).await?)?;
    let exchange = json!({ "value": BREAD, "expectedVersion": first });
    assert_eq!(carts.put("ada", exchange.clone()).await?.status, 200);
    let refused = carts.put("ada", exchange.clone()).await?;
    assert_eq!((refused.status.as_u16(), reason(&refused)), (409, "VERSION_CONFLICT".to_owned()));
    assert_eq!(carts.delete(&carts.writer, "ada").await?.status, 200);
    let absent = carts.put("ada", exchange).await?;
    assert_eq!((absent.status.as_u16(), reason(&absent)), (409, "VERSION_CONFLICT".to_owned()));
    let write = PutRequest {
        namespace: "carts".into(),
        key: "ada".into(),
        expected_version: Some(first),
        ..Default::default()
    };
    let aborted = client(carts.fabric.gateway.listen, &carts.writer)?.put(write).await.unwrap_err();
    assert_eq!(aborted.code(), Code::Aborted);
    carts.fabric.stop().await
}

#[tokio::test]
async fn tags_prefixes_and_the_whole_namespace_are_invalidated_through_the_gateway() -> Result<()> {
    let carts = Carts::start().await?;
    for (key, tag) in [("a-1", "x"), ("a-2", "y"), ("b-1", "y"), ("b-2", "x")] {
        carts.put(key, json!({ "value": MILK, "tags": [tag] })).await?;
    }
    let held = async || -> Result<[bool; 4]> {
        Ok([carts.holds("a-1").await?, carts.holds("a-2").await?, carts.holds("b-1").await?, carts.holds("b-2").await?])
    };
    let invalidate = async |scope: Value| carts.send(Method::POST, &carts.writer, "carts:invalidate", scope).await;
    assert_eq!(invalidate(json!({ "tags": { "tags": ["x"] } })).await?.status, 200);
    assert_eq!(held().await?, [false, true, true, false]);
    assert_eq!(invalidate(json!({ "prefix": "a-" })).await?.status, 200);
    assert_eq!(held().await?, [false, false, true, false]);
    assert_eq!(invalidate(json!({ "all": true })).await?.status, 200);
    assert_eq!(held().await?, [false; 4]);
    carts.fabric.stop().await
}

#[tokio::test]
async fn touched_value_and_stats_are_told_as_json() -> Result<()> {
    let carts = Carts::start().await?;
    carts.put("ada", json!({ "value": MILK, "ttl": "60s" })).await?;
    let touched =
        carts.send(Method::POST, &carts.writer, "carts/ada:touch", json!({ "ttl": "1800s" })).await?.json()?;
    let ttl = touched["freshness"]["ttl"].as_str().unwrap_or_default().trim_end_matches('s').parse::<f64>()?;
    assert!(ttl > 1_700.0, "{touched}");
    let stats = carts.get(&carts.reader, "carts:stats").await?.json()?;
    assert_eq!((&stats["entries"], &stats["puts"]), (&json!("1"), &json!("1")));
    carts.fabric.stop().await
}

#[tokio::test]
async fn namespace_keeps_tenants_apart() -> Result<()> {
    let carts = Carts::start().await?;
    carts.put("ada", json!({ "value": MILK, "tags": ["x"] })).await?;
    assert_eq!(carts.get(&carts.other, "carts/ada").await?.status, 404);
    let all = carts.send(Method::POST, &carts.other, "carts:invalidate", json!({ "all": true })).await?;
    assert_eq!(all.status, 200);
    assert_eq!(carts.delete(&carts.other, "ada").await?.status, 200);
    assert!(carts.holds("ada").await?);
    carts.fabric.stop().await
}

#[tokio::test]
async fn permission_of_the_namespace_decides_for_the_principal_of_the_passport() -> Result<()> {
    let carts = Carts::start().await?;
    carts.put("ada", json!({ "value": MILK })).await?;
    let stranger = carts.fabric.token(STRANGER).await?;
    for token in [&carts.reader, &stranger] {
        let refused = carts.send(Method::PUT, token, "carts/ada", json!({ "value": BREAD })).await?;
        assert_eq!((refused.status.as_u16(), reason(&refused)), (403, "PERMISSION_MISSING".to_owned()));
    }
    assert_eq!(carts.get(&stranger, "carts/ada").await?.status, 403);
    assert_eq!(carts.fabric.get("/v1/cache/carts/ada").send().await?.status, 401);
    let read = carts.get(&carts.reader, "carts/ada").await?.json()?;
    assert_eq!(read["value"], json!(MILK));
    carts.fabric.stop().await
}

#[tokio::test]
async fn access_token_is_as_good_at_the_cache_itself() -> Result<()> {
    let carts = Carts::start().await?;
    carts.put("ada", json!({ "value": MILK })).await?;
    let asked = GetRequest { namespace: "carts".to_owned(), key: "ada".to_owned(), consistency: None };
    let entry = client(carts.fabric.cache.listen, &carts.reader)?.get(asked.clone()).await?.into_inner().entry;
    assert_eq!(entry.unwrap_or_default().value, &b"milk"[..]);
    let stranger = carts.fabric.token(STRANGER).await?;
    let refused = client(carts.fabric.cache.listen, &stranger)?.get(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    carts.fabric.stop().await
}

#[tokio::test]
async fn what_breaks_the_bounds_of_a_namespace_is_refused() -> Result<()> {
    let carts = Carts::start().await?;
    let large = carts.put("ada", json!({ "value": "A".repeat(1336) })).await?;
    assert_eq!((large.status.as_u16(), reason(&large)), (429, "REQUEST_TOO_LARGE".to_owned()));
    let long = carts.put("ada", json!({ "value": MILK, "ttl": "3601s" })).await?;
    assert_eq!((long.status.as_u16(), reason(&long)), (400, "FIELD_INVALID".to_owned()));
    let unknown = carts.get(&carts.reader, "cars/ada").await?;
    assert_eq!((unknown.status.as_u16(), reason(&unknown)), (404, "NAMESPACE_UNKNOWN".to_owned()));
    let keys: Vec<_> = (0..101).map(|n| n.to_string()).collect();
    let batch = carts.send(Method::POST, &carts.reader, "carts:batchGet", json!({ "keys": keys })).await?;
    assert_eq!((batch.status.as_u16(), reason(&batch)), (400, "REQUEST_MALFORMED".to_owned()));
    let asked = BatchGetRequest { namespace: "carts".to_owned(), keys: keys[..100].to_vec(), consistency: None };
    let answer = client(carts.fabric.gateway.listen, &carts.reader)?.batch_get(asked).await?.into_inner();
    assert_eq!(answer.absent.len(), 100);
    carts.fabric.stop().await
}

#[tokio::test]
async fn services_of_the_mesh_stay_closed_at_the_gateway() -> Result<()> {
    let carts = Carts::start().await?;
    for (name, expected) in [("nora", Code::PermissionDenied), ("gateway", Code::Unauthenticated)] {
        let bearer = Bearer::new(&carts.fabric.token(name).await?)?;
        let mut client = ReadThroughServiceClient::with_interceptor(carts.fabric.gateway.channel()?, bearer);
        assert_eq!(client.read(ReadRequest::default()).await.unwrap_err().code(), expected, "{name}");
    }
    carts.fabric.stop().await
}

#[tokio::test]
async fn stats_of_the_cache_show_its_namespaces_and_how_full_it_is() -> Result<()> {
    let carts = Carts::start().await?;
    carts.put("a", json!({ "value": MILK })).await?;
    let url = format!("http://{}", carts.fabric.cache.admin);
    let mut stats = Command::new(binaries::path("accord-cache")?);
    let output = stats.args(["stats", &url, "--interval", "100ms", "--count", "1"]).output().await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("of 256.0 MiB (0.0%), 1 entries"), "{text}");
    assert!(text.lines().last().is_some_and(|row| row.starts_with("carts ")), "{text}");
    carts.fabric.stop().await
}

#[tokio::test]
async fn watch_tells_changes_as_lines_and_as_events_and_goes_on_after_its_token() -> Result<()> {
    let carts = Carts::start().await?;
    let watch = |path: &str| {
        let call = carts.fabric.get(&format!("/v1/cache/carts:watch{path}")).token(&carts.reader);
        call.header("request-timeout", "3")
    };
    let first = watch("").send().await?;
    assert_eq!(first.header("content-type"), Some("application/x-ndjson"));
    let first: Value = serde_json::from_str(first.text().lines().next().unwrap())?;
    assert_eq!(first["reset"], json!({}));
    let put = carts.put("ada", json!({ "value": MILK })).await?.json()?;

    let resumed = format!("?resumeToken={}", first["resumeToken"].as_str().unwrap());
    let told = watch(&resumed).send().await?.text().clone();
    let lines: Vec<Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines[0]["heartbeat"], json!({}), "{told}");
    assert_eq!(lines[1]["put"], json!({ "key": "ada", "version": put["version"] }), "{told}");
    let events = watch(&resumed).header("accept", "text/event-stream").send().await?;
    assert!(events.text().contains("\n\ndata: {") && events.text().contains("\"put\""), "{}", events.text());
    carts.fabric.stop().await
}
