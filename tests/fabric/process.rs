//! One process of the fabric: started, stopped, killed, paused; its log at hand; never left behind.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::time::{Instant, sleep};

/// How often a process is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How a process is started, and started again.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What it is called in messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
    /// The file that takes what it writes, on standard output and error.
    pub log: PathBuf,
}

/// A process does not do what it was started for.
#[derive(Debug, thiserror::Error)]
#[error("{name} {what}; it said last\n{last_words}")]
pub struct Trouble {
    /// What it is called.
    pub name: String,
    /// What is wrong with it, such as `has ended (exit status: 1)`.
    pub what: String,
    /// The file that has everything it said.
    pub log: PathBuf,
    /// The last lines of it.
    pub last_words: String,
}

/// A started process. It is killed when this is dropped, and on Linux also when the thread that started it ends.
pub struct Process {
    launch: Launch,
    child: Child,
}

impl Process {
    /// Starts a process, with a new log.
    pub fn start(launch: Launch) -> Result<Self> {
        // What an earlier fabric left in a kept directory would be taken for this one's last words.
        File::create(&launch.log).with_context(|| format!("can't write to {}", launch.log.display()))?;
        let child = spawn(&launch)?;
        Ok(Self { launch, child })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// What is executed.
    pub fn program(&self) -> &Path {
        &self.launch.program
    }

    /// Its number in the operating system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Fails with [`Trouble`] where it has ended.
    pub fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ended.map_or(Ok(()), |status| Err(self.trouble(format!("has ended ({status})")).into()))
    }

    /// What is wrong with it, and its last words.
    pub fn trouble(&self, what: String) -> Trouble {
        let last_words = self.last_words();
        Trouble { name: self.name().to_owned(), what, log: self.launch.log.clone(), last_words }
    }

    /// Kills it at once, as a power failure would.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        // A stopped process dies of this signal as well.
        match self.child.kill() {
            Err(problem) if problem.kind() != ErrorKind::InvalidInput => Err(problem)?,
            _ => Ok(self.child.wait()?),
        }
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        if self.alive() {
            self.signal(Signal::TERM)?;
        }
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(self.trouble(format!("did not end within {within:?} of SIGTERM")).into());
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until its log is as wanted; a program of somebody else's tells nothing by any other way.
    pub async fn await_log(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let end = Instant::now() + within;
        while !wanted(&self.log()) {
            if Instant::now() >= end {
                bail!("{} did not say what was waited for within {within:?}; it said\n{}", self.name(), self.log());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Stops it where it stands, with its connections open: a machine that hangs.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // Its threads stand still once the signal has arrived, and not when it is sent.
        let stopped = waitid(WaitId::Pid(self.id_of_child()?), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT);
        stopped.map(drop).with_context(|| format!("{} ended while it was paused", self.name()))
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Starts it again as it was started, killing it first where it still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = spawn(&self.launch)?;
        Ok(())
    }

    /// Has it started as this program from now on: another build of the same binary.
    pub fn set_program(&mut self, program: PathBuf) {
        self.launch.program = program;
    }

    /// Everything it wrote, over all its lives.
    pub fn log(&self) -> String {
        fs::read(&self.launch.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of what it wrote.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn id_of_child(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has a number")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id_of_child()?, signal).with_context(|| format!("can't signal {}", self.name()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a process that can't be killed.
        let _ = self.kill();
    }
}

fn spawn(launch: &Launch) -> Result<Child> {
    let log = File::options().create(true).append(true).open(&launch.log)?;
    let mut command = dying_with_us(&launch.program);
    forget_settings(&mut command);
    command
        .args(&launch.arguments)
        .envs(launch.environment.iter().cloned())
        // A pipe that closes with the fabric, however that ends: a script that reads it notices, and ends as well.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Its own group: a Ctrl-C at the terminal reaches the fabric, which ends its processes in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start {} ({})", launch.name, launch.program.display()))
}

/// A process in its own group outlives a fabric that is killed. Linux can end it with the thread that started it:
/// `setpriv` asks for that, and becomes the program.
pub(crate) fn dying_with_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Settings in the environment of whoever runs the fabric are not meant for it.
pub(crate) fn forget_settings(command: &mut Command) {
    for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ACCORD_")) {
        command.env_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(directory: &Path, script: &str) -> Process {
        Process::start(Launch {
            name: "shell".to_owned(),
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("WORD".to_owned(), "heard".to_owned())],
            log: directory.join("shell.log"),
        })
        .expect("sh starts")
    }

    async fn hears(process: &Process, word: &str) {
        process.await_log(SOON, |log| log.contains(word)).await.expect("it says so");
    }

    #[tokio::test]
    async fn process_that_drains_ends_with_its_own_status() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut process =
            shell(directory.path(), "trap 'echo draining; exit 3' TERM; echo $WORD; while :; do sleep 0.01; done");
        hears(&process, "heard").await;
        let status = process.terminate(SOON).await.expect("ended");
        assert_eq!(status.code(), Some(3));
        assert!(process.log().contains("draining"));
    }

    #[tokio::test]
    async fn process_that_does_not_end_is_killed_and_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut process = shell(directory.path(), "trap '' TERM; echo deaf; while :; do sleep 0.01; done");
        hears(&process, "deaf").await;
        let refusal = process.terminate(Duration::from_millis(50)).await.expect_err("still there");
        assert!(refusal.to_string().contains("deaf"), "{refusal}");
        assert!(process.alive());
        process.kill().expect("killed");
        assert!(!process.alive());
        assert!(process.check().expect_err("gone").to_string().contains("ended"));
    }

    #[tokio::test]
    async fn log_lines_are_those_of_the_present_process() {
        let directory = tempfile::tempdir().expect("a directory");
        hears(&shell(directory.path(), "echo earlier; while :; do sleep 0.01; done"), "earlier").await;
        let mut process = shell(directory.path(), "echo later; while :; do sleep 0.01; done");
        hears(&process, "later").await;
        process.restart().expect("started again");
        hears(&process, "later\nlater").await;
        assert!(!process.last_words().contains("earlier"), "{}", process.last_words());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn process_ends_with_the_thread_that_started_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_owned();
        let start = move || {
            let process = shell(&path, "echo running; while :; do sleep 0.01; done");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(hears(&process, "running"));
            process
        };
        let mut process = std::thread::spawn(start).join().expect("no panic");
        let end = Instant::now() + SOON;
        while process.alive() {
            assert!(Instant::now() < end, "it goes on");
            sleep(LOOK).await;
        }
    }

    #[tokio::test]
    async fn paused_process_can_be_killed_and_restarted() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut process = shell(directory.path(), "echo life; while :; do sleep 0.01; done");
        hears(&process, "life").await;
        process.pause().expect("paused");
        assert!(process.alive());
        process.restart().expect("started again");
        hears(&process, "life\nlife").await;
    }
}
