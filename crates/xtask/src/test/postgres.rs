//! A throw-away PostgreSQL: own directory, own port, gone with the suite.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::programs::{apt_install, can_install, on_path};

/// Debian's place for servers of several versions side by side, none of them on PATH.
const DEBIAN_SERVERS: &str = "/usr/lib/postgresql";
/// A start on a loaded machine takes seconds; one that takes longer than this has failed.
const START: Duration = Duration::from_mins(1);

/// A running server whose superuser `accord` needs no password on loopback.
pub(super) struct Server {
    process: Child,
    port: u16,
    owner: Owner,
    programs: PathBuf,
    directory: TempDir,
}

impl Server {
    /// Starts a server found on this machine; installs one first where that is possible.
    pub(super) fn start() -> Result<Self> {
        let programs = programs()?;
        let owner = Owner::fit_for_postgres()?;
        let directory = tempfile::Builder::new().prefix("accord-postgres-").tempdir()?;
        owner.take(directory.path())?;
        initialise(&programs, owner, directory.path())?;
        let port = free_port()?;
        let process = launch(&programs, owner, directory.path(), port)?;
        let mut server = Self { process, port, owner, programs, directory };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where the server is reached.
    pub(super) fn url(&self) -> String {
        format!("postgres://accord@127.0.0.1:{}/postgres", self.port)
    }

    /// The server writes its state into the last line of its lock file.
    fn wait_until_ready(&mut self) -> Result<()> {
        let lock = self.directory.path().join("data/postmaster.pid");
        let started = Instant::now();
        while !fs::read_to_string(&lock).is_ok_and(|lines| lines.trim_end().ends_with("ready")) {
            if let Some(status) = self.process.try_wait()? {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                bail!("PostgreSQL ended at its start with {status}: {log}");
            }
            ensure!(started.elapsed() < START, "PostgreSQL was not ready within {START:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to end, it takes its children and its shared memory along. An error here would only hide the suite's own.
        let mut stop = self.owner.command(&self.programs.join("pg_ctl"), self.directory.path());
        if !stop.args(["stop", "--silent", "--mode=immediate", "--pgdata=data"]).status().is_ok_and(|end| end.success())
        {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The directory with `postgres`, `initdb` and `pg_ctl`.
fn programs() -> Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    ensure!(can_install(), "PostgreSQL is missing: install PostgreSQL 15 or newer, with initdb on PATH");
    apt_install(&["postgresql"])?;
    installed().with_context(|| format!("postgresql was installed, but there is no initdb below {DEBIAN_SERVERS}"))
}

fn installed() -> Option<PathBuf> {
    if let Some(initdb) = on_path("initdb") {
        // A link on PATH leads to where the other programs are.
        return fs::canonicalize(initdb).ok()?.parent().map(Path::to_owned);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_SERVERS)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, programs)| programs)
}

/// Who the server runs as: PostgreSQL refuses root.
#[derive(Clone, Copy)]
struct Owner {
    ids: Option<(u32, u32)>,
}

impl Owner {
    fn fit_for_postgres() -> Result<Self> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(Self { ids: None });
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        let ids = ["postgres", "nobody"].iter().find_map(|name| ids_of(&accounts, name));
        ensure!(ids.is_some(), "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody");
        Ok(Self { ids })
    }

    fn take(self, directory: &Path) -> Result<()> {
        if let Some((user, group)) = self.ids {
            std::os::unix::fs::chown(directory, Some(user), Some(group))?;
        }
        Ok(())
    }

    fn command(self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).stdin(Stdio::null());
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }
}

fn ids_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = accounts.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    let user = fields.nth(2)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some((user, group))
}

fn initialise(programs: &Path, owner: Owner, directory: &Path) -> Result<()> {
    let output = owner
        .command(&programs.join("initdb"), directory)
        .args(["--pgdata=data", "--username=accord", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .output()
        .context("initdb could not be started")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn launch(programs: &Path, owner: Owner, directory: &Path, port: u16) -> Result<Child> {
    let log = fs::File::create(directory.join("log"))?;
    owner
        .command(&programs.join("postgres"), directory)
        .args(["-D", "data", "-k", ".", "-h", "127.0.0.1", "-p", &port.to_string()])
        // Nobody will ever recover this data.
        .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("postgres could not be started")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn account_is_found_by_its_whole_name() {
        let accounts =
            "postgres-exporter:x:7:8::/:/bin/false\npostgres:x:114:120:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids_of(accounts, "postgres"), Some((114, 120)));
        assert_eq!(ids_of(accounts, "nobody"), None);
    }
}
