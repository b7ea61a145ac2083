//! Network namespaces: a process at the end of a wire of its own, whose packets can be lost in either direction without anybody being
//! told, as where a switch fails or a rule of a firewall is wrong.
//!
//! All addresses stay on loopback: who is at a wire serves at 127.0.1.N, and finds everybody else at 127.0.0.1, to which the wire leads
//! from there. Wires are laid from a network namespace that nobody else uses: [`inside`] makes one.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::process::{Launch, dying_with_us};

/// Where everybody is who is at no wire.
const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The end of a wire in its namespace.
const END: &str = "wire";
/// A link-layer address that nobody has: what is sent to it is lost.
const NOBODY: &str = "02:00:00:00:00:00";
/// How long a namespace may take to be there, and how often it is looked whether it is.
const START: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// Which packets of a wire are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// All.
    Both,
    /// Those that its process sends.
    Sent,
    /// Those that are sent to its process.
    Received,
}

/// A wire. It is taken away when this is dropped and the processes in its namespace have ended.
#[derive(Debug)]
pub struct Wire {
    number: u8,
    /// Keeps the namespace while no other process is in it.
    holder: Child,
}

/// In a new namespace, loopback is down.
const UP: &str = r#"ip link set lo up && exec "$0" "$@""#;

/// The same command in a network namespace of its own, as root or as whoever may make one.
pub fn inside(inner: &Command) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // PostgreSQL does not run as root, and so not as the root of a namespace.
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.args(["--net", "--", "sh", "-c", UP]).arg(inner.get_program()).args(inner.get_args());
    let set = inner.get_envs().filter_map(|(key, value)| Some((key, value?)));
    command.envs(set).current_dir(inner.get_current_dir().unwrap_or(Path::new(".")));
    command
}

/// Whether this process is in a network namespace in which nothing leads anywhere yet.
pub fn is_own() -> Result<bool> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = devices.lines().skip(2).filter_map(|line| line.split(':').next());
    Ok(names.map(str::trim).all(|name| name == "lo" || name.starts_with(END)))
}

impl Wire {
    /// Lays one, by a number from 1 on that no other has.
    pub fn lay(number: u8) -> Result<Self> {
        ensure!(is_own()?, "wires are laid in a network namespace of their own: run this by `unshare --net`");
        lead_loopback(&mut Command::new("tee"))?;
        let mut holder = dying_with_us(Path::new("unshare"));
        // It ends with whoever holds the other end of its input.
        let holder = holder.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let wire = Self { number, holder };
        wire.wait_for_namespace()?;
        let (device, host, inside) = (wire.device(), wire.host().to_string(), wire.holder.id().to_string());
        let (near, far, home) = (wire.link_address(1), wire.link_address(2), HOME.to_string());
        let ends = ["address", &near, "type", "veth", "peer", "name", END, "address", &far, "netns", &inside];
        ip(&[&["link", "add", &device], &ends[..]].concat())?;
        ip(&["link", "set", &device, "up"])?;
        // A longer prefix than that of all of loopback, in the table that is asked first.
        ip(&["route", "add", &host, "dev", &device, "src", &home, "table", "local"])?;
        lead_loopback(&mut wire.at_its_end("tee"))?;
        wire.ip(&["address", "add", &host, "dev", END])?;
        wire.ip(&["link", "set", END, "up"])?;
        wire.ip(&["route", "add", &home, "dev", END, "src", &host])?;
        wire.heal()?;
        Ok(wire)
    }

    /// The address of whoever is at its end.
    pub fn host(&self) -> IpAddr {
        Ipv4Addr::new(127, 0, 1, self.number).into()
    }

    /// The same start of a process, at the end of this wire.
    pub(crate) fn launch(&self, launch: Launch) -> Launch {
        let entered = [self.enter(), "--".into(), launch.program.into()];
        Launch { program: "nsenter".into(), arguments: entered.into_iter().chain(launch.arguments).collect(), ..launch }
    }

    /// Loses packets from now on. Nobody is told so.
    pub fn lose(&self, lost: Lost) -> Result<()> {
        if lost != Lost::Sent {
            self.lead_here(NOBODY)?;
        }
        if lost != Lost::Received {
            self.lead_home(NOBODY)?;
        }
        Ok(())
    }

    /// Loses none any more.
    pub fn heal(&self) -> Result<()> {
        self.lead_here(&self.link_address(2))?;
        self.lead_home(&self.link_address(1))
    }

    fn lead_here(&self, address: &str) -> Result<()> {
        let (host, device) = (self.host().to_string(), self.device());
        ip(&["neighbour", "replace", &host, "lladdr", address, "dev", &device, "nud", "permanent"])
    }

    fn lead_home(&self, address: &str) -> Result<()> {
        self.ip(&["neighbour", "replace", &HOME.to_string(), "lladdr", address, "dev", END, "nud", "permanent"])
    }

    /// Its end among all others.
    fn device(&self) -> String {
        format!("{END}-{}", self.number)
    }

    fn link_address(&self, end: u8) -> String {
        format!("02:00:00:00:{:02x}:{end:02x}", self.number)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        run(self.at_its_end("ip").args(arguments))
    }

    fn at_its_end(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.enter()).args(["--", program]);
        command
    }

    /// The namespace at its end.
    pub fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    fn enter(&self) -> OsString {
        format!("--net={}", self.namespace().display()).into()
    }

    fn wait_for_namespace(&self) -> Result<()> {
        let own = fs::read_link("/proc/thread-self/ns/net")?;
        let (namespace, begun) = (self.namespace(), Instant::now());
        while fs::read_link(&namespace).context("unshare has ended")? == own {
            ensure!(begun.elapsed() < START, "unshare made no network namespace within {START:?}");
            // Nobody is told when another process has made one.
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Nothing can be done about a process that can't be killed.
        let _ = self.holder.kill().and_then(|()| self.holder.wait());
    }
}

/// Lets packets with addresses of loopback out and in.
fn lead_loopback(tee: &mut Command) -> Result<()> {
    let mut tee =
        tee.arg("/proc/sys/net/ipv4/conf/all/route_localnet").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    std::io::Write::write_all(tee.stdin.as_mut().context("an input")?, b"1")?;
    let status = tee.wait()?;
    ensure!(status.success(), "the network namespace takes no setting: {status}");
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output =
        command.output().with_context(|| format!("{} could not be started", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
