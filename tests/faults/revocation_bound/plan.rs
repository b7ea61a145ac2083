//! What happens during one trial, as its seed says.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::BOUND;

/// What happens to one gateway while a token is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GatewayFault {
    None,
    /// Nothing passes between it and auth.
    CutOff,
    /// The same again and again, and healed in between.
    Flapping,
    /// What passes between it and auth is on its way for long.
    Delayed,
    /// The process stands still until the bound is over.
    Stopped,
    /// The process is killed and started again after the revocation.
    Restarted,
}

/// What happens to auth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AuthFault {
    None,
    /// It is killed and started again, and revokes then.
    KilledBefore,
    /// It is killed once it has acknowledged the revocation, and started again.
    KilledAfter,
}

/// How the token is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revocation {
    /// By whoever holds it.
    Revoke,
    /// By the replay of a refresh token of its family.
    Replay,
}

pub(super) struct Plan {
    pub(super) revocation: Revocation,
    /// Of the gateway behind a wire.
    pub(super) wire: GatewayFault,
    /// Of the one whose process is stopped or killed.
    pub(super) process: GatewayFault,
    pub(super) auth: AuthFault,
    /// How much older the faults are than the revocation.
    pub(super) lead: Duration,
    /// How long after the revocation auth is killed, and the gateway.
    pub(super) kills: [Duration; 2],
    /// How long what is delayed is on its way.
    pub(super) delay: Duration,
    /// What else is random.
    pub(super) rng: SmallRng,
}

impl Plan {
    /// The plan of this trial under this seed, always the same.
    pub(super) fn of(seed: u64, trial: u64) -> Self {
        use GatewayFault::{CutOff, Delayed, Flapping, None, Restarted, Stopped};
        // A stream of its own for each trial, so that one can be looked at alone.
        let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(trial.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut moment = |longest: f64| BOUND.mul_f64(rng.random_range(0.0..longest));
        let (lead, kills, delay) = (moment(0.5), [moment(0.5), moment(0.5)], moment(0.4));
        let mut one_of = |count: usize| rng.random_range(0..count);
        Self {
            revocation: [Revocation::Revoke, Revocation::Replay][one_of(2)],
            wire: [None, CutOff, Flapping, Delayed][one_of(4)],
            process: [None, Stopped, Restarted][one_of(3)],
            // Most of the time it is left alone, which is when revocations are fast.
            auth: [AuthFault::None, AuthFault::None, AuthFault::KilledBefore, AuthFault::KilledAfter][one_of(4)],
            lead,
            kills,
            delay,
            rng,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revocation, wire, process, auth, .. } = self;
        write!(formatter, "revocation {revocation:?}, wire {wire:?}, process {process:?}, auth {auth:?}")
    }
}
