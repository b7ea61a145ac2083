//! What came of a rolling restart.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{End, Instance, carried_out::CarriedOut, identity, load::Load};

/// One process that was restarted, and how long it was away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    pub instance: Instance,
    pub end: End,
    pub away: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    restarts: usize,
    gateways_killed: usize,
    failed: u64,
    broken: u64,
    violations: u64,
    let_in: u64,
    /// None where nothing speaks TLS.
    rotations: Option<usize>,
    carried_out: CarriedOut,
    is_tried: bool,
    text: String,
}

impl Report {
    pub(super) fn of(
        restarts: &[Restart],
        load: &Load,
        program: &identity::Counts,
        carried_out: CarriedOut,
        rotations: Option<usize>,
    ) -> Self {
        let (judge, counts) = (load.judge(), load.counts());
        let (violations, told) = judge.violations();
        let mut lines = figures(restarts, load, program);
        lines.extend(carried_out.lines());
        lines.extend(rotations.map(|times| format!("certificates  {times} times replaced, and taken over by all")));
        lines.push(format!("failed        {}", count(&counts.failed)));
        lines.extend(judge.failures().iter().map(|(cause, count)| format!("              {count:>6} {cause}")));
        lines.push(format!("violations    {violations}"));
        lines.extend(told);
        let is_killed = |restart: &&Restart| restart.end == End::Killed && restart.instance.is_gateway();
        let is_tried = counts.answered.iter().chain([&program.issued, &program.revoked]).all(|it| count(it) > 0);
        Self {
            restarts: restarts.len(),
            gateways_killed: restarts.iter().filter(is_killed).count(),
            failed: count(&counts.failed),
            broken: count(&counts.broken),
            violations,
            let_in: count(&program.let_in),
            rotations,
            carried_out,
            is_tried,
            text: lines.join("\n"),
        }
    }

    /// Fails where a call failed that had to go well, an answer was older than its contract says, or a revoked token was let in.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.is_tried && self.restarts > 0 && self.rotations != Some(0), "it was hardly tried\n{self}");
        ensure!(self.violations == 0, "the promise was broken {} times\n{self}", self.violations);
        ensure!(self.let_in == 0, "a revoked token was let in past the bound\n{self}");
        let CarriedOut { creations, twice, missing, after_claim } = &self.carried_out;
        ensure!(*creations > 0, "nothing was created\n{self}");
        ensure!(twice.is_empty(), "{} calls were carried out twice\n{self}", twice.len());
        ensure!(missing.is_empty(), "{} products are missing that were created\n{self}", missing.len());
        let may_run_again = *after_claim == 0 || self.gateways_killed > 0;
        ensure!(may_run_again, "{after_claim} creations ran again, although no gateway was killed\n{self}");
        ensure!(self.failed == 0, "{} calls failed\n{self}", self.failed);
        let may_break = self.broken == 0 || self.gateways_killed > 0;
        ensure!(may_break, "{} calls broke in flight, although no gateway was killed\n{self}", self.broken);
        Ok(())
    }
}

fn figures(restarts: &[Restart], load: &Load, program: &identity::Counts) -> Vec<String> {
    let (judge, counts) = (load.judge(), load.counts());
    let [http1, single, http2, grpc] = counts.answered.each_ref().map(count);
    let [p50, p99] = [500, 990].map(|permille| judge.latency.quantile(permille).as_secs_f64() * 1_000.0);
    let (near, replayed) = (count(&judge.reads[0].near), count(&counts.replayed));
    let longest_away = restarts.iter().map(|restart| restart.away).max().unwrap_or_default().as_secs_f64();
    vec![
        format!(
            "answered      {http1} by HTTP/1.1, {single} on connections of their own, {http2} by HTTP/2, {grpc} by gRPC; {near} near, {replayed} replayed"
        ),
        format!("read latency  p50 {p50:.1} ms, p99 {p99:.1} ms"),
        format!("writes        {}", judge.writes),
        format!("deferred      not seen for {} ms at the longest", judge.longest_deferred().as_millis()),
        format!(
            "tokens        {} issued, {} revoked, let in for {} ms at the longest, {} calls past the bound",
            count(&program.issued),
            count(&program.revoked),
            count(&program.longest),
            count(&program.let_in)
        ),
        format!("restarts      {}, the longest of {longest_away:.1} s", restarts.len()),
        format!("broken        {} in flight that may not be repeated", count(&counts.broken)),
        format!(
            "under keys    {} sent again after they broke; {} of them were there already, of a gateway that was killed",
            count(&counts.sent_again),
            count(&counts.repeated)
        ),
    ]
}

fn count(it: &AtomicU64) -> u64 {
    it.load(Ordering::Relaxed)
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
