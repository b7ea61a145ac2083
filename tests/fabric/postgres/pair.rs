//! A primary and a standby that confirms each commit before it is acknowledged (synchronous replication), and their failover.

use std::{fs, mem, path::Path, sync::Arc, thread, time::Instant};

use anyhow::{Result, ensure};

use super::{LOOK, Place, START, Server};
use crate::Port;

/// A commit is acknowledged when the standby has it. That nothing of it was written through is as good as that here: processes are
/// killed, and the machine is not.
const SYNCHRONOUS: [&str; 3] = ["fsync=off", "synchronous_commit=on", "synchronous_standby_names=*"];

/// Whether one does.
const CONFIRMED: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";

/// The servers. What is committed before a failover is there after it.
pub struct Pair {
    place: Arc<Place>,
    primary: Server,
    standby: Server,
    copies: u32,
}

impl Pair {
    /// Starts both with the programs of this directory.
    pub fn start(programs: &Path) -> Result<Self> {
        let place = Place::new(programs)?;
        place.initialise("data-1")?;
        let primary = Server::on(Arc::clone(&place), "data-1", Port::reserve()?.into(), &settings())?;
        let standby = copy(&place, &primary, "data-2", Port::reserve()?.into())?;
        Ok(Self { place, primary, standby, copies: 2 })
    }

    /// The one that takes writes.
    pub fn primary(&mut self) -> &mut Server {
        &mut self.primary
    }

    /// Kills the primary, and promotes the standby. It takes writes, and commits none before it has a standby of its own.
    pub fn fail_over(&mut self) -> Result<()> {
        self.primary.kill()?;
        let data = format!("--pgdata={}", self.standby.data);
        self.place.run("pg_ctl", &["promote", "--silent", "--wait", &data])?;
        mem::swap(&mut self.primary, &mut self.standby);
        Ok(())
    }

    /// Makes a standby in the place of the server that was killed.
    pub fn stand_by(&mut self) -> Result<()> {
        self.copies += 1;
        let data = format!("data-{}", self.copies);
        let standby = copy(&self.place, &self.primary, &data, Arc::clone(&self.standby.port))?;
        let gone = mem::replace(&mut self.standby, standby);
        Ok(fs::remove_dir_all(self.place.directory.path().join(&gone.data))?)
    }
}

fn settings() -> Vec<String> {
    SYNCHRONOUS.map(str::to_owned).to_vec()
}

/// A standby of a server, on a copy of its data.
fn copy(place: &Arc<Place>, of: &Server, data: &str, port: Arc<Port>) -> Result<Server> {
    let (host, of_port) = (of.address().ip().to_string(), of.address().port().to_string());
    let from = ["--host", &host, "--port", &of_port, "--username=accord"];
    let fixed = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--pgdata", data];
    place.run("pg_basebackup", &[&from[..], &fixed[..]].concat())?;
    let standby = Server::on(Arc::clone(place), data, port, &settings())?;
    wait_until_confirmed(place, of)?;
    Ok(standby)
}

/// Waits until a standby confirms what the server commits.
fn wait_until_confirmed(place: &Place, of: &Server) -> Result<()> {
    let (url, started) = (of.url(), Instant::now());
    while place.run("psql", &["--no-align", "--tuples-only", "--command", CONFIRMED, &url])?.trim() != "t" {
        ensure!(started.elapsed() < START, "no standby confirmed commits within {START:?}");
        thread::sleep(LOOK);
    }
    Ok(())
}
