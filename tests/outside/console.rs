//! The gateway's console, as a person sees it in Chromium while calls are made at the gateway.

use crate::{output, tool};
use accord_fabric::{EDITOR, Fabric, STRANGER, binaries::workspace};
use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use std::fs;

const NAME: &str = "olga";
const PASSWORD: &str = "a password for one test";

async fn looked_at(fabric: &Fabric) -> Result<Value> {
    let password = fabric.directory().join("password");
    fs::write(&password, PASSWORD)?;
    let password = password.display().to_string();
    let roles = ["--role", "accord-admin", "--role", "catalog-reader"];
    let add = ["principal", "add", NAME, "--password-file", &password];
    fabric.manage(&[&add[..], &roles].concat()).await?;
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
    hold(seen, "/map/echo", &["echo", "99th percentile"]);
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
}

#[tokio::test]
async fn person_sees_the_gateway_at_work_by_mouse_and_keys_and_nobody_without_the_permission() -> Result<()> {
    let builder = Fabric::builder()?.script("echo", "tests/clients/echo_server.py")?;
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
    assert_eq!(seen["byKeys"]["way"], json!(["Skip to the content", "name", "password"]));
    assert_eq!(
        seen["byKeys"]["views"],
        json!(["solid", "solid", "solid", "solid", "solid"]),
        "what has the focus shows it"
    );
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
