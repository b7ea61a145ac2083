//! What is done to the processes, and in which order.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

/// The shortest pause: less than a lease.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// How long the processes are left alone between two faults, in milliseconds: some keys come by a lease meanwhile.
const QUIET: std::ops::Range<u64> = 300..1_500;

/// A process of the mesh that something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// One of the two gateways.
    Gateway(usize),
    /// The cache, or one of its replicas.
    Cache(usize),
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Killed as by a power failure, and started again.
    Kill(Victim),
    /// Stopped where it stands, and resumed after a while.
    Pause(Victim),
    /// The cache is killed and started again while this process is stopped.
    KillCacheDuringPause(Victim),
    /// A successor of the cache waits for its lock; the one before is paused, resumed, and ends in order.
    RollOver,
    /// The same, but in the end the one before is killed.
    RollOverKilled,
    /// All replicas of the cache end in order and are started again, one after the other.
    RollReplicas,
    /// A gateway is parted from all replicas.
    PartGateway(usize),
    /// A replica is parted from the database of the invalidation log.
    PartReplica(usize),
    /// The database is stopped where it stands, and resumed after a while.
    PauseDatabase,
    /// The database is killed, and started again on what it had written.
    KillDatabase,
    /// The primary of the database is killed, and its standby promoted; it gets a standby of its own.
    FailOver,
    /// Packets from and to a process are lost for a while.
    Isolate(Victim),
    /// The same of what it sends alone.
    Mute(Victim),
    /// The same of what is sent to it alone.
    Deafen(Victim),
    /// The second level is stopped where it stands, and resumed after a while: it goes on with what it held.
    PauseSecondLevel,
    /// The second level is killed, and started again with nothing.
    KillSecondLevel,
}

/// A fault, with the length of the pause in it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub(super) kind: Kind,
    pub(super) pause: Duration,
}

impl Kind {
    /// Kill and pause of each process.
    pub const PROCESSES: [Self; 6] = [
        Self::Kill(Victim::Gateway(0)),
        Self::Kill(Victim::Gateway(1)),
        Self::Kill(Victim::Cache(0)),
        Self::Pause(Victim::Gateway(0)),
        Self::Pause(Victim::Gateway(1)),
        Self::Pause(Victim::Cache(0)),
    ];
    /// Both at once.
    pub const PAIRS: [Self; 2] =
        [Self::KillCacheDuringPause(Victim::Gateway(0)), Self::KillCacheDuringPause(Victim::Gateway(1))];
    /// Both ends of a rollover.
    pub const ROLLOVERS: [Self; 2] = [Self::RollOver, Self::RollOverKilled];
    /// What happens to replicas, beside kill and pause of each process.
    pub const REPLICAS: [Self; 14] = [
        Self::Kill(Victim::Cache(1)),
        Self::Kill(Victim::Cache(2)),
        Self::Pause(Victim::Cache(1)),
        Self::Pause(Victim::Cache(2)),
        Self::RollReplicas,
        Self::PartGateway(0),
        Self::PartGateway(1),
        Self::PartReplica(0),
        Self::PartReplica(1),
        Self::PauseDatabase,
        Self::KillDatabase,
        Self::FailOver,
        Self::PauseSecondLevel,
        Self::KillSecondLevel,
    ];

    /// What happens to the packets of replicas and gateways, where each is at a wire of its own.
    pub const WIRES: [Self; 9] = [
        Self::Isolate(Victim::Cache(0)),
        Self::Isolate(Victim::Cache(1)),
        Self::Isolate(Victim::Gateway(0)),
        Self::Mute(Victim::Cache(1)),
        Self::Mute(Victim::Cache(2)),
        Self::Mute(Victim::Gateway(1)),
        Self::Deafen(Victim::Cache(0)),
        Self::Deafen(Victim::Cache(2)),
        Self::Deafen(Victim::Gateway(0)),
    ];

    /// The gateway that can't answer meanwhile.
    pub(super) fn gateway(self) -> Option<usize> {
        match self {
            Self::Kill(victim)
            | Self::Pause(victim)
            | Self::KillCacheDuringPause(victim)
            | Self::Isolate(victim)
            | Self::Mute(victim)
            | Self::Deafen(victim) => match victim {
                Victim::Gateway(at) => Some(at),
                Victim::Cache(_) => None,
            },
            _ => None,
        }
    }
}

/// The faults of a seed, without an end: round by round each kind once, in another order each time.
pub struct Schedule {
    rng: SmallRng,
    kinds: Vec<Kind>,
    longest_pause: Duration,
    round: Vec<Kind>,
}

impl Schedule {
    /// These kinds, none of whose pauses is longer.
    pub fn new(seed: u64, kinds: &[Kind], longest_pause: Duration) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), kinds: kinds.to_vec(), longest_pause, round: Vec::new() }
    }

    /// The next fault, and how long the processes are left alone before it; none of no kinds.
    pub fn draw(&mut self) -> (Duration, Fault) {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.round.shuffle(&mut self.rng);
        }
        let kind = self.round.pop().unwrap_or(Kind::Pause(Victim::Cache(0)));
        // As many pauses are shorter than some time between shortest and longest as are longer than it, in proportion.
        let longest = self.longest_pause.div_duration_f64(SHORTEST_PAUSE).max(1.0);
        let pause = SHORTEST_PAUSE.mul_f64(longest.powf(self.rng.random_range(0.0..1.0)));
        (Duration::from_millis(self.rng.random_range(QUIET)), Fault { kind, pause })
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(index) => write!(formatter, "gateway {}", index + 1),
            Self::Cache(index) => write!(formatter, "cache {}", index + 1),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = self.pause.as_millis();
        match self.kind {
            Kind::Kill(victim) => write!(formatter, "kill {victim}"),
            Kind::Pause(victim) => write!(formatter, "pause {victim} for {pause} ms"),
            Kind::KillCacheDuringPause(victim) => write!(formatter, "kill cache, {victim} paused for {pause} ms more"),
            Kind::RollOver => write!(formatter, "roll the cache over, paused for {pause} ms and ended"),
            Kind::RollOverKilled => write!(formatter, "roll the cache over, paused for {pause} ms and killed"),
            Kind::RollReplicas => formatter.write_str("restart the replicas, one after the other"),
            Kind::PartGateway(index) => {
                write!(formatter, "part gateway {} from the replicas for {pause} ms", index + 1)
            }
            Kind::PartReplica(index) => write!(formatter, "part cache {} from the database for {pause} ms", index + 1),
            Kind::Isolate(victim) => write!(formatter, "lose all packets of {victim} for {pause} ms"),
            Kind::Mute(victim) => write!(formatter, "lose what {victim} sends for {pause} ms"),
            Kind::Deafen(victim) => write!(formatter, "lose what is sent to {victim} for {pause} ms"),
            Kind::PauseDatabase => write!(formatter, "pause the database for {pause} ms"),
            Kind::KillDatabase => formatter.write_str("kill the database"),
            Kind::PauseSecondLevel => write!(formatter, "pause the second level for {pause} ms"),
            Kind::KillSecondLevel => formatter.write_str("kill the second level"),
            Kind::FailOver => formatter.write_str("kill the primary of the database, and promote its standby"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, count: usize) -> Vec<String> {
        let mut schedule = Schedule::new(seed, &Kind::PROCESSES, Duration::from_secs(3));
        (0..count).map(|_| schedule.draw()).map(|(quiet, fault)| format!("{quiet:?} {fault:?}")).collect()
    }

    #[test]
    fn seed_gives_the_same_faults_again_and_another_gives_others() {
        assert_eq!(first(7, 20), first(7, 20));
        assert_ne!(first(7, 20), first(8, 20));
    }

    #[test]
    fn each_round_has_each_kind_once() {
        let mut schedule = Schedule::new(7, &Kind::PROCESSES, Duration::from_secs(3));
        for _ in 0..3 {
            let round: Vec<_> = (0..Kind::PROCESSES.len()).map(|_| schedule.draw().1.kind).collect();
            assert!(Kind::PROCESSES.iter().all(|kind| round.contains(kind)), "{round:?}");
        }
    }

    #[test]
    fn pauses_are_shorter_and_longer_than_a_lease_and_within_bounds() {
        let longest = Duration::from_secs(3);
        let mut schedule = Schedule::new(7, &Kind::PROCESSES, longest);
        let pauses: Vec<_> = (0..60).map(|_| schedule.draw().1.pause).collect();
        assert!(pauses.iter().all(|pause| (SHORTEST_PAUSE..=longest).contains(pause)), "{pauses:?}");
        let lease = Duration::from_millis(200);
        assert!(pauses.iter().any(|pause| *pause < lease) && pauses.iter().any(|pause| *pause > lease * 5));
    }
}
