//! Which services can't be called yet, because the gateway has not read their descriptors: told by its log, which has the cause.

use accord_fabric::Fabric;
use anyhow::Result;

use crate::say::say;

/// What the gateway's log says, as it starts, of an upstream whose descriptors it has not.
const PENDING: &str = "its descriptors are not known";
/// What it says once it has them, before the upstream's name.
const READ: &str = "after a change of the descriptors of ";

/// Says a line for each service that can't be called yet.
pub(super) fn print(fabric: &Fabric) -> Result<()> {
    let log = fabric.gateway.process.log();
    let pending = of(&log);
    for (name, why) in &pending {
        say(format_args!(
            "  {name:8} can't be called yet, its descriptors could not be read: {why}\n           \
             The gateway goes on trying. A service without server reflection needs `descriptors` in its `[[upstream]]`."
        ))?;
    }
    if pending.is_empty() { Ok(()) } else { say("") }
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
    fn upstream_is_pending_until_its_descriptors_are_read() {
        assert_eq!(of(DOWN), [("echo", "it is down")]);
        let other =
            format!("{DOWN}\n2  INFO a: contract reloaded after a change of the descriptors of echo2 methods=3");
        assert_eq!(of(&other).len(), 1);
        let read = format!("{DOWN}\n2  INFO a: contract reloaded after a change of the descriptors of echo methods=3");
        assert_eq!(of(&read), []);
    }
}
