//! Slows down guessing: each failure doubles the wait before the next try at the same account.
//!
//! Failures are counted for each account and address, so that nobody locks a person out from somewhere else, and, with a
//! higher limit, for each account from all addresses together, so that many addresses do not bring many guesses.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accord_runtime::{backoff, fair_share::network_of};
use tokio::time::Instant;

/// When the exponential backoff begins, and where it ends.
struct Limit {
    /// Failures without a wait.
    free: u32,
    /// The longest wait.
    max_wait: Duration,
}

/// The first wait; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// For one address: people mistype.
const PER_ADDRESS: Limit = Limit { free: 5, max_wait: Duration::from_mins(15) };

/// For all addresses together (NIST SP 800-63B, section 5.2.2: no more than 100 failures in a row).
const ALL_ADDRESSES: Limit = Limit { free: 100, max_wait: Duration::from_mins(1) };

/// Counts remembered; guessing at more names than that makes the least tried forgotten.
const MAX_COUNTS: u64 = 200_000;

/// Failures by account and address, in memory. No address: those from everywhere.
pub struct LoginThrottle(moka::sync::Cache<(String, Option<IpAddr>), Arc<Mutex<Count>>>);

struct Count {
    failures: u32,
    until: Instant,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MAX_COUNTS).time_to_idle(2 * PER_ADDRESS.max_wait).build())
    }
}

impl LoginThrottle {
    /// Counts a try as failed before it is made, so that tries at the same time count too. Err: how long to wait.
    pub fn count_attempt(&self, account: &str, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let fresh = || Arc::new(Mutex::new(Count { failures: 0, until: now }));
        let [local, overall] = keys(account, address).map(|key| self.0.get_with(key, fresh));
        let (mut local, mut overall) = (locked(&local), locked(&overall));
        let until = local.until.max(overall.until);
        if now < until {
            return Err(until - now);
        }
        local.add(now, &PER_ADDRESS);
        overall.add(now, &ALL_ADDRESSES);
        Ok(())
    }

    /// The try was not made after all: there was no store to read, or no time to hash.
    pub fn cancel_attempt(&self, account: &str, address: IpAddr) {
        for (key, limit) in keys(account, address).into_iter().zip([PER_ADDRESS, ALL_ADDRESSES]) {
            if let Some(count) = self.0.get(&key) {
                locked(&count).remove(&limit);
            }
        }
    }

    /// The password was right: its account starts from zero.
    pub fn reset(&self, account: &str, address: IpAddr) {
        for key in keys(account, address) {
            self.0.invalidate(&key);
        }
    }
}

impl Count {
    fn add(&mut self, now: Instant, limit: &Limit) {
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(limit.free) {
            self.until = now + backoff::exponential(FIRST_WAIT, limit.max_wait, doublings);
        }
    }

    fn remove(&mut self, limit: &Limit) {
        self.failures = self.failures.saturating_sub(1);
        if self.failures < limit.free {
            self.until = Instant::now();
        }
    }
}

/// Wrong API keys from one address in a row without a wait, and how long each of them counts. A key has 256 random bits, which nobody
/// guesses: this bounds the work that guesses are. It is no exponential backoff, and a script that goes on with an old key stays below
/// it, so that others behind the same address (NAT) still log in.
const FREE_GUESSES: u32 = 20;
const GUESS_COUNTS: Duration = Duration::from_secs(1);

/// Wrong API keys by address, in memory: for each, when the last of them counts no more (GCRA).
pub struct KeyThrottle(moka::sync::Cache<IpAddr, Arc<Mutex<Instant>>>);

impl Default for KeyThrottle {
    fn default() -> Self {
        let idle = FREE_GUESSES * GUESS_COUNTS;
        Self(moka::sync::Cache::builder().max_capacity(MAX_COUNTS).time_to_idle(idle).build())
    }
}

impl KeyThrottle {
    /// Counts a key as wrong before it is looked at, so that guesses at the same time count too. Err: how long to wait.
    pub fn count_attempt(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let until = self.0.get_with(network_of(address), || Arc::new(Mutex::new(now)));
        let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*until).max(now) + GUESS_COUNTS;
        if let Some(wait) =
            next.checked_duration_since(now + FREE_GUESSES * GUESS_COUNTS).filter(|wait| !wait.is_zero())
        {
            return Err(wait);
        }
        *until = next;
        Ok(())
    }

    /// The key was right, or could not be looked at.
    pub fn cancel_attempt(&self, address: IpAddr) {
        if let Some(until) = self.0.get(&network_of(address)) {
            let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = until.checked_sub(GUESS_COUNTS).unwrap_or(*until);
        }
    }
}

/// In the order in which they are locked.
fn keys(account: &str, address: IpAddr) -> [(String, Option<IpAddr>); 2] {
    [(account.to_owned(), Some(network_of(address))), (account.to_owned(), None)]
}

fn locked(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn throttle_after(attempts: u32) -> LoginThrottle {
        let throttle = LoginThrottle::default();
        for _ in 0..attempts {
            throttle.count_attempt("ada", HOME).unwrap();
        }
        throttle
    }

    fn elsewhere(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn sixth_attempt_waits_one_second() {
        assert_eq!(throttle_after(PER_ADDRESS.free).count_attempt("ada", HOME), Err(FIRST_WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn each_further_failure_doubles_the_wait() {
        let throttle = throttle_after(PER_ADDRESS.free);
        tokio::time::advance(FIRST_WAIT).await;
        throttle.count_attempt("ada", HOME).unwrap();
        assert_eq!(throttle.count_attempt("ada", HOME), Err(2 * FIRST_WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_one_account_do_not_throttle_another() {
        throttle_after(PER_ADDRESS.free).count_attempt("bob", HOME).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn successful_login_resets_the_count() {
        let throttle = throttle_after(PER_ADDRESS.free);
        throttle.reset("ada", HOME);
        throttle.count_attempt("ada", HOME).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_attempts_are_not_counted() {
        let throttle = LoginThrottle::default();
        for _ in 0..3 * PER_ADDRESS.free {
            throttle.count_attempt("ada", HOME).unwrap();
            throttle.cancel_attempt("ada", HOME);
        }
        throttle.count_attempt("ada", HOME).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_an_attempt_keeps_the_failures_before_it() {
        let throttle = throttle_after(PER_ADDRESS.free);
        tokio::time::advance(FIRST_WAIT).await;
        throttle.count_attempt("ada", HOME).unwrap();
        throttle.cancel_attempt("ada", HOME);
        assert_eq!(throttle.count_attempt("ada", HOME), Err(2 * FIRST_WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_from_one_address_do_not_throttle_another() {
        let throttle = LoginThrottle::default();
        while throttle.count_attempt("ada", elsewhere(0)).is_ok() {}
        throttle.count_attempt("ada", HOME).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_from_one_address_wait_once_twenty_came() {
        let throttle = KeyThrottle::default();
        let allowed = (0..100).take_while(|_| throttle.count_attempt(HOME).is_ok()).count();
        assert_eq!(u32::try_from(allowed), Ok(FREE_GUESSES));
        assert_eq!(throttle.count_attempt(HOME), Err(GUESS_COUNTS));
        throttle.count_attempt(elsewhere(0)).unwrap();
        tokio::time::advance(GUESS_COUNTS).await;
        throttle.count_attempt(HOME).unwrap();
        assert_eq!(throttle.count_attempt(HOME), Err(GUESS_COUNTS), "one for each second");
    }

    #[tokio::test(start_paused = true)]
    async fn right_keys_do_not_count() {
        let throttle = KeyThrottle::default();
        for _ in 0..3 * FREE_GUESSES {
            throttle.count_attempt(HOME).unwrap();
            throttle.cancel_attempt(HOME);
        }
        throttle.count_attempt(HOME).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn failures_from_many_addresses_are_limited_together() {
        let throttle = LoginThrottle::default();
        let allowed = (1..1000).take_while(|number| throttle.count_attempt("ada", elsewhere(*number)).is_ok()).count();
        assert_eq!(u32::try_from(allowed), Ok(ALL_ADDRESSES.free));
        assert_eq!(throttle.count_attempt("ada", HOME), Err(FIRST_WAIT), "whoever comes next waits as well");
    }
}
