//! Requests held against the rules of `buf.validate` in their messages, before anybody else sees them.

use crate::{
    scripted_upstream::ScriptedUpstream,
    wire::{GrpcCall, frame},
};
use accord_fabric::{Fabric, Part};
use anyhow::{Context, Result, ensure};
use http::Method;
use prost_protovalidate_types::DESCRIPTOR_POOL;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::json;
use std::fs;
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt;

const PROTO: &str = r#"
    syntax = "proto3";
    package echo.v1;
    import "buf/validate/validate.proto";
    service EchoService {
      rpc Place(Order) returns (Order);
      rpc Pass(Order) returns (Order);
    }
    message Order {
      option (buf.validate.message).cel = {
        id: "order.gift", message: "a gift has a single piece", expression: "!this.gift || this.count == 1u"
      };
      string email = 1 [(buf.validate.field).string.email = true];
      uint32 count = 2 [(buf.validate.field).uint32 = { gte: 1, lte: 10 }];
      bool gift = 3;
      repeated Order parts = 4;
    }
"#;

const OVERLAY: &str = r#"
[[rule]]
selector = "echo.v1.EchoService/*"
policy = { access = { public = true } }

[[rule]]
selector = "echo.v1.EchoService/Place"
http = { post = "/v1/orders", body = "*" }
policy = { validate = true }
"#;

/// Files in memory: the test's own, and the published rules.
struct Files;

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let published = DESCRIPTOR_POOL.get_file_by_name(name).filter(|_| name.starts_with("buf/"));
        match published.map(|file| File::decode_file_descriptor_proto(&*file.encode_to_vec())) {
            Some(Ok(file)) => Ok(file),
            None if name == "order.proto" => File::from_source(name, PROTO),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The gateway before an upstream that sends back what it gets.
async fn start() -> Result<(TempDir, ScriptedUpstream, Fabric)> {
    start_with(toml::Table::new()).await
}

async fn start_with(gateway: toml::Table) -> Result<(TempDir, ScriptedUpstream, Fabric)> {
    let directory = tempfile::tempdir()?;
    let (set, overlay) = (directory.path().join("order.binpb"), directory.path().join("overlay.toml"));
    let mut files = ChainFileResolver::new();
    files.add(Files);
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    fs::write(&set, compiler.include_imports(true).open_file("order.proto")?.encode_file_descriptor_set())?;
    fs::write(&overlay, OVERLAY)?;
    let upstream = ScriptedUpstream::start().await?;
    let descriptors = set.display().to_string();
    let settings = toml::toml! { descriptors = descriptors };
    let builder = Fabric::builder()?.upstream("orders", upstream.url()).upstream_settings("orders", settings);
    let fabric = builder.overlay(overlay).settings(Part::Gateway, gateway).start().await?;
    Ok((directory, upstream, fabric))
}

/// An order of eleven pieces for nobody.
const WRONG: &[u8] = b"\x0a\x06nobody\x10\x0b";

#[tokio::test]
async fn request_that_breaks_rules_is_refused_with_each_field_and_the_upstream_sees_none() -> Result<()> {
    let (_directory, upstream, fabric) = start().await?;
    let call = GrpcCall::to(fabric.gateway.listen, "/echo.v1.EchoService/Place").body(frame(0, WRONG));
    let status = call.send().await?.status();
    let details = status.get_details_bad_request().context("no BadRequest")?;
    let fields: Vec<_> = details.field_violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!((status.code(), fields), (Code::InvalidArgument, vec!["email", "count"]), "{status:?}");
    let order = json!({ "email": "ada@example.org", "count": 2, "gift": true });
    let answer = fabric.call(Method::POST, "/v1/orders").json(&order).send().await?;
    ensure!(answer.status.as_u16() == 400 && answer.text().contains("a gift has a single piece"), "{}", answer.text());
    assert_eq!(upstream.calls_received(), 0);
    fabric.stop().await
}

#[tokio::test]
async fn request_within_its_rules_is_passed_on() -> Result<()> {
    let (_directory, upstream, fabric) = start().await?;
    let order = json!({ "email": "ada@example.org", "count": 2, "gift": false });
    let answer = fabric.call(Method::POST, "/v1/orders").json(&order).send().await?;
    ensure!(answer.status.as_u16() == 200 && answer.json()?["count"] == 2, "{}", answer.text());
    assert_eq!(upstream.calls_received(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn request_of_a_method_that_is_not_read_is_held_against_no_rule() -> Result<()> {
    let (_directory, upstream, fabric) = start().await?;
    let call = GrpcCall::to(fabric.gateway.listen, "/echo.v1.EchoService/Pass").body(frame(0, WRONG));
    assert_eq!(call.send().await?.code(), Code::Ok);
    assert_eq!(upstream.calls_received(), 1);
    fabric.stop().await
}

/// An order of so many parts with nothing in them, each two bytes long.
fn order_of(parts: usize) -> Vec<u8> {
    [&b"\x0a\x0fada@example.org\x10\x02"[..], &[0x22, 0].repeat(parts)].concat()
}

#[tokio::test]
async fn tree_of_a_small_request_may_be_more_than_a_caller_has() -> Result<()> {
    let (_directory, upstream, fabric) = start_with(toml::toml! { limits.max_memory = 4_194_304 }).await?;
    let place =
        |parts| GrpcCall::to(fabric.gateway.listen, "/echo.v1.EchoService/Place").body(frame(0, &order_of(parts)));
    let refused = place(100_000).send().await?;
    assert_eq!(refused.refusal(), (Code::ResourceExhausted, "OVERLOADED".into()));
    let looked_at = place(5_000).send().await?.status();
    assert_eq!(
        looked_at.code(),
        Code::InvalidArgument,
        "looked at beside the workers, and its parts are wrong: {looked_at:?}"
    );
    assert_eq!(upstream.calls_received(), 0);
    fabric.stop().await
}
