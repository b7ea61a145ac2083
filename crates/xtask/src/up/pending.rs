//! Which services of one's own can be called, and which can't yet, because the gateway has not read their descriptors: told by
//! its log, which has the cause.

use accord_fabric::Fabric;
use anyhow::Result;

use crate::say::say;

/// What the gateway's log says, as it starts, of an upstream whose descriptors it has not.
const PENDING: &str = "its descriptors are not known";
/// What it says once it has them, before the upstream's name.
const READ: &str = "after a change of the descriptors of ";

/// Says a line for each of the `upstreams`, by their names and URLs, and for each service that can't be called yet.
pub(super) fn print(fabric: &Fabric, upstreams: &[(String, String)]) -> Result<()> {
    let log = fabric.gateway.process.log();
    let pending = of(&log);
    for (name, url) in callable(upstreams, &pending) {
        say(format_args!("  {name:8} {url}   can be called now"))?;
    }
    for (name, why) in &pending {
        say(format_args!(
            "  {name:8} can't be called yet, its descriptors could not be read: {why}\n           \
             The gateway goes on trying. A service without server reflection needs `--descriptors {name}=FILE`."
        ))?;
    }
    if pending.is_empty() && upstreams.is_empty() { Ok(()) } else { say("") }
}

fn callable<'a>(
    upstreams: &'a [(String, String)],
    pending: &[(&str, &str)],
) -> impl Iterator<Item = &'a (String, String)> {
    upstreams.iter().filter(|(upstream, _)| pending.iter().all(|(name, _)| name != upstream))
}

fn of(log: &str) -> Vec<(&str, &str)> {
    let read = |name: &str| log.lines().any(|line| line.split_once(READ).is_some_and(|(_, end)| named(end) == name));
    let pending = log.lines().filter(|line| line.contains(PENDING)).filter_map(|line| line.split_once("upstream="));
    pending.filter_map(|(_, fields)| fields.split_once(" why=")).filter(|(name, _)| !read(name)).collect()
}

/// The name with which a line goes on.
fn named(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: &str =
        "1  WARN a: its descriptors are not known: until they are, UNAVAILABLE upstream=echo why=it is down";

    #[test]
    fn upstream_that_is_not_pending_can_be_called() {
        let upstreams = ["echo", "shop"].map(|name| (name.to_owned(), "http://127.0.0.1:1".to_owned()));
        let names: Vec<_> = callable(&upstreams, &of(DOWN)).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["shop"]);
    }

    #[test]
    fn upstream_is_pending_until_its_descriptors_are_read() {
        assert_eq!(of(DOWN), [("echo", "it is down")]);
        let other =
            format!("{DOWN}\n2  INFO a: contract reloaded after a change of the descriptors of echo2 methods=3");
        assert_eq!(of(&other).len(), 1);
        let read = format!("{DOWN}\n2  INFO a: contract reloaded after a change of the descriptors of echo methods=3");
        assert_eq!(of(&read), []);
    }
}
