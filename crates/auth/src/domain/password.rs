//! Passwords: slow to check on purpose, and so at most one at a time on each core. Of the places to wait for one each address has
//! a fair share, and no more of its checks wait for a core than there are cores, so that those of other addresses come next.

use std::{
    collections::HashMap,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
};

use accord_runtime::{
    fair_share::{FairShare, Held, Holder, network_of},
    telemetry,
};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

use crate::declared_metrics::PASSWORDS_HASHED;

/// How many bytes a password has: the fewest by NIST SP 800-63B, section 5.1.1; the most since hashing must not be fed by the megabyte.
pub(super) const LENGTH: RangeInclusive<usize> = 8..=1024;

/// Memory in KiB, passes and lanes (OWASP, Password Storage Cheat Sheet).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// As long as those of a hash that was made, in base64 without padding.
const DUMMY_SALT: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const DUMMY_OUTPUT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Most callers waiting for a core.
const MAX_WAITING: usize = 64;

/// Too many callers wait already, from this address or in all, or the work could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Overloaded;

/// Hashes and checks passwords.
pub struct Passwords {
    admitted: FairShare,
    /// By address, what of it may run or wait for a core.
    turns: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    cores: Arc<Semaphore>,
    count: usize,
    /// How many were hashed, for a check or for the store.
    hashed: Arc<AtomicU64>,
    /// What is checked where there is no such person, so that a wrong name takes as long as a wrong password.
    dummy_hash: Arc<str>,
}

/// A place among the checks that wait.
pub struct Admission {
    address: IpAddr,
    _held: Held,
}

impl Passwords {
    /// Ready to check.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let hashed = Arc::new(AtomicU64::new(0));
        let observed = Arc::clone(&hashed);
        PASSWORDS_HASHED.observe(&telemetry::meter(), move |counter| {
            counter.observe(observed.load(Ordering::Relaxed), &[]);
        });
        Self {
            admitted: FairShare::new((cores + MAX_WAITING) as u64, FairShare::DEFAULT).observed("passwords"),
            turns: Mutex::default(),
            cores: Arc::new(Semaphore::new(cores)),
            count: cores,
            hashed,
            dummy_hash: dummy_hash().into(),
        }
    }

    /// A place for a check of this address. Whoever gets none is to cost nothing more, not even a question to the store.
    pub fn admit(&self, address: IpAddr) -> Result<Admission, Overloaded> {
        let held = self.admitted.hold(Some(Holder::address(address, None)), 1, 0).map_err(|_| Overloaded)?;
        Ok(Admission { address, _held: held })
    }

    /// How many were hashed so far, for a check or for the store. By it a wrong name costs what a wrong password costs.
    pub fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// Whether the password is the one that was hashed. Takes as long where there is none.
    pub(crate) async fn check(
        &self,
        admission: &Admission,
        password: String,
        hashed: Option<String>,
    ) -> Result<bool, Overloaded> {
        let turn = self.turns_of(admission.address).acquire_owned().await.map_err(|_| Overloaded)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Overloaded)?;
        let known = hashed.is_some();
        let count = Arc::clone(&self.hashed);
        let hashed: Arc<str> = hashed.map_or_else(|| Arc::clone(&self.dummy_hash), Into::into);
        let matched = tokio::task::spawn_blocking(move || {
            // Work that has begun can't be stopped: it gives its core back when it ends, not when its caller goes away.
            let _held = (core, turn);
            count.fetch_add(1, Ordering::Relaxed);
            matches(&password, &hashed)
        });
        Ok(matched.await.map_err(|_| Overloaded)? && known)
    }

    /// Hashes a password for the store, on a core of its own like a check.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Overloaded> {
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Overloaded)?;
        let count = Arc::clone(&self.hashed);
        let hashed = tokio::task::spawn_blocking(move || {
            let _held = core;
            count.fetch_add(1, Ordering::Relaxed);
            hash(&password)
        });
        hashed.await.map_err(|_| Overloaded)?
    }

    /// What is kept is in use: no more than are admitted.
    fn turns_of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = turns.entry(network_of(address)).or_insert_with(|| Arc::new(Semaphore::new(self.count)));
        Arc::clone(turns)
    }
}

/// Hashes a password, for the store.
pub(crate) fn hash(password: &str) -> Result<String, Overloaded> {
    let argon = argon()?;
    argon.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|_| Overloaded)
}

/// A hash that nobody made and no password has, checked where there is no such person: a real one would take the time and the memory
/// of one at each start.
fn dummy_hash() -> String {
    let (memory, passes, lanes) = COST;
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${DUMMY_SALT}${DUMMY_OUTPUT}")
}

fn matches(password: &str, hashed: &str) -> bool {
    let (Ok(argon), Ok(hashed)) = (argon(), PasswordHash::new(hashed)) else { return false };
    argon.verify_password(password.as_bytes(), &hashed).is_ok()
}

fn argon() -> Result<Argon2<'static>, Overloaded> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|_| Overloaded)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    /// Less than one address may have admitted.
    const FLOOD: usize = 30;

    #[test]
    fn dummy_hash_has_the_cost_parameters_of_a_real_one() {
        let (made, dummy) = (hash("a password").unwrap(), dummy_hash());
        let (made, dummy) = (PasswordHash::new(&made).unwrap(), PasswordHash::new(&dummy).unwrap());
        assert_eq!((made.algorithm, made.version, &made.params), (dummy.algorithm, dummy.version, &dummy.params));
        let lengths = |hash: &PasswordHash| (hash.salt.map(|salt| salt.len()), hash.hash.map(|hash| hash.len()));
        assert_eq!(lengths(&made), lengths(&dummy));
    }

    #[tokio::test]
    async fn check_of_another_address_comes_before_those_that_wait_of_one() {
        let passwords = Arc::new(Passwords::new());
        let check = |address| {
            let passwords = Arc::clone(&passwords);
            async move {
                let admission = passwords.admit(address).unwrap();
                passwords.check(&admission, "a guess".to_owned(), None).await.unwrap()
            }
        };
        let flood: Vec<_> = (0..FLOOD).map(|_| tokio::spawn(check(HOME))).collect();
        // All of them have begun to wait.
        while passwords.admitted.held().load(Ordering::Relaxed) < FLOOD as u64 {
            tokio::task::yield_now().await;
        }
        check(ELSEWHERE).await;
        let checked = flood.iter().filter(|check| check.is_finished()).count();
        assert!(checked <= 2 * passwords.count, "{checked} of {FLOOD} came before it");
    }

    #[tokio::test]
    async fn address_of_which_nothing_waits_is_forgotten() {
        let passwords = Passwords::new();
        for address in [HOME, ELSEWHERE] {
            let admission = passwords.admit(address).unwrap();
            passwords.check(&admission, "a guess".to_owned(), None).await.unwrap();
        }
        drop(passwords.turns_of(HOME));
        assert_eq!(passwords.turns.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn cancelled_check_occupies_its_core_until_it_ends() {
        let passwords = Passwords::new();
        let cores = passwords.cores.available_permits();
        // Polled once, which begins the work; then the caller goes away.
        let check = async {
            let admission = passwords.admit(HOME)?;
            passwords.check(&admission, "a guess".to_owned(), None).await
        };
        assert!(tokio::time::timeout(std::time::Duration::ZERO, check).await.is_err());
        assert_eq!(passwords.cores.available_permits(), cores - 1);
        assert_eq!(passwords.admitted.held().load(Ordering::Relaxed), 0, "nobody waits");
    }
}
