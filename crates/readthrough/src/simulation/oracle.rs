//! What the origin committed, and when: the truth that answers are held against.

use std::time::Duration;

use crate::load::DEADLINE_MARGIN;
use crate::{Answer, ConsistencyRequirement, Failure, Moment, Outcome, Policy, Stale};

pub(super) const OBJECTS: usize = 6;

/// The principal whom the origin refuses now and then.
pub(super) const REFUSED_PRINCIPAL: u8 = 1;

/// Who asks, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub object: u8,
    pub tenant: u8,
    pub principal: u8,
}

impl Caller {
    /// Half of the objects are shared within a tenant.
    pub(super) fn shared(self) -> bool {
        self.object.is_multiple_of(2)
    }

    /// Whom the answer is for, as the origin writes it into the answer.
    pub(super) fn audience(self) -> u8 {
        if self.shared() { u8::MAX } else { self.principal }
    }
}

/// The value in an answer: a version of an object, as it was for somebody at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub object: u8,
    pub tenant: u8,
    pub audience: u8,
    pub version: u32,
    pub sampled: Moment,
}

impl Value {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![self.object, self.tenant, self.audience];
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.sampled.0.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, cool_down) = bytes.split_first_chunk::<3>()?;
        let (version, cool_down) = cool_down.split_first_chunk::<4>()?;
        let (sampled, _) = cool_down.split_first_chunk::<8>()?;
        Some(Self {
            object: head[0],
            tenant: head[1],
            audience: head[2],
            version: u32::from_be_bytes(*version),
            sampled: Moment(u64::from_be_bytes(*sampled)),
        })
    }
}

/// Each object's versions and the time of each commit, up to which version invalidations were acknowledged, and when the
/// origin last failed somebody.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    commits: [Vec<Moment>; OBJECTS],
    acknowledged: [u32; OBJECTS],
    /// The same for invalidations that delete.
    deleted: [u32; OBJECTS],
    failed: [Moment; OBJECTS],
    /// How far behind the truth the origin may be: no time, where it gives no versions.
    lag: Duration,
}

/// What was true when a read was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    caller: Caller,
    consistency: ConsistencyRequirement,
    at: Moment,
    until: Moment,
    current: u32,
    acknowledged: u32,
    deleted: u32,
}

impl Oracle {
    pub(super) fn new(lag: Duration) -> Self {
        Self { lag, ..Self::default() }
    }

    pub(super) fn lags(&self) -> bool {
        !self.lag.is_zero()
    }

    /// The version of an object as a replica has it that lags.
    pub(super) fn lagging(&self, object: u8, now: Moment) -> u32 {
        let since = now.before(self.lag);
        let commits = self.commits[usize::from(object)].iter().take_while(|commit| **commit <= since);
        u32::try_from(commits.count()).expect("few versions")
    }

    pub(super) fn commit(&mut self, object: u8, now: Moment) -> u32 {
        self.commits[usize::from(object)].push(now);
        self.current(object)
    }

    pub(super) fn current(&self, object: u8) -> u32 {
        u32::try_from(self.commits[usize::from(object)].len()).expect("few versions")
    }

    pub(super) fn acknowledge(&mut self, object: u8, version: u32, is_deleted: bool) {
        let raise = |acknowledged: &mut u32| *acknowledged = version.max(*acknowledged);
        raise(&mut self.acknowledged[usize::from(object)]);
        if is_deleted {
            raise(&mut self.deleted[usize::from(object)]);
        }
    }

    pub(super) fn ask(
        &self,
        caller: Caller,
        consistency: ConsistencyRequirement,
        at: Moment,
        wait_budget: Duration,
    ) -> Asked {
        let object = caller.object;
        let (current, acknowledged) = (self.current(object), self.acknowledged(object));
        let deleted = self.deleted[usize::from(object)];
        Asked { caller, consistency, at, until: at.after(wait_budget), current, acknowledged, deleted }
    }

    pub(super) fn acknowledged(&self, object: u8) -> u32 {
        self.acknowledged[usize::from(object)]
    }

    /// The origin failed somebody who asked for this, or kept them waiting for too long.
    pub(super) fn fail(&mut self, object: u8, now: Moment) {
        self.failed[usize::from(object)] = now;
    }

    /// When a version was superseded; never, for the current one.
    fn superseded(&self, object: u8, version: u32) -> Moment {
        let next = usize::try_from(version).expect("few versions");
        self.commits[usize::from(object)].get(next).copied().unwrap_or(Moment(u64::MAX))
    }

    /// Holds an answer against the truth: the first invariant that it breaks.
    ///
    /// `cool_down` is for how long an origin that failed is left alone.
    pub(super) fn check(
        &self,
        asked: &Asked,
        policy: &Policy,
        answer: &Answer,
        cool_down: Duration,
        now: Moment,
    ) -> Result<(), String> {
        let caller = asked.caller;
        let bytes = match &answer.load {
            Ok(message) => message,
            Err(failure) if failure.code == 5 => &failure.details,
            Err(failure) => return check_failure(asked, failure, now),
        };
        let value = Value::decode(bytes).ok_or("I1: not an answer of the origin")?;
        if !bytes.starts_with(&answer.metadata) || answer.metadata.is_empty() {
            return Err(format!("I1: the metadata of another answer than {value:?}"));
        }
        let whose = (value.object, value.tenant, value.audience);
        if whose != (caller.object, caller.tenant, caller.audience()) {
            return Err(format!("I12: somebody else's answer: {asked:?} got {value:?} in {answer:?}"));
        }
        self.check_freshness(asked, policy, answer, &value, cool_down, now)
    }

    /// Holds the age, the version and the staleness of an answer against the truth.
    fn check_freshness(
        &self,
        asked: &Asked,
        policy: &Policy,
        answer: &Answer,
        value: &Value,
        cool_down: Duration,
        now: Moment,
    ) -> Result<(), String> {
        let Asked { caller, consistency, .. } = *asked;
        let strong = consistency == ConsistencyRequirement::Strong;
        let oldest = asked.at.before(tolerated(consistency, policy, answer) + self.lag);
        let ensure = |holds: bool, broken: &str| {
            let told = || format!("{broken}: {asked:?} got {value:?} in {answer:?}");
            if holds { Ok(()) } else { Err(told()) }
        };
        let declared = if answer.load.is_ok() { policy.ttl } else { policy.negative_ttl };
        ensure(answer.lifetime <= declared, "I2: a longer lifetime than declared")?;
        ensure(answer.outcome != Outcome::Hit || answer.age < longest(policy, answer), "I2, I10: kept for too long")?;
        ensure(answer.stale.is_none() || answer.load.is_ok(), "I10: a stale absence")?;
        ensure(!strong || answer.outcome != Outcome::Hit, "I4: not from the origin")?;
        let failed = self.failed[usize::from(caller.object)].after(cool_down) >= asked.at;
        ensure(answer.stale != Some(Stale::OriginFailed) || failed, "I10: the origin had not failed")?;
        ensure(value.version <= self.current(caller.object), "I1: a version that was never committed")?;
        let is_stale = answer.stale == Some(Stale::OriginFailed);
        ensure(self.lags() || value.version >= asked.deleted || !is_stale, "I10: deleted, and served stale")?;
        let is_old = value.version < asked.acknowledged && !is_stale;
        ensure(self.lags() || !is_old, "I6: older than an acknowledged invalidation")?;
        ensure(!strong || self.lags() || value.version >= asked.current, "I4: older than when it was asked")?;
        ensure(self.superseded(caller.object, value.version) >= oldest, "I2, I10: staler than tolerated")?;
        ensure(answer.age >= now.since(value.sampled), "I9: older than it says")
    }
}

/// An error says something about its caller, who must be this one.
fn check_failure(asked: &Asked, failure: &Failure, now: Moment) -> Result<(), String> {
    match failure.code {
        // The origin says so only where its caller has no more time.
        4 if now.after(DEADLINE_MARGIN) < asked.until => {
            Err(format!("I12: told that its time is over before it was: {asked:?} at {now:?}"))
        }
        7 if asked.caller.principal != REFUSED_PRINCIPAL => {
            Err(format!("I12: turned away for somebody else: {asked:?}"))
        }
        _ => Ok(()),
    }
}

/// How old an answer from memory may be.
fn longest(policy: &Policy, answer: &Answer) -> Duration {
    let further = match answer.stale {
        None => Duration::ZERO,
        Some(Stale::Revalidating) => policy.stale_while_revalidate,
        Some(Stale::OriginFailed | Stale::OlderVersion | Stale::OriginTooSlow) => {
            policy.stale_if_error.max(policy.stale_while_revalidate)
        }
    };
    answer.lifetime + further
}

/// How long before the question the answer may have been superseded.
fn tolerated(consistency: ConsistencyRequirement, policy: &Policy, answer: &Answer) -> Duration {
    let contract = match (answer.outcome, answer.stale) {
        (_, Some(Stale::OriginFailed | Stale::OlderVersion | Stale::OriginTooSlow)) => {
            policy.ttl + policy.stale_if_error.max(policy.stale_while_revalidate)
        }
        (_, Some(Stale::Revalidating)) => policy.ttl + policy.stale_while_revalidate,
        (Outcome::Bypass | Outcome::Request, None) => Duration::ZERO,
        (_, None) => policy.ttl,
    };
    match consistency {
        ConsistencyRequirement::MaxStaleness(bound) => contract.min(bound),
        ConsistencyRequirement::Strong => Duration::ZERO,
        ConsistencyRequirement::MinimizeLatency => contract,
    }
}
