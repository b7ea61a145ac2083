//! Fair shares of a budget: while others ask, nobody holds more than their share.
//!
//! A budget is a number of things that are held for a while: calls in flight, bytes in memory, passwords being checked. A caller
//! holds them: a principal, or an address as long as nobody knows whose call it is; of IPv6 the network of 64 bits, since whoever
//! has one address of it has them all. It may take more for as long as what it holds stays below a multiple of what is free
//! (dynamic thresholds: Choudhury and Hahne, "Dynamic Queue Length Thresholds in a Shared Memory ATM Switch", 1996). So whoever
//! holds most is shed first, one caller alone ends at its share, and something is always left for whoever comes next: with a
//! share of half, n callers that want all have one part of n + 1 each. Nobody has to be counted for that, and nothing that is
//! held is taken away again: a call that has begun may have changed something, and its deadline ends it anyway.
//!
//! The connections of a caller share what it may have by the same rule. So one that stalls leaves room for the others behind the
//! same address, and a caller that has but one connection has that share of a share.
//!
//! Only what is held now is remembered, so the maps are no larger than the budget. A caller is remembered by a hash under a key
//! of this process: nothing is allocated for a call. Two that have the same one would share a share.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::KeyValue;
use tokio::sync::Notify;

use crate::{
    declared_metrics::{BUDGET_LIMIT, BUDGET_SHED},
    prehashed::BuildPrehashed,
    telemetry,
};

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Who holds something of a budget: a caller, by one of its connections where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    caller: u64,
    connection: Option<u64>,
}

impl Hash for Holder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // An odd factor spreads the numbers of connections, which follow each other.
        let connection = self.connection.map_or(0, |number| number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        state.write_u64(self.caller ^ connection);
    }
}

impl Holder {
    /// A caller that is known, by this [`connection`](crate::server::Peer::connection).
    pub fn principal(subject: &str, connection: impl Into<Option<u64>>) -> Self {
        Self { caller: KEY.hash_one(subject), connection: connection.into() }
    }

    /// A caller of whom no more than its address is known.
    pub fn address(address: IpAddr, connection: impl Into<Option<u64>>) -> Self {
        Self { caller: KEY.hash_one(network_of(address)), connection: connection.into() }
    }
}

/// The address as far as it tells one caller from another: whoever has one IPv6 address has the 2^64 beside it too.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// Why somebody gets nothing more of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Nothing is left.
    Full,
    /// The caller, or its connection, holds its share.
    Share,
}

impl Shed {
    const ALL: [Self; 2] = [Self::Full, Self::Share];

    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Share => "share",
        }
    }
}

/// A budget, of which callers hold fair shares. Clones are the same budget, and cost a count of one.
#[derive(Clone, Debug)]
pub struct FairShare(Arc<Kind>);

/// One kind of things that are held of a budget.
#[derive(Debug)]
struct Kind {
    budget: Arc<Budget>,
    /// What is held of it for them.
    held: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Budget {
    total: AtomicU64,
    /// In percent.
    max_share: AtomicU64,
    state: Mutex<State>,
    is_idle: Notify,
    shed: [AtomicU64; Shed::ALL.len()],
}

#[derive(Debug, Default)]
struct State {
    held: u64,
    callers: HashMap<u64, u64, BuildPrehashed>,
    connections: HashMap<Holder, u64, BuildPrehashed>,
}

impl FairShare {
    /// The share of one caller in percent, where nothing else is configured.
    pub const DEFAULT: u64 = 50;

    /// A budget of `total`, of which one caller alone gets `max_share` percent, 1 to 99.
    pub fn new(total: u64, max_share: u64) -> Self {
        let (state, is_idle) = (Mutex::default(), Notify::new());
        let (total, max_share) = (AtomicU64::new(total), AtomicU64::new(max_share.clamp(1, 99)));
        let budget = Budget { total, max_share, state, is_idle, shed: Default::default() };
        Self(Arc::new(Kind { budget: Arc::new(budget), held: Arc::default() }))
    }

    /// Makes the budget larger or smaller, of every kind. What is held stays held: where that is more than the new total, nobody gets
    /// anything until enough was given back.
    pub fn resize(&self, total: u64, max_share: u64) {
        self.0.budget.total.store(total, Ordering::Relaxed);
        self.0.budget.max_share.store(max_share.clamp(1, 99), Ordering::Relaxed);
    }

    /// What may be held of it.
    pub fn total(&self) -> u64 {
        self.0.budget.total.load(Ordering::Relaxed)
    }

    /// The same budget for another kind of things, whose amount is told apart.
    #[must_use]
    pub fn kind(&self) -> Self {
        Self(Arc::new(Kind { budget: Arc::clone(&self.0.budget), held: Arc::default() }))
    }

    /// Shows the budget and what is shed of it in metrics, under this name.
    #[must_use]
    pub fn observed(self, name: &'static str) -> Self {
        let (meter, limited) = (telemetry::meter(), Arc::downgrade(&self.0.budget));
        BUDGET_LIMIT.observe(&meter, move |gauge| {
            let Some(budget) = limited.upgrade() else { return };
            gauge.observe(budget.total.load(Ordering::Relaxed), &[KeyValue::new("budget", name)]);
        });
        let budget = Arc::downgrade(&self.0.budget);
        BUDGET_SHED.observe(&meter, move |counter| {
            let Some(budget) = budget.upgrade() else { return };
            for (reason, count) in Shed::ALL.into_iter().zip(&budget.shed) {
                let labels = [KeyValue::new("budget", name), KeyValue::new("reason", reason.name())];
                counter.observe(count.load(Ordering::Relaxed), &labels);
            }
        });
        self
    }

    /// Holds an amount for this holder, or for nobody in particular. Of what is free, `kept` is for others.
    pub fn hold(&self, holder: Option<Holder>, amount: u64, kept: u64) -> Result<Held, Shed> {
        self.take(holder, amount, kept)?;
        Ok(Held { of: self.clone(), holder, amount })
    }

    /// What this holder will have of it: nothing yet.
    pub fn nothing(&self, holder: Option<Holder>) -> Held {
        Held { of: self.clone(), holder, amount: 0 }
    }

    /// How much is held of this kind, to be shown in metrics.
    pub fn held(&self) -> &Arc<AtomicU64> {
        &self.0.held
    }

    /// Waits until nothing is held, of any kind.
    pub async fn idle(&self) {
        loop {
            let is_idle = self.0.budget.is_idle.notified();
            if self.state().held == 0 {
                return;
            }
            is_idle.await;
        }
    }

    fn take(&self, holder: Option<Holder>, amount: u64, kept: u64) -> Result<(), Shed> {
        let taken = self.state().take(&self.0.budget, holder, amount, kept);
        match taken {
            Ok(()) => drop(self.0.held.fetch_add(amount, Ordering::Relaxed)),
            Err(shed) => drop(self.0.budget.shed[shed as usize].fetch_add(1, Ordering::Relaxed)),
        }
        taken
    }

    fn give_back(&self, holder: Option<Holder>, amount: u64) {
        if amount == 0 {
            return;
        }
        self.0.held.fetch_sub(amount, Ordering::Relaxed);
        let mut state = self.state();
        state.give_back(holder, amount);
        if state.held == 0 {
            drop(state);
            self.0.budget.is_idle.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is made whole before anything that could panic.
        self.0.budget.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, budget: &Budget, holder: Option<Holder>, amount: u64, kept: u64) -> Result<(), Shed> {
        let free = budget.total.load(Ordering::Relaxed).saturating_sub(self.held).saturating_sub(kept);
        if amount > free {
            return Err(Shed::Full);
        }
        let Some(holder) = holder else {
            self.held += amount;
            return Ok(());
        };
        let of_caller = self.callers.get(&holder.caller).copied().unwrap_or_default();
        let of_connection = self.connections.get(&holder).copied().unwrap_or_default();
        let max_share = budget.max_share.load(Ordering::Relaxed);
        if amount > room(room(free, of_caller, max_share), of_connection, max_share) {
            return Err(Shed::Share);
        }
        self.held += amount;
        if amount > 0 {
            self.callers.insert(holder.caller, of_caller + amount);
        }
        if amount > 0 && holder.connection.is_some() {
            self.connections.insert(holder, of_connection + amount);
        }
        Ok(())
    }

    fn give_back(&mut self, holder: Option<Holder>, amount: u64) {
        self.held = self.held.saturating_sub(amount);
        if let Some(holder) = holder {
            lessen(self.callers.entry(holder.caller), amount);
            lessen(self.connections.entry(holder), amount);
        }
    }
}

/// What of `free` somebody may still take who holds so much: with a share of half, as much as leaves as much free as it then
/// holds. Whoever holds nothing may take what there is.
fn room(free: u64, held: u64, max_share: u64) -> u64 {
    if held == 0 {
        return free;
    }
    (free * max_share).saturating_sub(held * (100 - max_share)).div_ceil(100)
}

/// What nothing is left of is forgotten.
fn lessen<K>(entry: Entry<'_, K, u64>, amount: u64) {
    let Entry::Occupied(mut held) = entry else { return };
    match held.get().saturating_sub(amount) {
        0 => drop(held.remove()),
        left => drop(held.insert(left)),
    }
}

/// The proof that something of a budget is held, until it is dropped.
#[derive(Debug)]
pub struct Held {
    of: FairShare,
    holder: Option<Holder>,
    amount: u64,
}

impl Held {
    /// Holds so much instead.
    pub fn set(&mut self, amount: u64) -> Result<(), Shed> {
        match amount.checked_sub(self.amount) {
            Some(more) => self.of.take(self.holder, more, 0)?,
            None => self.of.give_back(self.holder, self.amount - amount),
        }
        self.amount = amount;
        Ok(())
    }

    /// Holds so much more.
    pub fn grow(&mut self, more: u64) -> Result<(), Shed> {
        self.set(self.amount + more)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.give_back(self.holder, self.amount);
    }
}

#[cfg(test)]
mod tests;
