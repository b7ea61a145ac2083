//! The console: a page on the admin port, what it asks for, and who is told. What a person sees of it, `outside` shows in a browser.

use crate::create;
use accord_fabric::{
    EDITOR, Fabric, Part, STRANGER,
    http::{HttpCall, HttpResponse},
};
use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

const STATE: &str = "accord.gateway.v1.ConsoleService/GetState";
const CALLS: &str = "accord.gateway.v1.ConsoleService/ListCalls";
const POLICIES: &str = "accord.gateway.v1.ConsoleService/ListPolicies";
const PRINCIPALS: &str = "accord.auth.v1.AdminService/ListPrincipals";
const API_KEYS: &str = "accord.auth.v1.AdminService/ListApiKeys";
const IDENTITIES: &str = "accord.auth.v1.AdminService/ListCertificateIdentities";
const CLIENT_KEYS: &str = "accord.auth.v1.AdminService/ListClientKeys";

/// May see the console, and no products.
const OPERATOR: &str = "operator";

async fn with_operator() -> Result<(Fabric, String)> {
    let fabric = Fabric::start().await?;
    fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin"]).await?;
    let operator = fabric.token(OPERATOR).await?;
    Ok((fabric, operator))
}

fn rpc(fabric: &Fabric, method: &str, message: &Value) -> HttpCall {
    HttpCall::new(fabric.gateway.admin, Method::POST, &format!("/console/rpc/{method}")).json(message)
}

fn get(fabric: &Fabric, path: &str) -> HttpCall {
    HttpCall::new(fabric.gateway.admin, Method::GET, path)
}

/// The code and the reason with which a call was refused.
fn refusal(answer: &HttpResponse) -> Result<(u16, String)> {
    let reason = answer.json()?["reason"].as_str().unwrap_or_default().to_owned();
    Ok((answer.status.as_u16(), reason))
}

async fn ask(fabric: &Fabric, token: &str, method: &str, message: &Value) -> Result<Value> {
    let answer = rpc(fabric, method, message).token(token).send().await?;
    assert_eq!(answer.status, 200, "{method}: {}", answer.text());
    answer.json()
}

#[tokio::test]
async fn page_is_served_on_the_admin_port_alone_and_lets_nothing_in_from_elsewhere() -> Result<()> {
    let fabric = Fabric::start().await?;
    let page = get(&fabric, "/console/").send().await?;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").context("a policy")?;
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let others = ["x-frame-options", "x-content-type-options", "referrer-policy", "cache-control"];
    let others = others.map(|name| page.header(name).unwrap_or_default());
    assert_eq!(others, ["DENY", "nosniff", "no-referrer", "no-store"]);
    let script = get(&fabric, "/console/main.js").send().await?;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    let moved = get(&fabric, "/console").send().await?;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, Some("/console/")));
    for (path, status) in [("/console/nothing.js", 404), ("/consoles", 404)] {
        assert_eq!(get(&fabric, path).send().await?.status, status, "{path}");
    }
    for path in ["/console/", "/console/main.js"] {
        assert!(fabric.get(path).send().await?.status.is_client_error(), "the public listener has no {path}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn console_tells_nothing_without_the_permission() -> Result<()> {
    let (fabric, operator) = with_operator().await?;
    let stranger = fabric.token(STRANGER).await?;
    let all = json!({});
    let of_gateway = json!({"clientId": "gateway"});
    for (method, asked) in [STATE, CALLS, POLICIES, PRINCIPALS, API_KEYS, IDENTITIES]
        .map(|method| (method, &all))
        .into_iter()
        .chain([(CLIENT_KEYS, &of_gateway)])
    {
        let nobody = rpc(&fabric, method, asked).send().await?;
        assert_eq!(refusal(&nobody)?, (401, "CREDENTIAL_MISSING".to_owned()), "{method}");
        let refused = rpc(&fabric, method, asked).token(&stranger).send().await?;
        assert_eq!(refusal(&refused)?, (403, "PERMISSION_MISSING".to_owned()), "{method}");
        ask(&fabric, &operator, method, asked).await?;
    }
    // Whoever may not look makes no calls by it either: not even those that they could make at the public listener.
    let editor = fabric.token(EDITOR).await?;
    let call = |token: &str| get(&fabric, "/console/call/v1/products").token(token).send();
    assert_eq!(refusal(&call(&editor).await?)?, (403, "PERMISSION_MISSING".to_owned()));
    assert_eq!(refusal(&get(&fabric, "/console/call/v1/products").send().await?)?.0, 401);
    fabric.stop().await
}

#[tokio::test]
async fn console_answers_its_own_page_and_its_own_methods_alone() -> Result<()> {
    let (fabric, operator) = with_operator().await?;
    let state = || rpc(&fabric, STATE, &json!({})).token(&operator);
    assert_eq!(state().header("sec-fetch-site", "same-origin").send().await?.status, 200);
    for site in ["cross-site", "same-site"] {
        assert_eq!(refusal(&state().header("sec-fetch-site", site).send().await?)?.1, "HEADER_REFUSED", "{site}");
        let call = get(&fabric, "/console/call/v1/products").token(&operator).header("sec-fetch-site", site);
        assert_eq!(refusal(&call.send().await?)?.1, "HEADER_REFUSED", "{site}");
    }
    let path = format!("/console/rpc/{STATE}");
    let form = HttpCall::new(fabric.gateway.admin, Method::POST, &path).token(&operator).body("text/plain", "{}");
    assert_eq!(refusal(&form.send().await?)?, (400, "REQUEST_MALFORMED".to_owned()));
    for method in ["accord.auth.v1.AdminService/SetStanding", "accord.auth.v1.AccessService/Check", "nothing"] {
        let refused = rpc(&fabric, method, &json!({})).token(&operator).send().await?;
        assert_eq!(refusal(&refused)?.1, "METHOD_UNKNOWN", "{method}");
    }
    let unknown = rpc(&fabric, STATE, &json!({"all": true})).token(&operator).send().await?;
    assert_eq!(refusal(&unknown)?, (400, "REQUEST_MALFORMED".to_owned()));
    let large = rpc(&fabric, STATE, &json!({"filler": "x".repeat(65 << 10)})).token(&operator).send().await?;
    assert_eq!(refusal(&large)?, (400, "REQUEST_MALFORMED".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn state_has_endpoints_and_figures_of_calls_and_cached_reads() -> Result<()> {
    let (fabric, operator) = with_operator().await?;
    create(&fabric, "Oak desk").await?;
    let editor = fabric.token(EDITOR).await?;
    for _ in 0..3 {
        fabric.get("/v1/products/oak-desk").token(&editor).send().await?;
    }
    let state = ask(&fabric, &operator, STATE, &json!({})).await?;
    let endpoints = ["/upstreams/0/endpoints/0/address", "/cache/endpoints/0/address", "/auth/endpoints/0/address"];
    let endpoints = endpoints.map(|pointer| state.pointer(pointer).and_then(Value::as_str).unwrap_or_default());
    assert_eq!(endpoints, [&fabric.catalog, &fabric.cache, &fabric.auth].map(accord_fabric::Server::url));
    let series: Vec<_> = state["series"].as_array().into_iter().flatten().collect();
    let sum = |name: &str, label: (&str, &str), member: &str| -> f64 {
        let of = series.iter().filter(|it| it["name"] == name && it["labels"][label.0] == label.1);
        of.map(|it| it[member].as_f64().or_else(|| it[member].as_str()?.parse().ok()).unwrap_or_default()).sum()
    };
    let reads = "accord_gateway_cache_reads_total";
    let outcomes = [sum(reads, ("outcome", "uri-miss"), "value"), sum(reads, ("outcome", "hit"), "value")];
    assert!(outcomes.iter().sum::<f64>() >= 3.0 && outcomes[1] >= 1.0, "{outcomes:?}");
    let method = ("rpc_method", "catalog.v1.ProductService/GetProduct");
    assert!(sum("rpc_server_call_duration_seconds", method, "count") >= 3.0);
    let editor = series.iter().any(|series| series.to_string().contains(EDITOR));
    assert!(!editor, "nobody is named");
    fabric.stop().await
}

#[tokio::test]
async fn failed_call_is_kept_and_calls_after_a_look_are_followed_step_by_step() -> Result<()> {
    let (fabric, operator) = with_operator().await?;
    let editor = fabric.token(EDITOR).await?;
    let missing = || fabric.get("/v1/products/nowhere").token(&editor).send();
    missing().await?;
    let before = ask(&fabric, &operator, CALLS, &json!({})).await?;
    let first = before["calls"].as_array().and_then(|calls| calls.last()).context("a call")?.clone();
    let told = (first["status"].as_str(), first["method"].as_str(), first["principalKind"].as_str());
    assert_eq!(told, (Some("NOT_FOUND"), Some("catalog.v1.ProductService/GetProduct"), Some("user")));
    assert!(first["steps"].as_array().is_none_or(Vec::is_empty), "nobody looked: {first}");
    missing().await?;
    let after = ask(&fabric, &operator, CALLS, &json!({"after": first["seq"]})).await?;
    let calls = after["calls"].as_array().context("calls")?;
    let followed = calls.iter().find(|call| call["status"] == "NOT_FOUND").context("the second call")?;
    let steps: Vec<_> =
        followed["steps"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(steps, ["authenticate", "authorize", "rate_limit", "message", "cache", "respond"], "{followed}");
    let ends: Vec<_> = followed["steps"].as_array().into_iter().flatten().map(|it| it["endMs"].as_f64()).collect();
    assert!(ends.is_sorted() && ends.last() <= Some(&followed["durationMs"].as_f64()), "{followed}");
    for personal in [EDITOR, "nowhere", editor.as_str()] {
        assert!(!after.to_string().contains(personal), "{personal} in {after}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn policies_are_told_page_by_page_with_the_source_of_each_field() -> Result<()> {
    let (fabric, operator) = with_operator().await?;
    let (mut names, mut token) = (Vec::new(), Value::from(""));
    loop {
        let page = ask(&fabric, &operator, POLICIES, &json!({"pageSize": 2, "pageToken": token})).await?;
        let methods = page["methods"].as_array().cloned().unwrap_or_default();
        assert!(methods.len() <= 2 && methods.iter().all(|it| it["sources"][0]["source"].is_string()), "{page}");
        names.extend(methods.iter().filter_map(|it| it["method"].as_str().map(ToOwned::to_owned)));
        token = page["nextPageToken"].clone();
        if token.as_str().unwrap_or_default().is_empty() {
            break;
        }
    }
    let methods = ["CreateProduct", "GetProduct", "ListProducts", "UpdateProduct", "WatchProducts"];
    assert_eq!(names, methods.map(|method| format!("catalog.v1.ProductService/{method}")));
    fabric.stop().await
}

#[tokio::test]
async fn tried_call_meets_the_policies_that_hold_at_the_public_listener() -> Result<()> {
    let (fabric, operator) = with_operator().await?;
    create(&fabric, "Oak desk").await?;
    let product = |token: &str| get(&fabric, "/console/call/v1/products/oak-desk").token(token).send();
    let refused = product(&operator).await?;
    assert_eq!((refused.status.as_u16(), refused.header("x-accord-fault")), (403, Some("auth")), "{}", refused.text());
    fabric.manage(&["role", "grant", OPERATOR, "catalog-reader"]).await?;
    let reader = fabric.token(OPERATOR).await?;
    let path = "/console/call/catalog.v1.ProductService/GetProduct";
    let call = HttpCall::new(fabric.gateway.admin, Method::POST, path).token(&reader).json(&json!({"id": "oak-desk"}));
    let answer = call.header("x-accord-explain", "1").header("x-forwarded-for", "203.0.113.9").send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["product"]["title"]), (200, &"Oak desk".into()));
    let explained: Value = serde_json::from_str(answer.header("x-accord-explained").context("explained")?)?;
    assert_eq!((&explained["listener"], &explained["protocol"]), (&"public".into(), &"connect".into()));
    assert!(answer.header("content-security-policy").is_some(), "whatever an upstream answers is no page here");
    let public = [("accord_listener", "public"), ("rpc_method", "catalog.v1.ProductService/GetProduct")];
    assert!(
        fabric.gateway.metric("rpc_server_call_duration_seconds_count", &public).await? >= 2.0,
        "counted like others"
    );
    fabric.stop().await
}

#[tokio::test]
async fn person_signs_in_by_the_console_with_a_password_and_the_console_can_be_switched_off() -> Result<()> {
    let (fabric, _) = with_operator().await?;
    let password = fabric.directory().join("password");
    std::fs::write(&password, "a password for one test")?;
    let add =
        ["principal", "add", "olga", "--role", "accord-admin", "--password-file", &password.display().to_string()];
    fabric.manage(&add).await?;
    let issue = |password: &str| {
        let grant = json!({"password": {"name": "olga", "password": password}});
        rpc(&fabric, "accord.auth.v1.TokenService/Issue", &grant).send()
    };
    assert_eq!(refusal(&issue("wrong").await?)?.0, 401);
    let issued = issue("a password for one test").await?.json()?;
    let token = issued["accessToken"].as_str().context("a token")?;
    ask(&fabric, token, STATE, &json!({})).await?;
    fabric.stop().await?;
    let off = toml::toml! { console.enabled = false };
    let fabric = Fabric::builder()?.settings(Part::Gateway, off).start().await?;
    assert_eq!(get(&fabric, "/console/").send().await?.status, 404);
    assert_eq!(rpc(&fabric, STATE, &json!({})).send().await?.status, 404);
    fabric.stop().await
}
