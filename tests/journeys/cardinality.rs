//! What strangers send makes no series of metrics: names of methods, paths, headers and values are never labels.

use accord_fabric::{Fabric, READER, http::HttpCall};
use anyhow::{Result, ensure};
use futures_util::{StreamExt, stream};
use http::Method;
use std::{collections::BTreeSet, net::SocketAddr};

/// Distinct ones of each kind.
const CALLS: usize = 10_000;
const AT_A_TIME: usize = 32;

/// The series of a binary: names and labels without values. Those of the sizes of answers and of time are as they are.
async fn series(fabric: &Fabric) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for server in [&fabric.gateway, &fabric.auth, &fabric.cache] {
        let text = server.metrics().await?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        all.extend(lines.filter_map(|line| Some(format!("{} {}", server.listen, line.rsplit_once(' ')?.0))));
    }
    Ok(all)
}

/// A stranger's call, and one of somebody known, that nobody has made before: paths, methods of gRPC, and values of headers.
async fn call(address: SocketAddr, token: &str, number: usize) -> Result<()> {
    let path = match number % 4 {
        0 => format!("/random/{number}?query={number}"),
        1 => format!("/shop{number}.v1.Shop/Get{number}"),
        2 => format!("/v1/products/none-{number}"),
        _ => format!("/catalog.v1.ProductService/Method{number}"),
    };
    let method =
        if number.is_multiple_of(5) { Method::from_bytes(format!("M{number}").as_bytes())? } else { Method::GET };
    let word = number.to_string();
    let call = HttpCall::new(address, method, &path).header("user-agent", &word).header("x-request-id", &word);
    let call = call.header("origin", &format!("https://{number}.example")).header("accept-language", &word);
    let call = if number.is_multiple_of(2) { call.token(token) } else { call.header("authorization", &word) };
    let answer = call.send().await?;
    ensure!(answer.status.is_client_error() || answer.status.is_server_error() || answer.status.is_success());
    Ok(())
}

async fn call_all(fabric: &Fabric, token: &str, numbers: impl Iterator<Item = usize>) -> Result<()> {
    let address = fabric.gateway.listen;
    let mut calls = stream::iter(numbers).map(|number| call(address, token, number)).buffer_unordered(AT_A_TIME);
    while let Some(done) = calls.next().await {
        done?;
    }
    Ok(())
}

#[tokio::test]
async fn random_paths_methods_and_headers_make_no_series() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(READER).await?;
    // One of each kind, and a few more: the series of how each ends are there.
    call_all(&fabric, &token, 0..200).await?;
    let before = series(&fabric).await?;
    call_all(&fabric, &token, 200..200 + CALLS).await?;
    let after = series(&fabric).await?;
    let new: Vec<_> = after.difference(&before).collect();
    ensure!(new.len() <= 8 && !new.iter().any(|line| line.contains("overflow")), "{new:#?}");
    // Nothing of what they sent is told.
    let told = |line: &&String| line.contains("none-2") || line.contains("random/") || line.contains("shop2");
    ensure!(!after.iter().any(|line| told(&line)), "{:#?}", after.iter().find(told));
    fabric.stop().await
}
