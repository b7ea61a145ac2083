//! Slows down guessing: each failure doubles the wait before the next try at the same account.
//!
//! Failures are counted for each address by itself, so that nobody locks a person out from somewhere else, and, with more
//! patience, from everywhere together, so that many addresses do not bring many guesses.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accord_runtime::backoff;
use tokio::time::Instant;

/// How soon failures begin to cost, and how much at most.
struct Patience {
    /// Failures that cost nothing.
    free: u32,
    /// The longest wait.
    longest: Duration,
}

/// The first wait that a failure costs.
const SHORTEST: Duration = Duration::from_secs(1);

/// With one address: people mistype.
const HERE: Patience = Patience { free: 5, longest: Duration::from_mins(15) };

/// With all addresses together (NIST SP 800-63B, section 5.2.2: no more than 100 failures in a row).
const ANYWHERE: Patience = Patience { free: 100, longest: Duration::from_mins(1) };

/// Counts remembered; guessing at more names than that makes the least tried forgotten.
const COUNTS: u64 = 200_000;

/// Failures by account and address, in memory. No address: those from everywhere.
pub struct Throttle(moka::sync::Cache<(String, Option<IpAddr>), Arc<Mutex<Count>>>);

struct Count {
    failures: u32,
    until: Instant,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(COUNTS).time_to_idle(2 * HERE.longest).build())
    }
}

impl Throttle {
    /// Counts a try as failed before it is made, so that tries at the same time count too. Err: how long to wait.
    pub fn attempt(&self, account: &str, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let fresh = || Arc::new(Mutex::new(Count { failures: 0, until: now }));
        let [here, anywhere] = keys(account, address).map(|key| self.0.get_with(key, fresh));
        let (mut here, mut anywhere) = (locked(&here), locked(&anywhere));
        let until = here.until.max(anywhere.until);
        if now < until {
            return Err(until - now);
        }
        here.add(now, &HERE);
        anywhere.add(now, &ANYWHERE);
        Ok(())
    }

    /// The try was not made after all: there was no store to read, or no time to hash.
    pub fn unmade(&self, account: &str, address: IpAddr) {
        for (key, patience) in keys(account, address).into_iter().zip([HERE, ANYWHERE]) {
            if let Some(count) = self.0.get(&key) {
                locked(&count).take_back(&patience);
            }
        }
    }

    /// The try was good after all.
    pub fn succeeded(&self, account: &str, address: IpAddr) {
        for key in keys(account, address) {
            self.0.invalidate(&key);
        }
    }
}

impl Count {
    fn add(&mut self, now: Instant, patience: &Patience) {
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(patience.free) {
            self.until = now + backoff::exponential(SHORTEST, patience.longest, doublings);
        }
    }

    fn take_back(&mut self, patience: &Patience) {
        self.failures = self.failures.saturating_sub(1);
        if self.failures < patience.free {
            self.until = Instant::now();
        }
    }
}

/// In the order in which they are locked.
fn keys(account: &str, address: IpAddr) -> [(String, Option<IpAddr>); 2] {
    [(account.to_owned(), Some(network(address))), (account.to_owned(), None)]
}

/// Whoever has one IPv6 address has the 2^64 beside it too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

fn locked(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test(start_paused = true)]
    async fn each_failure_after_the_fifth_doubles_the_wait() {
        let throttle = Throttle::default();
        for _ in 0..HERE.free {
            throttle.attempt("ada", HOME).unwrap();
        }
        assert_eq!(throttle.attempt("ada", HOME), Err(Duration::from_secs(1)));
        throttle.attempt("bob", HOME).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        throttle.attempt("ada", HOME).unwrap();
        assert_eq!(throttle.attempt("ada", HOME), Err(Duration::from_secs(2)));
        throttle.succeeded("ada", HOME);
        throttle.attempt("ada", HOME).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_tried_is_not_counted_and_what_was_is() {
        let throttle = Throttle::default();
        for _ in 0..3 * HERE.free {
            throttle.attempt("ada", HOME).unwrap();
            throttle.unmade("ada", HOME);
        }
        for _ in 0..HERE.free {
            throttle.attempt("ada", HOME).unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        throttle.attempt("ada", HOME).unwrap();
        throttle.unmade("ada", HOME);
        assert_eq!(throttle.attempt("ada", HOME), Err(Duration::from_secs(2)), "five failures stay five");
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_locks_nobody_out_and_many_addresses_bring_few_guesses() {
        let throttle = Throttle::default();
        let elsewhere = |number: u32| IpAddr::from(number.to_be_bytes());
        while throttle.attempt("ada", elsewhere(0)).is_ok() {}
        throttle.attempt("ada", HOME).unwrap();
        throttle.succeeded("ada", HOME);
        let guesses = (1..1000).take_while(|number| throttle.attempt("ada", elsewhere(*number)).is_ok()).count();
        assert_eq!(u32::try_from(guesses), Ok(ANYWHERE.free));
        assert_eq!(throttle.attempt("ada", HOME), Err(Duration::from_secs(1)));
    }

    #[test]
    fn neighbours_in_one_network_count_as_one() {
        let read = |address: &str| network(address.parse().unwrap());
        assert_eq!(read("2001:db8::1"), read("2001:db8::ffff:1"));
        assert_ne!(read("2001:db8::1"), read("2001:db8:0:1::1"));
        assert_eq!(read("::ffff:192.0.2.1"), HOME);
    }
}
