//! Passwords: slow to check on purpose, and so at most one at a time on each core, and of the places to wait for one a fair share
//! for each address.

use std::{net::IpAddr, sync::Arc, thread::available_parallelism};

use accord_runtime::fair_share::{FairShare, Holder};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

/// Memory in KiB, passes and lanes (OWASP, Password Storage Cheat Sheet).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Most callers waiting for a core.
const MAX_WAITING: usize = 64;

/// Too many callers wait already, from this address or in all, or the work could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Overloaded;

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    admitted: FairShare,
    cores: Arc<Semaphore>,
    /// What is checked where there is no such person, so that a wrong name takes as long as a wrong password.
    dummy_hash: Arc<str>,
}

impl Passwords {
    /// Ready to check.
    pub(crate) fn new() -> Result<Self, Overloaded> {
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            admitted: FairShare::new((cores + MAX_WAITING) as u64, FairShare::DEFAULT).observed("passwords"),
            cores: Arc::new(Semaphore::new(cores)),
            dummy_hash: hash("nobody's password")?.into(),
        })
    }

    /// Whether the password is the one that was hashed. Takes as long where there is none.
    pub(crate) async fn check(
        &self,
        password: String,
        hashed: Option<String>,
        address: IpAddr,
    ) -> Result<bool, Overloaded> {
        let holder = Holder::address(address, None);
        let _admitted = self.admitted.hold(Some(holder), 1, 0).map_err(|_| Overloaded)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Overloaded)?;
        let known = hashed.is_some();
        let hashed: Arc<str> = hashed.map_or_else(|| Arc::clone(&self.dummy_hash), Into::into);
        let matched = tokio::task::spawn_blocking(move || {
            // Work that has begun can't be stopped: it gives its core back when it ends, not when its caller goes away.
            let _core = core;
            matches(&password, &hashed)
        });
        Ok(matched.await.map_err(|_| Overloaded)? && known)
    }
}

/// Hashes a password, for the store.
pub(crate) fn hash(password: &str) -> Result<String, Overloaded> {
    let argon = argon()?;
    argon.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|_| Overloaded)
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
    use std::{net::Ipv4Addr, sync::atomic::Ordering};

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test]
    async fn cancelled_check_occupies_its_core_until_it_ends() {
        let passwords = Passwords::new().unwrap();
        let cores = passwords.cores.available_permits();
        // Polled once, which begins the work; then the caller goes away.
        let check = passwords.check("a guess".to_owned(), None, HOME);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, check).await.is_err());
        assert_eq!(passwords.cores.available_permits(), cores - 1);
        assert_eq!(passwords.admitted.held().load(Ordering::Relaxed), 0, "nobody waits");
    }
}
