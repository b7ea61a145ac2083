//! What the process takes of its machine, and which build it is. Of the process Linux alone tells; elsewhere nothing is shown.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use opentelemetry::{KeyValue, metrics::Meter};
use rustix::process::{Resource, getrlimit};

use crate::declared_metrics::{BUILD_INFO, CPU_TIME, MEMORY_USAGE, OPEN_FILES, OPEN_FILES_LIMIT, START_TIME};

/// Ticks in a second, as `/proc` counts them on every architecture (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The columns of `/proc/self/stat` after the command's name, which may hold anything (proc(5)).
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const STARTED: usize = 19;
const RESIDENT_PAGES: usize = 21;

/// Shows the build, and the process's processor time, memory, file descriptors and start.
pub(crate) fn observe(meter: &Meter) {
    let version = [KeyValue::new("version", env!("CARGO_PKG_VERSION"))];
    BUILD_INFO.observe(meter, move |gauge| gauge.observe(1, &version));
    CPU_TIME.observe_f64(meter, |counter| observed(cpu_seconds(), |seconds| counter.observe(seconds, &[])));
    MEMORY_USAGE.observe(meter, |gauge| observed(resident_bytes(), |bytes| gauge.observe(bytes, &[])));
    observe_descriptors(meter);
    let started = started().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    START_TIME.observe_f64(meter, move |gauge| observed(started, |since| gauge.observe(since.as_secs_f64(), &[])));
}

fn observe_descriptors(meter: &Meter) {
    OPEN_FILES.observe(meter, |gauge| observed(open_descriptors(), |count| gauge.observe(count, &[])));
    OPEN_FILES_LIMIT.observe(meter, |gauge| {
        observed(getrlimit(Resource::Nofile).current, |limit| gauge.observe(limit, &[]));
    });
}

fn observed<T>(value: Option<T>, observe: impl FnOnce(T)) {
    if let Some(value) = value {
        observe(value);
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = stat()?;
    Some((column(&stat, USER_TIME)? + column(&stat, SYSTEM_TIME)?) / TICKS)
}

fn resident_bytes() -> Option<u64> {
    let pages: u64 = after_name(&stat()?)?.split_whitespace().nth(RESIDENT_PAGES)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn started() -> Option<SystemTime> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let age = Duration::try_from_secs_f64(uptime - column(&stat()?, STARTED)? / TICKS).ok()?;
    SystemTime::now().checked_sub(age)
}

fn open_descriptors() -> Option<u64> {
    // The directory that is read takes one itself.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(open).ok()
}

fn stat() -> Option<String> {
    fs::read_to_string("/proc/self/stat").ok()
}

fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest)
}

fn column(stat: &str, column: usize) -> Option<f64> {
    after_name(stat)?.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000000 640";
        assert_eq!((column(stat, USER_TIME), column(stat, SYSTEM_TIME)), (Some(250.0), Some(50.0)));
        assert_eq!((column(stat, STARTED), column(stat, RESIDENT_PAGES)), (Some(12345.0), Some(640.0)));
    }

    #[test]
    fn process_started_before_now_and_within_the_hour() {
        let age = started().unwrap().elapsed().unwrap();
        assert!(age < Duration::from_hours(1), "{age:?}");
    }
}
