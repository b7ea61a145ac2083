//! `cargo xtask attack`: what neighbours feel while one client holds all it can get, and what the gateway's memory is then.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

use accord_fabric::{EDITOR, Fabric, READER, binaries, raw_http2::RawConnection};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::say::{note, say};

/// What `cargo xtask attack` can be asked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Streams that are opened and not read, bodies that are sent without their last byte
    #[arg(long, default_value_t = 4000)]
    count: usize,
    /// Calls of the neighbour in each measurement
    #[arg(long, default_value_t = 500)]
    calls: usize,
}

const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The most that the gateway lets a connection open.
const STREAMS: usize = 100;
/// Just below the largest request.
const BODY: usize = 4_190_100;
/// How long a body is sent before it is left as it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// A product that is read whole by the gateway.
const PRODUCT: &str = "/v1/products/oak-desk";

/// Measures a neighbour alone, and under each attack.
pub(crate) fn run(args: &Args) -> Result<()> {
    note("Building (the first time takes minutes) ...");
    binaries::directory()?;
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    runtime.block_on(attack(args))
}

async fn attack(args: &Args) -> Result<()> {
    let fabric = Fabric::start().await?;
    let product = json!({ "id": "oak-desk", "title": "Oak desk" });
    let (token, neighbour) = (fabric.token(EDITOR).await?, fabric.token(READER).await?);
    let create = fabric.call(Method::POST, "/v1/products").token(&token).header("idempotency-key", "create");
    let created = create.json(&product).send().await?;
    ensure!(created.status.is_success(), "the sample refuses its product: {}", created.text());

    say("attack                      held   failed      p50      p99      RSS   highest")?;
    measure(&fabric, args, &neighbour, "none", 0).await?;
    let streams = stalled_streams(&fabric, &token, args.count).await?;
    measure(&fabric, args, &neighbour, "streams that nobody reads", streams.len() * STREAMS).await?;
    drop(streams);
    let bodies = half_sent_bodies(&fabric, &token, args.count).await?;
    measure(&fabric, args, &neighbour, "bodies without their end", bodies.len()).await?;
    drop(bodies);
    fabric.stop().await
}

/// Streams of answers, with no window to write them into.
async fn stalled_streams(fabric: &Fabric, token: &str, count: usize) -> Result<Vec<RawConnection>> {
    let bearer = ("authorization", &*format!("Bearer {token}"));
    let mut connections = Vec::new();
    for _ in 0..count.div_ceil(STREAMS) {
        let mut connection = RawConnection::open(fabric.gateway.listen, ATTACKER, 0).await?;
        for _ in 0..STREAMS {
            connection.call("/catalog.v1.ProductService/WatchProducts", &[bearer], &[0; 5], true).await?;
        }
        connections.push(connection);
    }
    Ok(connections)
}

async fn half_sent_bodies(fabric: &Fabric, token: &str, count: usize) -> Result<Vec<TcpStream>> {
    let head = "POST /v1/products HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n";
    let mut request =
        format!("{head}authorization: Bearer {token}\r\nidempotency-key: attack\r\ncontent-length: {BODY}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + BODY - 1, b' ');
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4()?;
        socket.bind((ATTACKER, 0).into())?;
        let mut socket = socket.connect(fabric.gateway.listen).await?;
        // Whoever is refused in the middle is closed, and need not send the rest.
        let _ = timeout(PATIENCE, socket.write_all(&request)).await;
        sockets.push(socket);
    }
    Ok(sockets)
}

async fn measure(fabric: &Fabric, args: &Args, token: &str, attack: &str, held: usize) -> Result<()> {
    let (mut times, mut failed) = (Vec::new(), 0);
    for _ in 0..args.calls {
        let begun = Instant::now();
        let answer = fabric.get(PRODUCT).token(token).send().await?;
        times.push(begun.elapsed());
        if !answer.status.is_success() {
            failed += 1;
            note(format_args!("the neighbour was refused: {}", answer.text()));
        }
    }
    times.sort_unstable();
    let percentile = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let (p50, p99) = (percentile(50).as_secs_f64() * 1e3, percentile(99).as_secs_f64() * 1e3);
    let [now, highest] = ["VmRSS", "VmHWM"].map(|name| resident(fabric.gateway.process.id(), name));
    say(format_args!(
        "{attack:<25} {held:>6} {failed:>8} {p50:>5.1} ms {p99:>5.1} ms {:>4} MiB {:>5} MiB",
        now?, highest?
    ))
}

/// What the system says of a process' memory, in MiB.
fn resident(process: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.with_context(|| format!("the system does not tell {name}"))? / 1024)
}
