//! The machine: which core what is measured runs on, and what the system says of a process.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What is measured has a core of its own; load and upstream share another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    /// Where what is measured runs.
    pub tested: usize,
    /// Where load and upstream run.
    pub load: usize,
}

impl Cores {
    /// The last of those that we may use, and the first.
    pub(super) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("the system does not tell which cores there are")?;
        let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        ensure!(cores.len() > 1, "two cores are needed: one for what is measured, one for load and upstream");
        Ok(Self { tested: cores[cores.len() - 1], load: cores[0] })
    }

    /// The same, or one core for both where there is no other: for what no time is taken of.
    pub(super) fn any() -> Result<Self> {
        Self::choose().or_else(|_one_core| {
            let allowed = sched_getaffinity(None).context("the system does not tell which cores there are")?;
            let core = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).context("there is no core")?;
            Ok(Self { tested: core, load: core })
        })
    }

    /// Makes this thread, and what it starts from now on, run on these alone.
    pub(super) fn pin(cores: &[usize]) -> Result<()> {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core);
        }
        sched_setaffinity(None, &set).context("can't stay on a core")
    }
}

/// How long the threads of a process have been on a core, in user and system mode.
pub(super) fn cpu_time(process: u32) -> Result<Duration> {
    scheduled(process, 0)
}

/// How long they have waited for one while they could have run.
pub(super) fn waited_for_a_core(process: u32) -> Result<Duration> {
    scheduled(process, 1)
}

/// One of the times that `schedstat` has of each thread.
fn scheduled(process: u32, column: usize) -> Result<Duration> {
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    let mut sum = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("{} can't be read", tasks.display()))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let time = text.split_whitespace().nth(column).and_then(|word| word.parse::<u64>().ok());
        sum += time.context("the system does not count processor time: schedstat")?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Model, cores, system and date, in one line.
pub(super) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named =
        |key: &str| cpu.lines().find_map(|line| line.strip_prefix(key)?.split_once(':').map(|(_, value)| value.trim()));
    let model = named("model name").unwrap_or("a processor that does not tell its name");
    let family = named("cpu family").map(|family| format!(", family {family}")).unwrap_or_default();
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let system = rustix::system::uname();
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().ok();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!(
        "{model}{family}, {cores} cores, {} {}, {date}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}
