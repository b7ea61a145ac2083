//! `cargo xtask attack`: what a neighbour feels while one client holds all that it can get, and what is in memory then.

mod held;
mod logins;
mod neighbour;
mod verdict;

use std::net::{IpAddr, Ipv4Addr};

use accord_api::accord::cache::v1::{PutRequest, cache_service_client::CacheServiceClient};
use accord_fabric::{Bearer, EDITOR, Fabric, Part, READER, Server, binaries};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;

use self::{
    held::{half_sent_bodies, stalled_streams, unread_answers},
    logins::LoginFlood,
    neighbour::Felt,
    verdict::{MEBIBYTE, Verdict},
};
use crate::{
    memory::{forget_highest, resident},
    say::{note, say},
};

/// What `cargo xtask attack` can be asked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Streams that are opened and not read, and bodies that are sent without their last byte
    #[arg(long, default_value_t = 4000)]
    count: usize,
    /// Answers of 4 MiB that are asked for and not read
    #[arg(long, default_value_t = 400)]
    answers: usize,
    /// Logins with invented names that are under way at any time
    #[arg(long, default_value_t = 80)]
    logins: usize,
    /// Calls of the neighbour in each measurement; of logins a tenth
    #[arg(long, default_value_t = 500)]
    calls: usize,
}

/// Whoever holds all that one client can get.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Whoever calls meanwhile.
const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

const OVERLAY: &str = "crates/xtask/src/attack/overlay.toml";
const NAMESPACE: &str = "large";
const KEY: &str = "value";
/// The largest value of a namespace: 4 MiB in JSON.
const VALUE: usize = 3 << 20;

/// Measures a neighbour alone, under each attack, and under all of them at once.
pub(crate) fn run(args: &Args) -> Result<()> {
    note("Building (the first time takes minutes) ...");
    binaries::directory()?;
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    runtime.block_on(attack(args))
}

async fn attack(args: &Args) -> Result<()> {
    let namespace = toml::toml! {
        [[namespace]]
        name = NAMESPACE
        read_permission = "carts.read"
        write_permission = "carts.write"
        max_value_bytes = VALUE
    };
    let builder = Fabric::builder()?.overlay(OVERLAY).cache_fronted();
    let fabric = builder.settings(Part::Cache, namespace).start().await?;
    let mut scene = Scene::new(fabric, args).await?;
    say("attack                         asked  refused   failed       p50       p99       held       RSS   highest")?;
    scene.at_gateway("none", 0).await?;
    let (count, answers, token) = (args.count, args.answers, scene.attacker.clone());

    let streams = stalled_streams(&scene.fabric, &token, count).await?;
    scene.at_gateway("streams that nobody reads", count).await?;
    drop(streams);
    scene.released().await?;

    let bodies = half_sent_bodies(&scene.fabric, &token, count).await?;
    scene.at_gateway("bodies without their end", count).await?;
    drop(bodies);
    scene.released().await?;

    let unread = unread_answers(&scene.fabric, &token, answers).await?;
    scene.at_gateway("answers that nobody reads", answers).await?;
    drop(unread);
    scene.released().await?;

    scene.at_auth("no login", 0).await?;
    let flood = LoginFlood::start(&scene.fabric, args.logins).await?;
    scene.at_auth("logins with invented names", args.logins).await?;

    let streams = stalled_streams(&scene.fabric, &token, count).await?;
    let bodies = half_sent_bodies(&scene.fabric, &token, count).await?;
    let unread = unread_answers(&scene.fabric, &token, answers).await?;
    scene.at_gateway("all at once, at the gateway", 2 * count + answers).await?;
    scene.at_auth("all at once, at auth", args.logins).await?;
    drop((streams, bodies, unread, flood));
    scene.fabric.stop().await?;
    scene.verdict.passed()
}

/// The fabric with whoever calls it, and what has come of it so far.
struct Scene<'a> {
    args: &'a Args,
    fabric: Fabric,
    attacker: String,
    neighbour: String,
    refused: f64,
    verdict: Verdict,
}

impl<'a> Scene<'a> {
    /// With a product that the neighbour reads, and a value that the attacker asks for.
    async fn new(fabric: Fabric, args: &'a Args) -> Result<Self> {
        let (attacker, neighbour) = (fabric.token(EDITOR).await?, fabric.token(READER).await?);
        let product = json!({ "id": "oak-desk", "title": "Oak desk" });
        let create = fabric.call(Method::POST, "/v1/products").token(&attacker).header("idempotency-key", "create");
        let created = create.json(&product).send().await?;
        ensure!(created.status.is_success(), "the sample refuses its product: {}", created.text());
        let mut cache = CacheServiceClient::with_interceptor(fabric.gateway.channel()?, Bearer::new(&attacker)?);
        let (namespace, key, value) = (NAMESPACE.to_owned(), KEY.to_owned(), vec![b'x'; VALUE].into());
        cache.put(PutRequest { namespace, key, value, ..PutRequest::default() }).await?;
        neighbour::add_person(&fabric).await?;
        let budget = fabric.gateway.metric("accord_budget_limit", &[("budget", "memory")]).await?;
        Ok(Self { args, fabric, attacker, neighbour, refused: 0.0, verdict: Verdict::new(budget) })
    }

    /// Waits until nothing of an attack is left.
    async fn released(&mut self) -> Result<()> {
        forget_highest(self.fabric.gateway.process.id())?;
        self.fabric.gateway.await_metric("accord_gateway_calls_active", &[], |active| active < 1.0).await.map(drop)
    }

    async fn at_gateway(&mut self, attack: &str, asked: usize) -> Result<()> {
        let felt = neighbour::reads(&self.fabric, &self.neighbour, self.args.calls).await?;
        let gateway = &self.fabric.gateway;
        let held = gateway.metric("accord_gateway_memory_held_bytes", &[]).await?;
        let highest = resident(gateway.process.id(), "VmHWM")?;
        let refused = shed(gateway).await?;
        say(format_args!(
            "{} {:>5.0} MiB {}",
            row(attack, asked, refused - self.refused, &felt),
            held / MEBIBYTE,
            memory(gateway)?
        ))?;
        self.refused = refused;
        self.verdict.of_calls(attack, &felt);
        self.verdict.of_memory(attack, highest);
        Ok(())
    }

    async fn at_auth(&mut self, attack: &str, asked: usize) -> Result<()> {
        let auth = &self.fabric.auth;
        let before = shed(auth).await?;
        let felt = neighbour::logins(&self.fabric, self.args.calls.div_ceil(10)).await?;
        let refused = shed(auth).await? - before;
        say(format_args!("{} {:>9} {}", row(attack, asked, refused, &felt), "", memory(auth)?))?;
        self.verdict.of_calls(attack, &felt);
        Ok(())
    }
}

/// How much more of a budget somebody was refused who had a share of it.
async fn shed(server: &Server) -> Result<f64> {
    server.metric("accord_budget_shed_total", &[("reason", "share")]).await
}

fn row(attack: &str, asked: usize, refused: f64, felt: &Felt) -> String {
    let [p50, p99] = [50, 99].map(|percent| felt.percentile(percent).as_secs_f64() * 1e3);
    format!("{attack:<28} {asked:>7} {refused:>8} {:>8} {p50:>6.1} ms {p99:>6.1} ms", felt.failed)
}

fn memory(server: &Server) -> Result<String> {
    let [now, highest] = ["VmRSS", "VmHWM"].map(|name| resident(server.process.id(), name));
    Ok(format!("{:>5.0} MiB {:>5.0} MiB", now? / MEBIBYTE, highest? / MEBIBYTE))
}
