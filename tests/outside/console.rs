//! The gateway's console, as a person sees it in Chromium while calls are made at the gateway.

use crate::{output, tool};
use accord_fabric::{EDITOR, Fabric, Port, STRANGER, binaries::workspace};
use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use std::fs;

const NAME: &str = "olga";
const PASSWORD: &str = "a password for one test";
const IDENTITY: &str = "spiffe://prod.example/ns/shop/sa/mill";
/// A public key (RFC 8037, appendix A.2).
const JWKS: &str =
    r#"{"keys":[{"kid":"mill-1","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// API keys that the console asks for at a time.
const KEYS_OF_A_PAGE: usize = 20;

async fn looked_at(fabric: &Fabric) -> Result<Value> {
    let password = fabric.directory().join("password");
    fs::write(&password, PASSWORD)?;
    let password = password.display().to_string();
    let roles = ["--role", "accord-admin", "--role", "catalog-reader"];
    let add = ["principal", "add", NAME, "--password-file", &password];
    fabric.manage(&[&add[..], &roles].concat()).await?;
    let_others_in(fabric).await?;
    let desk = json!({"id": "oak-desk", "title": "Oak desk", "price": {"currency": "EUR", "minorUnits": "79900"}});
    let editor = fabric.token(EDITOR).await?;
    let created = fabric.call(Method::POST, "/v1/products").token(&editor).header("idempotency-key", "desk");
    assert_eq!(created.json(&desk).send().await?.status, 200);
    let script = workspace().join("tests/clients/web/console.cjs").display().to_string();
    let (admin, gateway) = (format!("http://{}", fabric.gateway.admin), fabric.gateway.url());
    let (chromium, stranger) = (tool("ACCORD_TEST_CHROMIUM")?, fabric.token(STRANGER).await?);
    let named = [
        ("--admin", &*admin),
        ("--gateway", &gateway),
        ("--caller", &editor),
        ("--stranger", &stranger),
        ("--name", NAME),
        ("--password", PASSWORD),
        ("--chromium", &chromium),
    ];
    let arguments: Vec<_> = [&*script].into_iter().chain(named.into_iter().flat_map(<[&str; 2]>::from)).collect();
    let seen = output("node", &arguments).await?;
    serde_json::from_str(&seen).with_context(|| seen)
}

/// A client with a key and a name in a certificate, an API key that was disabled, and more of these than a page has.
async fn let_others_in(fabric: &Fabric) -> Result<()> {
    let file = |name: &str| fabric.directory().join(name).display().to_string();
    fs::write(file("mill.jwks"), JWKS)?;
    fabric.manage(&["client", "add", "mill", "--role", "catalog-reader", "--jwks", &file("mill.jwks")]).await?;
    fabric.manage(&["certificate-identity", "add", IDENTITY, "mill", "--note", "its certificate"]).await?;
    for number in 0..=KEYS_OF_A_PAGE {
        let (key, note) = (file(&format!("{number}.key")), format!("key {number}"));
        fabric.manage(&["api-key", "add", "mill", "--key-file", &key, "--note", &note]).await?;
    }
    let key = fs::read_to_string(file("0.key"))?;
    let id = key.get(.."ak_".len() + 16).context("ak_ID_SECRET, with 16 digits")?;
    fabric.manage(&["api-key", "disable", id]).await.map(drop)
}

fn text<'a>(seen: &'a Value, pointer: &str) -> &'a str {
    seen.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {seen}"))
}

/// Each of these words is in what was seen there.
fn hold(seen: &Value, pointer: &str, words: &[&str]) {
    let found = text(seen, pointer);
    for word in words {
        assert!(found.contains(word), "{word} in {pointer}: {found}");
    }
}

fn hold_views(seen: &Value) {
    assert!(seen["map"]["rate"].as_f64().is_some_and(|rate| (5.0..500.0).contains(&rate)), "{}", seen["map"]);
    hold(seen, "/map/gateway", &["Gateway", "serving", "calls"]);
    hold(seen, "/map/auth", &["Auth", "up", "revocations known"]);
    hold(seen, "/map/cache", &["hit ratio", "127.0.0.1"]);
    hold(seen, "/map/catalog", &["catalog", "up", "127.0.0.1"]);
    hold(seen, "/map/echo", &["echo", "99th percentile", "adaptive limit", "waiting of"]);
    hold(seen, "/map/echo", &["1 of 2 ejected", "ejections so far", "in flight"]);
    assert!(seen["map"]["flows"].as_u64() >= Some(2), "{}", seen["map"]);
    let methods = seen["map"]["methods"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(methods.contains(&json!("echo.v1.EchoService/Slow")), "{methods:?}");
    let steps: Vec<_> = seen["calls"]["slow"].as_array().into_iter().flatten().map(|step| text(step, "/0")).collect();
    assert_eq!(steps, ["authenticate", "authorize", "message", "upstream", "respond", "body"]);
    let upstream = text(&seen["calls"]["slow"][3], "/1");
    assert!(upstream.parse::<f64>().is_ok_and(|took| took >= 390.0), "{}", seen["calls"]["slow"]);
    hold(seen, "/calls/facts", &["Endpoints", "user", "json"]);
    hold(seen, "/calls/failed", &["NOT_FOUND"]);
    hold(seen, "/methods/row", &["catalog.products.read", "cached"]);
    hold(seen, "/methods/policy", &["cache.ttl", "deadline.max", "product_service.proto"]);
    hold(seen, "/form/answered", &["200", "<img src=x onerror=alert(1)>", "What was decided", "authorize"]);
    hold(seen, "/form/dry", &["499", "DRY_RUN"]);
    hold(seen, "/form/denied", &["403", "PERMISSION_MISSING"]);
    hold(seen, "/access/people", &[NAME, EDITOR, "gateway", "accord-admin"]);
    hold(seen, "/access/logins", &["Logins of olga"]);
    hold(seen, "/access/keys", &["EdDSA"]);
    hold(seen, "/access/done", &[NAME]);
    hold(seen, "/access/clientKeys", &["mill-1", "EdDSA"]);
    hold(seen, "/access/identities", &[IDENTITY, "its certificate", "mill", "never", "active"]);
    hold(seen, "/access/apiKeys", &["ak_", "key ", "mill", "all that it may"]);
    hold(seen, "/access/ofHers", &["olga has none."]);
    hold(seen, "/access/revocations", &["ak_", "an API key, and every token that came from it", "command line"]);
    assert_eq!(seen["access"]["rows"], KEYS_OF_A_PAGE, "a list is bounded");
}

/// What is called by keys alone, and that the focus is not lost by it.
fn hold_keys(seen: &Value) {
    assert_eq!(seen["way"], json!(["Skip to the content", "name", "password"]));
    assert_eq!(seen["views"], json!(["Map", "Calls", "Methods", "Try", "Access", "Map"]), "the focus stays");
    assert_eq!(seen["call"]["pressed"], "Failed");
    hold(seen, "/call/chosen", &["catalog.v1.ProductService/GetProduct", "NOT_FOUND", "Caller"]);
    hold(seen, "/call/kept", &["catalog.v1.ProductService/GetProduct"]);
    hold(seen, "/method/opened", &["cache.ttl", "deadline.max"]);
    assert_eq!(seen["method"]["closed"], 0);
    hold(seen, "/method/kept", &["catalog.v1.ProductService/GetProduct"]);
    hold(seen, "/form", &["200", "typed"]);
    assert_eq!(seen["access"]["rows"], 1, "what a first page left");
    assert_ne!(seen["access"]["kept"], "", "the focus goes on in the next page");
}

#[tokio::test]
async fn person_sees_the_gateway_at_work_by_mouse_and_keys_and_nobody_without_the_permission() -> Result<()> {
    // One of its two endpoints is none, so that it is ejected.
    let gone = Port::reserve()?;
    let builder = Fabric::builder()?.script("echo", "tests/clients/echo_server.py")?;
    let builder = builder.upstream("echo", &format!("http://{}", gone.address()));
    let fabric = builder.overlay("tests/clients/overlay.toml").start().await?;
    let seen = looked_at(&fabric).await?;
    hold_views(&seen);
    let refused = &seen["withoutPermission"];
    assert_eq!((&refused["refused"]["code"], &refused["refused"]["status"]), (&"UNAUTHENTICATED".into(), &401.into()));
    hold(refused, "/after", &["accord.gateway.console"]);
    for moment in ["before", "after"] {
        let shown = text(refused, &format!("/{moment}"));
        assert!(!shown.contains("catalog") && refused["isNavHidden"] == true, "{moment}: {shown}");
    }
    hold_keys(&seen["byKeys"]);
    for (view, axe) in seen["axe"].as_object().context("views")? {
        assert_eq!((&axe["found"], &axe["hasJudgedContrast"]), (&json!([]), &true.into()), "{view}");
    }
    assert_eq!(seen["axe"].as_object().map_or(0, serde_json::Map::len), 11);
    assert_eq!(seen["asked"], json!([format!("http://{}", fabric.gateway.admin)]), "nobody else is asked");
    // Chromium tells each refused answer of the form as one, and nothing else may come.
    let problems = seen["problems"].as_array().context("problems")?;
    assert!(problems.iter().all(|it| it.as_str().is_some_and(|it| it.contains("status of 4"))), "{problems:?}");
    assert_eq!(seen["form"]["pictures"], 0, "what an answer holds is text");
    assert_eq!(seen["kept"], json!({"local": 0, "session": 0, "cookies": ""}));
    assert_eq!(seen["unseen"]["whileHidden"], 0);
    assert!(seen["unseen"]["after"].as_u64() > Some(0));
    hold(&seen, "/signedOut", &["Sign in"]);
    fabric.stop().await
}
