//! Three replicas of the cache behind one name, whose invalidation log is in a PostgreSQL with a synchronous standby and whose second
//! level is a Redis, and two gateways. Each gateway has a way of its own to the replicas, and each replica one to the database: each can
//! be cut, and all ways to the database lead to whoever is the primary. The database has prices as well, of whose changes an outbox tells.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{task::block_in_place, time::sleep};
use toml::{Table, toml};

use super::{
    fault::Victim,
    outage::{DRAIN, killed},
    prices::{self, Prices},
};
use crate::{
    Fabric, Part, Server, TcpProxy,
    postgres::Pair,
    redis::Redis,
    settings::{merge, token_key},
    wire::{Lost, Wire},
};

const REPLICAS: usize = 3;
const GATEWAYS: usize = 2;
/// The lease of a replica on the log: it leaves a slow machine time for operations on it.
pub(super) const LOG_LEASE: Duration = Duration::from_secs(2);

pub(super) struct Replicas {
    caches: Vec<Server>,
    gateways: [Server; 2],
    /// From each gateway to the replicas.
    names: [TcpProxy; 2],
    /// From each replica to the database.
    doors: Vec<TcpProxy>,
    /// The same from the service whose prices it has.
    service_door: TcpProxy,
    prices: usize,
    databases: Pair,
    second_level: Redis,
    /// Of the replicas, and then of the gateways; or none.
    wires: Vec<Wire>,
}

impl Replicas {
    pub(super) async fn start(
        fabric: &mut Fabric,
        programs: &Path,
        redis: &Path,
        prices: usize,
        is_wired: bool,
    ) -> Result<Self> {
        let numbers = (1..).take(if is_wired { REPLICAS + GATEWAYS } else { 0 });
        let wires: Vec<_> = block_in_place(|| numbers.map(Wire::lay).collect::<Result<_>>())?;
        let mut databases = block_in_place(|| Pair::start(programs))?;
        let second_level = Redis::of(redis).await?;
        let primary = databases.primary().address();
        prices::install(primary, prices, fabric.directory()).await?;
        let service_door = TcpProxy::start(vec![primary]).await?;
        let (mut caches, mut doors) = (Vec::new(), Vec::new());
        for number in 0..REPLICAS {
            let door = TcpProxy::start(vec![primary]).await?;
            let settings = sharing(fabric, door.address(), &second_level, number)?;
            let mut cache = fabric.another_at(Part::Cache, wires.get(number), settings)?;
            cache.wait_serving().await?;
            caches.push(cache);
            doors.push(door);
        }
        let behind: Vec<SocketAddr> = caches.iter().map(|cache| cache.listen).collect();
        let (one, its_name) = gateway(fabric, behind.clone(), wires.get(REPLICAS)).await?;
        let (other, other_name) = gateway(fabric, behind, wires.get(REPLICAS + 1)).await?;
        let (gateways, names) = ([one, other], [its_name, other_name]);
        Ok(Self { caches, gateways, names, doors, service_door, prices, databases, second_level, wires })
    }

    /// Who changes and reads the prices.
    pub(super) fn prices(&self, token: &str, seed: u64) -> Result<Arc<Prices>> {
        let replicas: Vec<_> = self.caches.iter().map(|cache| cache.listen).collect();
        Prices::new(self.service_door.address(), &replicas, token, seed, self.prices)
    }

    pub(super) fn gateways(&self) -> [SocketAddr; 2] {
        [self.gateways[0].listen, self.gateways[1].listen]
    }

    pub(super) fn server(&mut self, victim: Victim) -> Option<&mut Server> {
        match victim {
            Victim::Gateway(at) => self.gateways.get_mut(at),
            Victim::Cache(at) => self.caches.get_mut(at),
        }
    }

    pub(super) fn check(&mut self) -> Result<()> {
        self.gateways.iter_mut().chain(&mut self.caches).try_for_each(|server| server.process.check())
    }

    async fn wait_serving(&mut self) -> Result<()> {
        for server in self.caches.iter_mut().chain(&mut self.gateways) {
            server.wait_serving().await?;
        }
        Ok(())
    }

    /// Ends and starts each replica, one after the other.
    pub(super) async fn roll(&mut self) -> Result<()> {
        for cache in &mut self.caches {
            cache.process.terminate(DRAIN).await?;
            killed(cache).await?;
        }
        Ok(())
    }

    pub(super) async fn part_gateway(&mut self, at: usize, pause: Duration) -> Result<()> {
        cut(&self.names, at, pause).await?;
        self.wait_serving().await
    }

    pub(super) async fn part_replica(&mut self, at: usize, pause: Duration) -> Result<()> {
        cut(&self.doors, at, pause).await?;
        self.wait_serving().await
    }

    pub(super) async fn lose(&mut self, victim: Victim, lost: Lost, pause: Duration) -> Result<()> {
        let at = match victim {
            Victim::Cache(at) => at,
            Victim::Gateway(at) => REPLICAS + at,
        };
        let wire = self.wires.get(at).context("there are no wires")?;
        block_in_place(|| wire.lose(lost))?;
        // The fault is its length.
        sleep(pause).await;
        block_in_place(|| wire.heal())?;
        self.wait_serving().await
    }

    pub(super) async fn pause_database(&mut self, pause: Duration) -> Result<()> {
        self.databases.primary().pause()?;
        sleep(pause).await;
        self.databases.primary().resume()?;
        self.wait_serving().await
    }

    pub(super) async fn kill_database(&mut self) -> Result<()> {
        block_in_place(|| {
            let primary = self.databases.primary();
            primary.kill()?;
            primary.restart()
        })?;
        self.wait_serving().await
    }

    pub(super) async fn fail_over(&mut self) -> Result<()> {
        block_in_place(|| self.databases.fail_over())?;
        let primary = self.databases.primary().address();
        self.doors.iter().chain([&self.service_door]).for_each(|door| door.move_to(primary));
        block_in_place(|| self.databases.stand_by())?;
        self.wait_serving().await
    }

    pub(super) async fn pause_second_level(&mut self, pause: Duration) -> Result<()> {
        self.second_level.process.pause()?;
        // The fault is its length.
        sleep(pause).await;
        self.second_level.process.resume()
    }

    pub(super) async fn kill_second_level(&mut self) -> Result<()> {
        self.second_level.process.restart()?;
        self.second_level.wait_listening().await
    }
}

async fn cut(ways: &[TcpProxy], at: usize, pause: Duration) -> Result<()> {
    let way = ways.get(at).context("there is no such process")?;
    way.cut();
    sleep(pause).await;
    way.heal();
    Ok(())
}

/// A gateway that reaches the replicas by a name of its own.
async fn gateway(fabric: &mut Fabric, behind: Vec<SocketAddr>, wire: Option<&Wire>) -> Result<(Server, TcpProxy)> {
    let name = TcpProxy::start(behind).await?;
    let url = format!("http://{}", name.address());
    let mut gateway = fabric.another_at(Part::Gateway, wire, toml! { cache = { url = url } })?;
    gateway.wait_serving().await?;
    Ok((gateway, name))
}

/// What a replica has of its own, and what it shares.
fn sharing(fabric: &Fabric, database: SocketAddr, second_level: &Redis, number: usize) -> Result<Table> {
    let directory = fabric.directory().join(format!("data-of-replica-{number}"));
    fs::create_dir_all(&directory)?;
    let url = format!("postgres://accord@{database}/postgres");
    let (directory, log, records) = (directory.display().to_string(), url.clone(), url);
    let lease = format!("{}s", LOG_LEASE.as_secs());
    let (key, shared) = (token_key(second_level.directory.path())?, second_level.url());
    let mut own = toml! {
        data_dir = directory
        [log]
        url = log
        lease = lease
        [records]
        url = records
        [consistency]
        token_key_file = key
        [second_level]
        url = shared
        password = "secret"
        timeout = "500ms"
    };
    merge(&mut own, prices::settings(database));
    Ok(own)
}
