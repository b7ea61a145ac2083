//! The processes of a soak, and what happens to them.

use std::{mem, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use toml::toml;

use super::{
    Fault, Kind, Shape,
    fault::Victim,
    outage::{DRAIN, killed, paused},
    prices::Prices,
    replicas::Replicas,
};
use crate::{EDITOR, Fabric, Part, Server, wire::Lost};

/// Says that leases are granted, and the longest that a gateway may be lent.
const OVERLAY: &str = "tests/journeys/near.toml";
/// What is said by a cache that waits for the one before it.
const WAITS: &str = "another cache process holds the data directory";
/// How long a successor may take to say so, on a loaded machine.
const START: Duration = Duration::from_secs(20);
/// How long the mesh goes on between the steps of a rollover: longer than a lease.
const STEP: Duration = Duration::from_millis(300);

/// Two gateways before one cache, or before its replicas.
pub(super) struct Mesh {
    beside: Beside,
    fabric: Fabric,
}

/// What there is beside the processes of the fabric.
enum Beside {
    /// Another gateway.
    Gateway(Box<Server>),
    /// All that is asked; the fabric's own gateway and cache are not.
    Replicas(Box<Replicas>),
}

impl Mesh {
    pub(super) async fn start(shape: &Shape, lease: Duration, kept_in: Option<&Path>) -> Result<Self> {
        let lease = format!("{}ms", lease.as_millis());
        let leases = toml! {
            [leases]
            max = lease
        };
        let builder = Fabric::builder()?.overlay(OVERLAY).settings(Part::Cache, leases);
        let builder = if let Some(directory) = kept_in { builder.kept_in(directory) } else { builder };
        let mut fabric = builder.start().await?;
        let beside = match shape {
            Shape::OneCache => {
                let mut other = fabric.another(Part::Gateway)?;
                other.wait_serving().await?;
                Beside::Gateway(Box::new(other))
            }
            Shape::Replicas { programs, redis, prices, is_wired } => {
                Beside::Replicas(Box::new(Replicas::start(&mut fabric, programs, redis, *prices, *is_wired).await?))
            }
        };
        Ok(Self { beside, fabric })
    }

    /// Where the gateways serve.
    pub(super) fn gateways(&self) -> [SocketAddr; 2] {
        match &self.beside {
            Beside::Gateway(other) => [self.fabric.gateway.listen, other.listen],
            Beside::Replicas(replicas) => replicas.gateways(),
        }
    }

    /// The token of somebody who may read and write.
    pub(super) async fn token(&self) -> Result<String> {
        self.fabric.token(EDITOR).await
    }

    /// Who changes and reads prices past Accord, where there are replicas.
    pub(super) fn prices(&self, token: &str, seed: u64) -> Result<Option<Arc<Prices>>> {
        match &self.beside {
            Beside::Gateway(_) => Ok(None),
            Beside::Replicas(replicas) => replicas.prices(token, seed).map(Some),
        }
    }

    /// The file with the products.
    pub(super) fn products(&self) -> std::path::PathBuf {
        self.fabric.directory().join("data/catalog.db")
    }

    /// Fails where a process has ended that should not have.
    pub(super) fn check(&mut self) -> Result<()> {
        self.fabric.check()?;
        match &mut self.beside {
            Beside::Gateway(other) => other.process.check(),
            Beside::Replicas(replicas) => replicas.check(),
        }
    }

    /// Lets a fault happen, and waits until all serve again.
    pub(super) async fn suffer(&mut self, Fault { kind, pause }: Fault) -> Result<()> {
        self.check()?;
        match kind {
            Kind::Kill(victim) => killed(self.server(victim)?).await,
            Kind::Pause(victim) => paused(self.server(victim)?, pause).await,
            Kind::KillCacheDuringPause(victim) => {
                self.server(victim)?.process.pause()?;
                killed(self.server(Victim::Cache(0))?).await?;
                paused(self.server(victim)?, pause).await
            }
            Kind::RollOver => self.roll_over(pause, true).await,
            Kind::RollOverKilled => self.roll_over(pause, false).await,
            Kind::RollReplicas => self.replicas()?.roll().await,
            Kind::PartGateway(at) => self.replicas()?.part_gateway(at, pause).await,
            Kind::PartReplica(at) => self.replicas()?.part_replica(at, pause).await,
            Kind::Isolate(victim) => self.replicas()?.lose(victim, Lost::Both, pause).await,
            Kind::Mute(victim) => self.replicas()?.lose(victim, Lost::Sent, pause).await,
            Kind::Deafen(victim) => self.replicas()?.lose(victim, Lost::Received, pause).await,
            Kind::PauseDatabase => self.replicas()?.pause_database(pause).await,
            Kind::KillDatabase => self.replicas()?.kill_database().await,
            Kind::FailOver => self.replicas()?.fail_over().await,
            Kind::PauseSecondLevel => self.replicas()?.pause_second_level(pause).await,
            Kind::KillSecondLevel => self.replicas()?.kill_second_level().await,
        }
    }

    async fn roll_over(&mut self, pause: Duration, in_order: bool) -> Result<()> {
        let mut successor = self.fabric.successor(Part::Cache)?;
        successor.process.await_log(START, |log| log.contains(WAITS)).await?;
        tokio::time::sleep(STEP).await;
        paused(&mut self.fabric.cache, pause).await?;
        tokio::time::sleep(STEP).await;
        if in_order {
            self.fabric.cache.process.terminate(DRAIN).await?;
        } else {
            self.fabric.cache.process.kill()?;
        }
        successor.wait_serving().await?;
        drop(mem::replace(&mut self.fabric.cache, successor));
        Ok(())
    }

    fn replicas(&mut self) -> Result<&mut Replicas> {
        match &mut self.beside {
            Beside::Gateway(_) => anyhow::bail!("one cache has no replicas, and no database"),
            Beside::Replicas(replicas) => Ok(replicas),
        }
    }

    fn server(&mut self, victim: Victim) -> Result<&mut Server> {
        let found = match (&mut self.beside, victim) {
            (Beside::Replicas(replicas), _) => replicas.server(victim),
            (Beside::Gateway(_), Victim::Gateway(0)) => Some(&mut self.fabric.gateway),
            (Beside::Gateway(other), Victim::Gateway(1)) => Some(&mut **other),
            (Beside::Gateway(_), Victim::Cache(0)) => Some(&mut self.fabric.cache),
            _ => None,
        };
        found.with_context(|| format!("there is no {victim} in a mesh of this shape"))
    }
}
