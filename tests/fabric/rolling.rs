//! Rolling restarts: three gateways, two of auth and three of the cache, with a PostgreSQL and a Redis that they share, are restarted
//! one after the other under load, by clients that do no more than stock ones. No call fails, no answer is older than its contract
//! says, no token is refused that is good, and none is taken past the bound that was revoked. Where they are killed, no call fails
//! but those in flight that may not be repeated. Where they speak TLS, certificates and their authority are replaced meanwhile.
//! No creation runs twice while its key is claimed.
//!
//! `cargo xtask rolling` runs it for long, and from the binaries of one commit to those of another; the suite `rolling` for some
//! seconds.

mod carried_out;
pub(crate) mod client;
mod connect;
mod identity;
mod load;
mod mesh;
mod names;
mod report;
mod rotation;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::{
    carried_out::CarriedOut, client::Client, connect::Connector, identity::Program, load::Load, mesh::Mesh,
    names::KNOWN_WITHIN, report::Restart,
};
pub use self::{
    mesh::{End, Instance},
    names::Discovery,
    report::Report,
};
use crate::{EDITOR, redis};

/// The client of auth that logs in all the time.
const CLIENT: &str = "prober";

/// What a rolling restart is to be like.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// Where `postgres` and `initdb` are.
    pub postgres: PathBuf,
    /// `redis-server`.
    pub redis: PathBuf,
    /// How often each process is restarted.
    pub rounds: usize,
    /// How each is ended.
    pub end: End,
    /// How they find each other.
    pub discovery: Discovery,
    /// Whether they call each other over TLS with certificates on both sides, and clients call the gateway over TLS. Certificates and
    /// their authority are then replaced while all are called.
    pub tls: bool,
    /// The binaries of the first round and those that come after them, each a directory: back to the first in the next round. Without
    /// it those that fit the caller, throughout.
    pub versions: Option<[PathBuf; 2]>,
    /// Products, each with a writer of its own.
    pub products: usize,
    /// Between two reads of a writer.
    pub pace: Duration,
    /// How long all are left alone before the first restart and after each. Where they find each other by DNS, the one that came is
    /// known everywhere before the next one goes: two seconds at least.
    pub rest: Duration,
    /// Of choices of the writers.
    pub seed: u64,
    /// Where configuration and logs are kept; without it they are thrown away.
    pub kept_in: Option<PathBuf>,
}

impl Rolling {
    /// Runs it, and tells of each restart as it comes.
    pub async fn run(&self, note: impl Fn(&str)) -> Result<Report> {
        let from = self.versions.as_ref().map(|[from, _]| from.as_path());
        let is_known = self.discovery == Discovery::Balancer || self.rest >= KNOWN_WITHIN;
        ensure!(
            is_known,
            "by DNS, a process is known everywhere {KNOWN_WITHIN:?} after it came: rest as long at least"
        );
        let redis = redis::Redis::of(&self.redis).await?;
        let places = (from, self.kept_in.as_deref());
        let mut mesh = Mesh::start(&self.postgres, redis, (self.discovery, self.tls), places).await?;
        let token = mesh.fabric().token(EDITOR).await?;
        let load = Load::new(mesh.gateway(), token, self).await?;
        let login = login(&mesh).await?;
        let program = Program::new(load.clone(), self.client(mesh.auth()), self.client(mesh.gateway()), login);
        let (writers, work) = (load.start(), program.start());
        let restarted = self.restart_all(&mut mesh, note).await;
        program.end(work).await?;
        load.end(writers).await?;
        let restarts = restarted?;
        mesh.check()?;
        let carried_out = CarriedOut::of(&mesh.end_service().await?, &load.all_created());
        Ok(Report::of(&restarts, &load, &program.counts, carried_out, mesh.rotations()))
    }

    /// A client, which repeats what broke in flight where processes are killed.
    fn client(&self, connector: Connector) -> Client {
        Client::new(connector, self.end == End::Killed)
    }

    async fn restart_all(&self, mesh: &mut Mesh, note: impl Fn(&str)) -> Result<Vec<Restart>> {
        let begun = Instant::now();
        let mut restarts = Vec::new();
        // Load on a mesh that is whole, before the first restart and between two: that is what a rollout does.
        tokio::time::sleep(self.rest).await;
        for round in 0..self.rounds {
            let program = self.versions.as_ref().map(|[from, to]| if round % 2 == 0 { to } else { from });
            for instance in Instance::in_order(round % 2 == 1 && program.is_some()) {
                mesh.check()?;
                let at = begun.elapsed();
                let away = mesh.restart(instance, self.end, program.map(PathBuf::as_path)).await?;
                let (at_seconds, seconds) = (at.as_secs_f64(), away.as_secs_f64());
                note(&format!("{at_seconds:>7.1} s  {instance}, away for {seconds:.1} s"));
                restarts.push(Restart { instance, end: self.end, away });
                if let Some(step) = mesh.rotate().await? {
                    note(&format!("{:>7.1} s  certificates: {step}", begun.elapsed().as_secs_f64()));
                }
                // As above.
                tokio::time::sleep(self.rest).await;
            }
        }
        Ok(restarts)
    }
}

/// Makes a client of auth, and returns its id and secret.
async fn login(mesh: &Mesh) -> Result<[String; 2]> {
    let file = mesh.fabric().directory().join("prober.secret");
    let path = file.to_str().context("a path")?;
    mesh.fabric().manage(&["client", "add", CLIENT, "--role", "catalog-reader", "--secret-file", path]).await?;
    Ok([CLIENT.to_owned(), fs::read_to_string(&file)?.trim().to_owned()])
}
