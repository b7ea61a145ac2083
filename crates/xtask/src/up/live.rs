//! The live line: what goes through the gateway and the cache, by their own metrics.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use accord_fabric::{Fabric, metrics::sum};
use anyhow::Result;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::reloads::Reloads;
use crate::say::{say, show};

/// How often the processes are looked at, and a line on a terminal is rewritten.
const LOOK: Duration = Duration::from_secs(1);
/// How often a line is added where they are kept, such as in a file.
const IN_FILE: Duration = Duration::from_secs(10);
/// Takes what stands on a terminal's line away.
const CLEARED: &str = "\r\x1b[2K";

/// What has been counted since the gateway started.
#[derive(Clone, Copy)]
struct Figures {
    calls: f64,
    failed: f64,
    /// Answered from the memory of the gateway, of which the cache hears nothing.
    near: f64,
    hits: f64,
    misses: f64,
    bypassed: f64,
}

/// Shows the line until the caller drops this, or a process ends on its own.
pub(super) async fn follow(fabric: &mut Fabric) -> Result<()> {
    say("Ctrl-C drains and stops everything.\n")?;
    let terminal = stdout().is_terminal();
    let (mut looks, mut lines) = (ticks(LOOK), ticks(if terminal { LOOK } else { IN_FILE }));
    let mut before: Option<(Figures, Instant)> = None;
    let mut reloads = Reloads::begin(fabric);
    loop {
        tokio::select! {
            _ = looks.tick() => {
                fabric.check()?;
                continue;
            }
            _ = lines.tick() => {}
        }
        // One that is too busy to answer is asked again at the next tick.
        let (Ok(gateway), Ok(cache)) = (fabric.gateway.metrics().await, fabric.cache.metrics().await) else { continue };
        for line in reloads.news(&gateway, fabric) {
            say(format_args!("{}{line}", if terminal { CLEARED } else { "" }))?;
        }
        let now = Figures::read(&gateway, &cache);
        let rate = before.map_or(0.0, |(then, at)| (now.calls - then.calls) / at.elapsed().as_secs_f64());
        let line = now.line(rate);
        if terminal {
            show(format_args!("{CLEARED}{line}"))?;
        } else {
            say(line)?;
        }
        before = Some((now, Instant::now()));
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Figures {
    fn read(gateway: &str, cache: &str) -> Self {
        let duration = "rpc_server_call_duration_seconds_count";
        let all = sum(gateway, duration, &[]);
        // What is asked of the gateway itself, about its health or its descriptors, belongs to no method and is no call.
        let own = sum(gateway, duration, &[("rpc_method", "_OTHER"), ("rpc_response_status_code", "OK")]);
        let reads = |outcome: &[(&str, &str)]| sum(cache, "accord_cache_reads_total", outcome);
        let hits = reads(&[("outcome", "hit")]);
        Self {
            calls: all - own,
            failed: all - sum(gateway, duration, &[("rpc_response_status_code", "OK")]),
            near: sum(gateway, "accord_gateway_near_reads_total", &[("outcome", "hit")]),
            hits,
            misses: reads(&[]) - hits,
            bypassed: sum(gateway, "accord_gateway_cache_bypassed_total", &[]),
        }
    }

    fn line(&self, rate: f64) -> String {
        let Self { calls, failed, near, hits, misses, bypassed } = self;
        format!(
            "{rate:.0} calls/s   {calls} calls, {failed} not OK   cache: {near} near hits, {hits} hits, {misses} misses, \
             {bypassed} bypassed"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_counts_hits_in_the_gateway_beside_those_in_the_cache() {
        let gateway = "rpc_server_call_duration_seconds_count{rpc_response_status_code=\"OK\"} 5\n\
                       accord_gateway_near_reads_total{outcome=\"hit\"} 3\n\
                       accord_gateway_near_reads_total{outcome=\"miss\"} 2\n";
        let cache = "accord_cache_reads_total{outcome=\"hit\"} 1\naccord_cache_reads_total{outcome=\"uri-miss\"} 1\n";
        let line = Figures::read(gateway, cache).line(2.0);
        assert_eq!(line, "2 calls/s   5 calls, 0 not OK   cache: 3 near hits, 1 hits, 1 misses, 0 bypassed");
    }
}
