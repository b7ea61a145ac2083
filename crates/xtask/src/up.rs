//! `cargo xtask up`: the fabric of the tests, left running on the documented ports, with the sample's records in it.

mod live;
mod records;
mod stop;

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use accord_fabric::{Addresses, EDITOR, Ended, Fabric, Part, READER, binaries};
use anyhow::{Context, Result, anyhow, bail};

use self::stop::Stop;
use crate::tour::{self, Scene};

/// How `up` can be called.
#[derive(clap::Args)]
pub struct Args {
    /// Run the printed lines, show what came, stop everything, and tell by the exit status whether all was well
    #[arg(long)]
    once: bool,
    /// Where development keys, databases and logs are kept
    #[arg(long, value_name = "DIR", default_value = ".accord")]
    data: PathBuf,
}

/// Builds, starts, shows, and stops.
pub fn run(Args { once, data }: Args) -> Result<()> {
    if once {
        tour::require_tools()?;
    }
    // Before the build: it takes minutes the first time, and would be waited for in vain.
    require_ports()?;
    eprintln!("Building (the first time takes minutes) ...");
    binaries::directory()?;
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    runtime.block_on(up(once, &data)).map_err(in_one_sentence)
}

async fn up(once: bool, data: &Path) -> Result<()> {
    let mut stop = Stop::listen()?;
    eprintln!("Starting auth, cache, catalog and gateway ...");
    let mut fabric = tokio::select! {
        fabric = start(data) => fabric?,
        // What has been started is killed when the half-made fabric is dropped.
        () = stop.asked() => bail!("stopped before everything was up"),
    };
    let shown = tokio::select! {
        shown = show(once, &mut fabric) => shown,
        () = stop.asked() => if once { Err(anyhow!("stopped before the tour's end")) } else { Ok(()) },
    };
    eprintln!("\nDraining ...");
    // Another Ctrl-C is impatience: the fabric is dropped, and so killed.
    let stopped = tokio::select! {
        stopped = fabric.stop() => stopped,
        () = stop.asked_again() => bail!("stopped without draining"),
    };
    shown.and(stopped)
}

async fn start(data: &Path) -> Result<Fabric> {
    let fabric = Fabric::builder()?.kept_in(data).on(Addresses::documented()).start().await?;
    let token = fabric.token(EDITOR).await?;
    let count = records::load(&fabric, &token).await?;
    println!("The catalog holds {count} products; keys, databases and logs are in {}.", from_here(fabric.directory()));
    Ok(fabric)
}

async fn show(once: bool, fabric: &mut Fabric) -> Result<()> {
    print_addresses(fabric);
    let scene = scene(fabric).await?;
    if once {
        // Blocks this thread on purpose: a tour has nothing else to wait for but its own lines.
        return tokio::task::spawn_blocking(move || tour::run(&scene)).await?;
    }
    tour::print(&scene);
    live::show(fabric).await
}

fn print_addresses(fabric: &Fabric) {
    println!();
    for (part, server) in [
        (Part::Gateway, &fabric.gateway),
        (Part::Auth, &fabric.auth),
        (Part::Cache, &fabric.cache),
        (Part::Catalog, &fabric.catalog),
    ] {
        println!("  {:8} http://{}   metrics and health: http://{}", part.name(), server.listen, server.admin);
    }
    println!();
}

async fn scene(fabric: &Fabric) -> Result<Scene> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let words = [
        ("door", fabric.gateway.listen.to_string()),
        ("admin", fabric.gateway.admin.to_string()),
        // A price and a product that are not there yet: without them, a write that did nothing would look like success.
        ("price", (10_000 + seconds % 80_000).to_string()),
        ("product", format!("tour-{seconds:x}")),
        ("gateway", from_here(&binaries::path("accord-gateway")?)),
        ("config", from_here(&fabric.config(Part::Gateway))),
    ];
    let variables = [("TOKEN", fabric.token(EDITOR).await?), ("READER", fabric.token(READER).await?)];
    Ok(Scene { variables: variables.into(), words: words.into() })
}

/// A path as it would be typed here.
fn from_here(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Fails with what to do where a documented port is not to be had.
fn require_ports() -> Result<()> {
    for (part, address) in Addresses::documented().all() {
        if let Err(problem) = TcpListener::bind(address) {
            let (name, port) = (part.name(), address.port());
            bail!(
                "{name} needs {address}, which can't be listened on ({problem}): stop what holds it (`lsof -i :{port}` \
                 names it) and run this again"
            );
        }
    }
    Ok(())
}

/// A process that gave up says why in its last line; one that was killed could not, but the line tells how far it came.
fn in_one_sentence(problem: anyhow::Error) -> anyhow::Error {
    let Some(ended) = problem.downcast_ref::<Ended>() else { return problem };
    let (name, status, log) = (&ended.name, ended.status, ended.log.display());
    let last = ended.last_words.lines().last().unwrap_or("nothing");
    anyhow!("{name} has ended ({status}), its last words being `{last}`: see {log} for the rest, and run this again")
}
