//! Pages in a browser: which origins may call, and what they may read.

use crate::{reason, scripted_upstream::ScriptedUpstream};
use accord_fabric::{
    Fabric, Part,
    http::{HttpCall, HttpResponse},
    web::WebProtocol,
};
use anyhow::Result;
use http::Method;

const SAY: &str = "/echo.v1.EchoService/Say";
const SHOP: &str = "https://shop.example";

async fn with_origins() -> Result<(ScriptedUpstream, Fabric)> {
    let settings = toml::toml! {
        [cors]
        origins = ["https://shop.example", "https://*.preview.example"]
        credentials = true
        max_age = "5m"
        expose_headers = ["x-shelf"]
    };
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.settings(Part::Gateway, settings).start().await?;
    Ok((echo, fabric))
}

fn preflight(fabric: &Fabric, path: &str, origin: &str) -> HttpCall {
    let call = fabric.call(Method::OPTIONS, path).header("origin", origin);
    let call = call.header("access-control-request-method", "POST");
    call.header("access-control-request-headers", "authorization,connect-protocol-version")
}

fn allowed(answer: &HttpResponse) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

/// Whether its answer is said to be another one for pages of other origins.
fn varies_by_origin(answer: &HttpResponse) -> bool {
    answer.headers.get_all("vary").iter().any(|names| names == "origin")
}

#[tokio::test]
async fn preflight_of_an_allowed_origin_is_answered_before_authentication() -> Result<()> {
    let (echo, fabric) = with_origins().await?;
    for (path, origin) in [(SAY, SHOP), ("/v1/words/a:change", "https://pr-7.preview.example"), ("/nowhere", SHOP)] {
        let answer = preflight(&fabric, path, origin).send().await?;
        assert_eq!((answer.status.as_u16(), allowed(&answer)), (204, Some(origin)), "{path}");
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization,connect-protocol-version"), "{path}");
        assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-max-age"), Some("300"));
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("origin")));
    }
    assert_eq!(echo.calls_received(), 0);
    fabric.stop().await
}

#[tokio::test]
async fn preflight_of_another_origin_is_allowed_nothing() -> Result<()> {
    let (_echo, fabric) = with_origins().await?;
    for origin in ["https://evil.example", "https://a.b.preview.example", "http://shop.example", "null"] {
        let answer = preflight(&fabric, SAY, origin).send().await?;
        assert_eq!((answer.status.as_u16(), allowed(&answer)), (405, None), "{origin}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn page_of_an_allowed_origin_reads_answers_and_refusals_in_every_protocol() -> Result<()> {
    let (_echo, fabric) = with_origins().await?;
    for protocol in WebProtocol::UNARY {
        for (method, is_ok) in [("Say", true), ("Compute", false)] {
            let call = fabric.call(Method::POST, &format!("/echo.v1.EchoService/{method}")).header("origin", SHOP);
            let answer = protocol.send(protocol.call(call, &["a"])).await?;
            assert_eq!(answer.code == tonic::Code::Ok, is_ok, "{protocol:?}");
            assert_eq!(answer.head["access-control-allow-origin"], SHOP, "{protocol:?} {method}");
            let exposed = answer.head["access-control-expose-headers"].to_str()?;
            for name in
                ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "ratelimit", "x-shelf"]
            {
                assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}: {exposed}");
            }
        }
    }
    let answer = fabric.get("/v1/words/a").header("origin", "https://evil.example").send().await?;
    assert_eq!((allowed(&answer), varies_by_origin(&answer)), (None, true));
    fabric.stop().await
}

#[tokio::test]
async fn without_origins_there_is_no_cors() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let answer = preflight(&fabric, SAY, SHOP).send().await?;
    assert_eq!((answer.status.as_u16(), allowed(&answer)), (405, None));
    assert_eq!(reason(&answer), "METHOD_UNKNOWN");
    let answer = fabric.get("/v1/words/a").header("origin", SHOP).send().await?;
    assert_eq!((allowed(&answer), varies_by_origin(&answer)), (None, false));
    fabric.stop().await
}
