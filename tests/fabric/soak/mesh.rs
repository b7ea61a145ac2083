//! The processes of a soak, and what happens to them.

use std::{mem, net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;
use toml::toml;

use super::{Fault, Kind, fault::Victim};
use crate::{EDITOR, Fabric, Part, Server};

/// Says that leases are granted, and the longest that a gateway may be lent.
const OVERLAY: &str = "tests/journeys/near.toml";
/// What is said by a cache that waits for the one before it.
const WAITS: &str = "another cache process holds the data directory";
/// How long a successor may take to say so, on a loaded machine.
const START: Duration = Duration::from_secs(20);
/// How long a cache may take to end in order.
const DRAIN: Duration = Duration::from_secs(15);
/// How long the mesh goes on between the steps of a rollover: longer than a lease.
const STEP: Duration = Duration::from_millis(300);

/// Two gateways before one cache.
pub(super) struct Mesh {
    fabric: Fabric,
    other: Server,
}

impl Mesh {
    pub(super) async fn start(lease: Duration, kept_in: Option<&Path>) -> Result<Self> {
        let lease = format!("{}ms", lease.as_millis());
        let leases = toml! {
            [leases]
            max = lease
        };
        let builder = Fabric::builder()?.overlay(OVERLAY).settings(Part::Cache, leases);
        let builder = if let Some(directory) = kept_in { builder.kept_in(directory) } else { builder };
        let mut fabric = builder.start().await?;
        let mut other = fabric.another(Part::Gateway)?;
        other.wait_serving().await?;
        Ok(Self { fabric, other })
    }

    /// Where the gateways serve.
    pub(super) fn gateways(&self) -> [SocketAddr; 2] {
        [self.fabric.gateway.listen, self.other.listen]
    }

    /// The token of somebody who may read and write.
    pub(super) async fn token(&self) -> Result<String> {
        self.fabric.token(EDITOR).await
    }

    /// Fails where a process has ended that should not have.
    pub(super) fn check(&mut self) -> Result<()> {
        self.fabric.check()?;
        self.other.process.check()
    }

    /// Lets a fault happen, and waits until all serve again.
    pub(super) async fn suffer(&mut self, Fault { kind, pause }: Fault) -> Result<()> {
        self.check()?;
        match kind {
            Kind::Kill(victim) => killed(self.server(victim)).await,
            Kind::Pause(victim) => paused(self.server(victim), pause).await,
            Kind::KillCacheDuringPause(victim) => {
                self.server(victim).process.pause()?;
                killed(&mut self.fabric.cache).await?;
                paused(self.server(victim), pause).await
            }
            Kind::RollOver => self.roll_over(pause, true).await,
            Kind::RollOverKilled => self.roll_over(pause, false).await,
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

    fn server(&mut self, victim: Victim) -> &mut Server {
        match victim {
            Victim::Gateway(0) => &mut self.fabric.gateway,
            Victim::Gateway(_) => &mut self.other,
            Victim::Cache => &mut self.fabric.cache,
        }
    }
}

async fn killed(server: &mut Server) -> Result<()> {
    server.process.restart()?;
    server.wait_serving().await
}

async fn paused(server: &mut Server, pause: Duration) -> Result<()> {
    server.process.pause()?;
    tokio::time::sleep(pause).await;
    server.process.resume()?;
    server.wait_serving().await
}
