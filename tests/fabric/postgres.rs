//! A throw-away PostgreSQL: own directory, own port, gone with its owner; alone, or with a standby that confirms each commit.

mod frontend;
mod installed;
mod owner;
mod pair;
mod statement_proxy;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Child,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use self::owner::Owner;
pub use self::{
    installed::{DEBIAN_SERVERS, installed},
    pair::Pair,
    statement_proxy::{Side, Statement, StatementProxy},
};
use crate::Port;

/// A start on a loaded machine takes seconds; one that takes longer than this has failed.
const START: Duration = Duration::from_mins(1);
/// How often it is looked whether it is ready.
const LOOK: Duration = Duration::from_millis(20);

/// For tests in which no server is ever killed: what it has not written is lost with it.
const FORGETFUL: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// A running server whose superuser `accord` needs no password on loopback.
pub struct Server {
    place: Arc<Place>,
    /// The directory of its data, in that of its place.
    data: String,
    port: Arc<Port>,
    settings: Vec<String>,
    process: Child,
}

/// What servers of one owner share.
struct Place {
    programs: PathBuf,
    owner: Owner,
    directory: TempDir,
}

impl Place {
    fn new(programs: &Path) -> Result<Arc<Self>> {
        let owner = Owner::fit_for_postgres()?;
        let directory = tempfile::Builder::new().prefix("accord-postgres-").tempdir()?;
        owner.take(directory.path())?;
        Ok(Arc::new(Self { programs: programs.to_owned(), owner, directory }))
    }

    /// Runs one of the server's programs in the directory, to its end; what it says.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.owner.command(&self.programs.join(program), self.directory.path());
        let output = command.args(arguments).output().with_context(|| format!("{program} could not be started"))?;
        ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn initialise(&self, data: &str) -> Result<()> {
        let data = format!("--pgdata={data}");
        let fixed = ["--username=accord", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
        self.run("initdb", &[&[data.as_str()], &fixed[..]].concat()).map(drop)
    }
}

impl Server {
    /// Starts a new one with the programs of this directory.
    pub fn start(programs: &Path) -> Result<Self> {
        let place = Place::new(programs)?;
        place.initialise("data")?;
        Self::on(place, "data", Port::reserve()?.into(), &FORGETFUL.map(str::to_owned))
    }

    /// Starts one on data that are there.
    fn on(place: Arc<Place>, data: &str, port: Arc<Port>, settings: &[String]) -> Result<Self> {
        let process = launch(&place, data, port.address(), settings)?;
        let mut server = Self { place, data: data.to_owned(), port, settings: settings.to_vec(), process };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where the server is reached.
    pub fn url(&self) -> String {
        format!("postgres://accord@{}/postgres", self.address())
    }

    /// The same for a client who goes by way of another address.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Kills all of its processes, as a power failure would.
    pub fn kill(&mut self) -> Result<()> {
        // The postmaster first, so that it replaces none of the others.
        self.signal(Signal::KILL)?;
        self.process.wait()?;
        // One that it had just begun is nobody's child by now, and holds the memory that all of them share.
        let started = Instant::now();
        while let left @ [_, ..] = &processes_in(&self.place.directory.path().join(&self.data))?[..] {
            ensure!(started.elapsed() < START, "processes of PostgreSQL are left after {START:?}: {left:?}");
            left.iter().try_for_each(|id| send(*id, Signal::KILL))?;
            // Nobody is told of the end of a process that is no child.
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Starts it again as it was started, on what it had written.
    pub fn restart(&mut self) -> Result<()> {
        // The lock file that was left tells of the life before.
        fs::remove_file(self.lock_file())?;
        self.process = launch(&self.place, &self.data, self.address(), &self.settings)?;
        self.wait_until_ready()
    }

    /// Stops all of its processes where they stand.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let postmaster = self.process.id();
        [vec![postmaster], children(postmaster)?].concat().into_iter().try_for_each(|id| send(id, signal))
    }

    fn lock_file(&self) -> PathBuf {
        self.place.directory.path().join(&self.data).join("postmaster.pid")
    }

    /// The server writes its state into the last line of its lock file.
    fn wait_until_ready(&mut self) -> Result<()> {
        let (lock, started) = (self.lock_file(), Instant::now());
        let is_ready = |lines: String| ["ready", "standby"].iter().any(|state| lines.trim_end().ends_with(state));
        while !fs::read_to_string(&lock).is_ok_and(is_ready) {
            if let Some(status) = self.process.try_wait()? {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                bail!("PostgreSQL ended at its start with {status}: {log}");
            }
            ensure!(started.elapsed() < START, "PostgreSQL was not ready within {START:?}");
            // It tells its state in that file alone.
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.place.directory.path().join(format!("{}.log", self.data))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to end, it takes its children and its shared memory along. An error here would only hide the suite's own.
        let data = format!("--pgdata={}", self.data);
        if self.place.run("pg_ctl", &["stop", "--silent", "--mode=immediate", &data]).is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn launch(place: &Place, data: &str, address: SocketAddr, settings: &[String]) -> Result<Child> {
    let log = fs::File::create(place.directory.path().join(format!("{data}.log")))?;
    place
        .owner
        .command(&place.programs.join("postgres"), place.directory.path())
        .args(["-D", data, "-k", ".", "-h", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("postgres could not be started")
}

/// One that has ended meanwhile needs no signal.
fn send(id: u32, signal: Signal) -> Result<()> {
    let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(id, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        signalled => Ok(signalled?),
    }
}

/// The processes that work in a directory.
fn processes_in(directory: &Path) -> Result<Vec<u32>> {
    let works_there = |id: &u32| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|works_in| works_in == directory);
    let ids = fs::read_dir("/proc")?.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok());
    Ok(ids.filter(works_there).collect())
}

/// The processes that another one has started.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let Some(id) = process?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // `pid (name) state parent`, and names have spaces. One that has ended meanwhile is nobody's child.
        let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = status.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
        if fields.and_then(|mut fields| fields.nth(1)) == Some(parent.to_string().as_str()) {
            found.push(id);
        }
    }
    Ok(found)
}
