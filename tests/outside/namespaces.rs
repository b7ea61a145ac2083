//! A namespace of the cache, as clients of others use it: curl, grpcurl, buf and Python, with the lines that the guide shows.

use crate::{go, output, tool};
use accord_fabric::{EDITOR, Fabric, binaries::workspace};
use anyhow::Result;
use serde_json::{Value, json};

/// `milk` as JSON has bytes.
const MILK: &str = "bWlsaw==";

/// The fabric as `up` starts it, which declares the namespace `carts`, and the token that `up` gives.
async fn with_carts() -> Result<(Fabric, String)> {
    let fabric = Fabric::builder()?.orders().start().await?;
    let token = fabric.token(EDITOR).await?;
    Ok((fabric, token))
}

/// Runs a file of the guide's lines, and returns the JSON documents that it prints.
async fn lines(fabric: &Fabric, token: &str, file: &str) -> Result<Vec<Value>> {
    let lines = std::fs::read_to_string(workspace().join("tests/clients/namespaces").join(file))?;
    let lines = lines.replace("127.0.0.1:8080", &fabric.gateway.listen.to_string());
    let printed = output("sh", &["-e", "-c", &format!("TOKEN={token}\n{lines}")]).await?;
    Ok(serde_json::Deserializer::from_str(&printed).into_iter().collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn curl_puts_reads_touches_deletes_invalidates_and_counts() -> Result<()> {
    let (fabric, token) = with_carts().await?;
    let answers = lines(&fabric, &token, "curl.sh").await?;
    let [put, read, batch, touched, deleted, by_tag, by_prefix, stats] = &answers[..] else {
        anyhow::bail!("{answers:?}")
    };
    assert_eq!((&read["value"], &read["version"]), (&json!(MILK), &put["version"]));
    assert_eq!((&batch["entries"][0]["version"], &batch["absent"]), (&put["version"], &json!(["bob"])));
    assert_eq!((&touched["version"], &deleted["version"]), (&put["version"], &put["version"]));
    let all = json!("ACKNOWLEDGEMENT_ALL_REPLICAS");
    assert_eq!((&by_tag["acknowledgement"], &by_prefix["acknowledgement"]), (&all, &all));
    assert_eq!((&stats["puts"], &stats["hits"]), (&json!("1"), &json!("2")), "{stats}");
    fabric.stop().await
}

#[tokio::test]
async fn grpcurl_and_buf_put_read_and_delete() -> Result<()> {
    let (fabric, token) = with_carts().await?;
    for file in ["grpcurl.sh", "buf.sh"] {
        let answers = lines(&fabric, &token, file).await?;
        let [put, read, deleted] = &answers[..] else { anyhow::bail!("{answers:?}") };
        assert_eq!((&read["entry"]["value"], &read["entry"]["version"]), (&json!(MILK), &put["version"]), "{file}");
        assert_eq!(deleted["version"], put["version"], "{file}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn grpcio_changes_a_value_by_compare_and_set_and_invalidates_it() -> Result<()> {
    let (fabric, token) = with_carts().await?;
    let script = workspace().join("tests/clients/namespaces/main.py").display().to_string();
    let target = fabric.gateway.listen.to_string();
    let seen = output(&tool("ACCORD_TEST_PYTHON")?, &[&script, "--target", &target, "--token", &token]).await?;
    let expected = json!({
        "value": "milk",
        "same_version": true,
        "other_version": true,
        "conflict": "ABORTED",
        "absent": "NOT_FOUND",
    });
    assert_eq!(serde_json::from_str::<Value>(&seen)?, expected);
    fabric.stop().await
}

#[tokio::test]
async fn grpc_go_changes_a_value_by_compare_and_set() -> Result<()> {
    let (fabric, token) = with_carts().await?;
    let directory = tempfile::tempdir()?;
    let protos = ["cache/v1/cache_service.proto", "cache/v1/read_through_service.proto", "policy/v1/policy.proto"];
    let protos = protos.map(|proto| format!("accord/{proto}"));
    let protos = protos.each_ref().map(String::as_str);
    let program = go::build(directory.path(), &protos, "tests/clients/namespaces/main.go").await?;
    let target = fabric.gateway.listen.to_string();
    let seen = output(&program, &["--target", &target, "--token", &token]).await?;
    let expected = json!({ "value": "milk", "same_version": true, "other_version": true, "conflict": "Aborted" });
    assert_eq!(serde_json::from_str::<Value>(&seen)?, expected);
    fabric.stop().await
}
