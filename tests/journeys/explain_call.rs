//! Live explain: what was decided about a call, told to callers who may know it, and calls that are only tried.

use crate::{
    create, desk, reason,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::GrpcCall,
};
use accord_fabric::{
    EDITOR, Fabric,
    http::{HttpCall, HttpResponse},
    web::WebProtocol,
    websocket::{Format, WebSocketCall},
};
use anyhow::{Context, Result};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::Code;

const PRODUCT: &str = "/v1/products/oak-desk";
const ASK: &str = "x-accord-explain";
const TOLD: &str = "x-accord-explained";

/// May read products, and may know what the gateway decides.
const OPERATOR: &str = "operator";

/// The gateway before the catalog, of which a product may be read twice an hour, and before an upstream that tests script.
struct Stage {
    echo: ScriptedUpstream,
    fabric: Fabric,
    operator: String,
    editor: String,
}

impl Stage {
    async fn begin() -> Result<Self> {
        let echo = ScriptedUpstream::start().await?;
        let fabric = echo.behind()?.overlay("tests/journeys/rate_limit.toml").start().await?;
        fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin", "--role", "catalog-reader"]).await?;
        create(&fabric, "Oak desk").await?;
        let (operator, editor) = (fabric.token(OPERATOR).await?, fabric.token(EDITOR).await?);
        Ok(Self { echo, fabric, operator, editor })
    }

    async fn get(&self, path: &str, token: &str, ask: &str) -> Result<HttpResponse> {
        self.fabric.get(path).token(token).header(ASK, ask).send().await
    }

    fn put(&self, token: &str) -> HttpCall {
        self.fabric.call(Method::PUT, PRODUCT).token(token).json(&desk("Another desk"))
    }

    /// A call of the echo by the operator in gRPC.
    fn say(&self, method: &str, ask: &str) -> GrpcCall {
        let call = GrpcCall::new(&self.fabric, method, "word").header(ASK, ask);
        call.header("authorization", &format!("Bearer {}", self.operator))
    }
}

fn told(head: &HeaderMap) -> Result<Value> {
    let told = head.get(TOLD).with_context(|| format!("nothing is told: {head:?}"))?;
    anyhow::ensure!(told.len() <= 2048 && told.as_bytes().is_ascii(), "{told:?}");
    Ok(serde_json::from_slice(told.as_bytes())?)
}

fn steps(told: &Value) -> Vec<&str> {
    told["steps"].as_array().into_iter().flatten().filter_map(|step| step[0].as_str()).collect()
}

#[tokio::test]
async fn explained_call_is_told_what_was_decided_step_by_step() -> Result<()> {
    let stage = Stage::begin().await?;
    let answer = stage.fabric.get(PRODUCT).token(&stage.operator).header(ASK, "1").header("request-timeout", "1.5");
    let told = told(&answer.send().await?.headers)?;
    let expected = json!({
        "mode": "call", "method": "catalog.v1.ProductService/GetProduct", "binding": "GET /v1/products/{id}",
        "protocol": "json", "listener": "public", "principal": {"kind": "user", "subject": OPERATOR},
        "deadline": {"timeout_ms": 1500.0, "from": "caller"}, "upstream": "catalog",
    });
    for (fact, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(&told[fact], value, "{fact} in {told}");
    }
    let access = &told["access"];
    assert_eq!((&access["needs"], &access["decision"]), (&json!("catalog.products.read"), &json!("allowed")), "{told}");
    let policy = access["policies"][0].as_str().unwrap_or_default();
    assert!(policy.contains("policies.cedar#"), "{told}");
    let limit = &told["limits"][0];
    assert_eq!(
        (&limit["by"], &limit["requests"], &limit["left"]),
        (&json!("principal"), &json!(2), &json!(1)),
        "{told}"
    );
    assert_eq!((&told["cache"]["outcome"], &told["cache"]["near"]), (&json!("uri-miss"), &json!(false)), "{told}");
    assert_eq!(
        steps(&told),
        ["authenticate", "explain", "authorize", "rate_limit", "message", "cache", "respond"],
        "{told}"
    );
    let left: Vec<_> = told["steps"].as_array().into_iter().flatten().filter_map(|step| step[2].as_f64()).collect();
    assert!(
        left.is_sorted_by(|one, next| one >= next) && left.iter().all(|left| (0.0..1500.0).contains(left)),
        "{told}"
    );
    stage.fabric.stop().await
}

#[tokio::test]
async fn explanation_is_told_in_the_head_of_every_protocol() -> Result<()> {
    let stage = Stage::begin().await?;
    let mut heads = vec![("grpc", stage.say("Say", "1").send().await?.head)];
    let call = || stage.fabric.call(Method::POST, "/echo.v1.EchoService/Say").token(&stage.operator).header(ASK, "1");
    for protocol in WebProtocol::UNARY {
        let name = if protocol.is_connect() { "connect" } else { "grpc_web" };
        heads.push((name, protocol.send(protocol.call(call(), &["word"])).await?.head));
    }
    heads.push(("json", call().body("text/plain", r#"{"text":"word"}"#).send().await?.headers));
    for (protocol, head) in heads {
        let told = told(&head)?;
        assert_eq!(
            (&told["protocol"], &told["method"]),
            (&json!(protocol), &json!("echo.v1.EchoService/Say")),
            "{told}"
        );
        assert_eq!((&told["attempts"]["made"], &told["access"]["needs"]), (&json!(1), &json!("nothing")), "{told}");
        assert_eq!(told["attempts"]["endpoints"], json!([stage.echo.url()]), "{told}");
    }
    stage.fabric.stop().await
}

#[tokio::test]
async fn call_that_is_refused_after_authentication_is_told_why() -> Result<()> {
    let stage = Stage::begin().await?;
    let denied = stage.put(&stage.operator).header(ASK, "1").send().await?;
    let access = &told(&denied.headers)?["access"];
    assert_eq!((denied.status.as_u16(), access), (403, &json!({"needs": "catalog.products.write"})));
    for _ in 0..2 {
        assert_eq!(stage.get(PRODUCT, &stage.operator, "1").await?.status, 200);
    }
    let limited = stage.get(PRODUCT, &stage.operator, "1").await?;
    let told = told(&limited.headers)?;
    assert_eq!((limited.status.as_u16(), &told["reason"]), (429, &json!("RATE_LIMITED")));
    assert!(told["limits"][0]["retry_after_ms"].as_f64() > Some(0.0), "{told}");
    stage.fabric.stop().await
}

#[tokio::test]
async fn retries_and_hedges_of_a_call_are_told_with_their_endpoints() -> Result<()> {
    let stage = Stage::begin().await?;
    stage.echo.script([Reply::error(Code::Unavailable)]);
    let repeated = told(&stage.say("Repeat", "1").send().await?.head)?;
    assert_eq!((&repeated["attempts"]["made"], &repeated["attempts"]["hedges"]), (&json!(2), &json!(0)), "{repeated}");
    stage.echo.script([Reply::ok(&crate::wire::word("late")).after(&Arc::new(Notify::new()))]);
    let raced = told(&stage.say("Race", "1").send().await?.head)?;
    assert_eq!((&raced["attempts"]["made"], &raced["attempts"]["hedges"]), (&json!(2), &json!(1)), "{raced}");
    stage.fabric.stop().await
}

#[tokio::test]
async fn explanation_is_told_to_nobody_without_the_permission() -> Result<()> {
    let stage = Stage::begin().await?;
    let answer = stage.get(PRODUCT, &stage.editor, "1").await?;
    assert_eq!((answer.status.as_u16(), answer.headers.get(TOLD)), (200, None));
    let anonymous = GrpcCall::new(&stage.fabric, "Say", "word").header(ASK, "1").send().await?;
    assert_eq!((anonymous.code(), anonymous.head.get(TOLD)), (Code::Ok, None));
    assert!(stage.echo.take_received().iter().all(|call| !call.headers.contains_key(ASK)), "it ends at the gateway");
    stage.fabric.stop().await
}

#[tokio::test]
async fn dry_run_without_the_permission_is_refused_and_calls_nobody() -> Result<()> {
    let stage = Stage::begin().await?;
    let refused = stage.put(&stage.editor).header(ASK, "dry-run").send().await?;
    assert_eq!((refused.status.as_u16(), reason(&refused)), (403, "PERMISSION_MISSING".to_owned()));
    assert!(refused.text().contains("accord.gateway.explain"), "{}", refused.text());
    let slip = stage.put(&stage.editor).header(ASK, "dryrun").send().await?;
    assert_eq!((slip.status.as_u16(), reason(&slip)), (400, "HEADER_REFUSED".to_owned()));
    let anonymous = GrpcCall::new(&stage.fabric, "Say", "word").header(ASK, "dry-run").send().await?;
    assert_eq!(anonymous.refusal(), (Code::PermissionDenied, "PERMISSION_MISSING".to_owned()));
    assert_eq!(stage.get(PRODUCT, &stage.operator, "1").await?.json()?["title"], "Oak desk");
    assert_eq!(stage.echo.calls_received(), 0);
    stage.fabric.stop().await
}

#[tokio::test]
async fn dry_run_takes_from_no_limit_reads_no_cache_and_says_what_would_answer() -> Result<()> {
    let stage = Stage::begin().await?;
    for _ in 0..3 {
        let dry = stage.get(PRODUCT, &stage.operator, "dry-run").await?;
        assert_eq!((dry.status.as_u16(), reason(&dry)), (499, "DRY_RUN".to_owned()));
        let told = told(&dry.headers)?;
        assert_eq!((&told["mode"], &told["next"]), (&json!("dry-run"), &json!("cache")), "{told}");
        assert_eq!((&told["limits"][0]["left"], &told["attempts"]), (&json!(1), &Value::Null), "{told}");
    }
    let first = told(&stage.get(PRODUCT, &stage.operator, "1").await?.headers)?;
    assert_eq!((&first["cache"]["outcome"], &first["limits"][0]["left"]), (&json!("uri-miss"), &json!(1)), "{first}");
    stage.get(PRODUCT, &stage.operator, "1").await?;
    let limited = stage.get(PRODUCT, &stage.operator, "dry-run").await?;
    assert_eq!((limited.status.as_u16(), reason(&limited)), (429, "RATE_LIMITED".to_owned()));
    stage.fabric.stop().await
}

#[tokio::test]
async fn dry_run_calls_no_upstream_in_any_protocol() -> Result<()> {
    let stage = Stage::begin().await?;
    let dry = (Code::Cancelled, "DRY_RUN".to_owned());
    for method in ["Say", "Recite", "Change"] {
        let answer = stage.say(method, "dry-run").send().await?;
        assert_eq!((answer.refusal(), &told(&answer.head)?["next"]), (dry.clone(), &json!("upstream")), "{method}");
    }
    let kept = stage.say("Keep", "dry-run").key("once").send().await?;
    assert_eq!((kept.refusal(), &told(&kept.head)?["next"]), (dry.clone(), &json!("idempotency")));
    for protocol in WebProtocol::UNARY {
        let call = stage.fabric.call(Method::POST, "/echo.v1.EchoService/Say").token(&stage.operator);
        let answer = protocol.send(protocol.call(call.header(ASK, "dry-run"), &["word"])).await?;
        assert_eq!((answer.code, answer.reason()), dry, "{protocol:?}");
    }
    for format in [Format::Json, Format::Proto] {
        let call = WebSocketCall::new(stage.fabric.gateway.listen, "/echo.v1.EchoService/Say", format);
        let answer = call.header("authorization", &format!("Bearer {}", stage.operator))?.header(ASK, "dry-run")?;
        let answer = answer.send(&["word"]).await?;
        assert_eq!((answer.code, answer.reason().to_owned()), dry, "{format:?}");
    }
    assert_eq!(stage.echo.calls_received(), 0);
    stage.fabric.stop().await
}

#[tokio::test]
async fn dry_run_of_a_request_that_is_refused_is_refused_alike() -> Result<()> {
    let stage = Stage::begin().await?;
    let unknown = stage.get("/v1/products/oak-desk?nowhere=1", &stage.operator, "dry-run").await?;
    assert_eq!((unknown.status.as_u16(), reason(&unknown)), (400, "FIELD_UNKNOWN".to_owned()));
    let denied = stage.put(&stage.operator).header(ASK, "dry-run").send().await?;
    assert_eq!((denied.status.as_u16(), reason(&denied)), (403, "PERMISSION_MISSING".to_owned()));
    assert_eq!(told(&denied.headers)?["access"], json!({"needs": "catalog.products.write"}));
    let malformed = stage.say("Keep", "dry-run").key("two words").send().await?;
    assert_eq!(malformed.refusal(), (Code::InvalidArgument, "HEADER_REFUSED".to_owned()));
    stage.fabric.stop().await
}

#[tokio::test]
async fn explanations_that_are_switched_off_are_told_to_nobody() -> Result<()> {
    let off = toml::toml! { explain.enabled = false };
    let fabric = Fabric::builder()?.settings(accord_fabric::Part::Gateway, off).start().await?;
    fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin", "--role", "catalog-reader"]).await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(OPERATOR).await?;
    let call = |ask| fabric.get(PRODUCT).token(&token).header(ASK, ask).send();
    let (plain, dry) = (call("1").await?, call("dry-run").await?);
    assert_eq!((plain.status.as_u16(), plain.headers.get(TOLD)), (200, None));
    assert_eq!((dry.status.as_u16(), dry.text().contains("explain.enabled")), (403, true), "{}", dry.text());
    fabric.stop().await
}
