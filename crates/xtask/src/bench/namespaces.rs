//! Keys of a namespace, beside the same in Redis and memcached: one at a time without pipelining, or many in one call beside
//! a pipeline or a command with as many keys.

use std::{net::SocketAddr, process::Command};

use accord_api::accord::cache::v1::{
    BatchGetRequest, GetRequest, PutRequest, cache_service_client::CacheServiceClient,
};
use accord_fabric::{Bearer, Fabric};
use anyhow::{Context, Result, ensure};
use prost::Message;

use super::{
    load::{self, Protocol, Request, Tool},
    peers::{self, Peers},
    probe,
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::Stage,
    varied::Varied,
};

/// The one that the stage's cache has, and that its editor may use.
const NAMESPACE: &str = "carts";
const VALUE: [u8; 100] = [b'v'; 100];
/// As many in flight as over 8 connections with 16 streams.
const CONNECTIONS: u32 = 128;
/// Of batches fewer do.
const BATCH_CONNECTIONS: u32 = 8;

/// Measures reads of so many keys at once, per key.
pub(super) async fn run(
    keys: u32,
    stage: &Stage,
    peers: &Peers,
    (load, varied): (&Tool, &Varied),
    amount: Amount,
) -> Result<Vec<Figures>> {
    let mut subjects = Vec::new();
    for (name, fabric, token) in &stage.fabrics {
        let (address, request) = prepared(keys, fabric, token).await?;
        subjects.push(Subject {
            name: (*name).to_owned(),
            processes: vec![fabric.cache.process.id()],
            per_request: keys,
            send: Box::new(move |count| load.send(address, &request, count)),
        });
    }
    if let Some((address, process)) = peers.process("Redis") {
        fill_redis(address)?;
        let send = Box::new(move |count| ask_redis(address, keys, count));
        subjects.push(Subject { name: "Redis".to_owned(), processes: vec![process], per_request: keys, send });
    }
    if let Some((address, process)) = peers.process("memcached") {
        let send = Box::new(move |count| varied.memcached(address, keys, connections(keys), count));
        subjects.push(Subject { name: "memcached".to_owned(), processes: vec![process], per_request: keys, send });
    }
    rounds::interleaved(&subjects, amount)
}

fn connections(keys: u32) -> u32 {
    if keys == 1 { CONNECTIONS } else { BATCH_CONNECTIONS }
}

/// Puts what is read, and sees that it is there; where a read of it goes, and the read.
pub(super) async fn prepared(keys: u32, fabric: &Fabric, token: &str) -> Result<(SocketAddr, Request)> {
    put(fabric.cache.channel()?, token, keys).await?;
    let (address, request) = (fabric.cache.listen, request(keys, token));
    let answer = probe::ask(address, &request).await?;
    answer.ensure_ok(Protocol::Grpc)?;
    ensure!(answer.holds(&VALUE, keys as usize), "the cache does not hold what was put");
    Ok((address, request))
}

/// A read of the first keys.
pub(super) fn request(keys: u32, token: &str) -> Request {
    let namespace = NAMESPACE.to_owned();
    let (method, message) = if keys == 1 {
        ("Get", GetRequest { namespace, key: key(0), consistency: None }.encode_to_vec())
    } else {
        (
            "BatchGet",
            BatchGetRequest { namespace, keys: (0..keys).map(key).collect(), consistency: None }.encode_to_vec(),
        )
    };
    let path = format!("/accord.cache.v1.CacheService/{method}");
    Request {
        protocol: Protocol::Grpc,
        path,
        token: Some(token.to_owned()),
        body: Some(load::framed(&message)),
        trusted: None,
    }
}

fn key(number: u32) -> String {
    format!("key-{number}")
}

async fn put(channel: tonic::transport::Channel, token: &str, keys: u32) -> Result<()> {
    let mut client = CacheServiceClient::with_interceptor(channel, Bearer::new(token)?);
    for number in 0..keys {
        let namespace = NAMESPACE.to_owned();
        client
            .put(PutRequest { namespace, key: key(number), value: VALUE.to_vec().into(), ..PutRequest::default() })
            .await?;
    }
    Ok(())
}

fn fill_redis(address: SocketAddr) -> Result<()> {
    let value = String::from_utf8_lossy(&VALUE).into_owned();
    let redis = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &address.port().to_string()]).args(arguments).output();
        Ok::<_, anyhow::Error>(
            String::from_utf8_lossy(&output.context("redis-cli could not be started")?.stdout).into_owned(),
        )
    };
    redis(&["SET", &key(0), &value])?;
    ensure!(redis(&["GET", &key(0)])?.trim() == value, "Redis does not hold what was put");
    Ok(())
}

/// One key again and again, so many in a pipeline.
fn ask_redis(address: SocketAddr, keys: u32, count: u32) -> Result<()> {
    let mut command = Command::new(peers::debian("redis-benchmark", "redis-tools")?);
    command.args([
        "-p",
        &address.port().to_string(),
        "-c",
        &connections(keys).to_string(),
        "-P",
        &keys.to_string(),
        "-q",
    ]);
    command.args(["-n", &(count * keys).to_string(), "GET", &key(0)]);
    let output = command.output().context("redis-benchmark could not be started")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !said.contains("rror"), "redis-benchmark failed: {said}");
    Ok(())
}
