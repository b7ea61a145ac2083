//! How many tokens that nobody signed are looked at, by the address that they come from.

use std::{net::IpAddr, time::Duration};

use accord_contract::{RateLimit, RateLimitBy};
use accord_mesh::ForgeryLimit;
use accord_runtime::fair_share::network_of;

use crate::table::{Counting, Rate, RateLimitKey};

/// Of one address. A program whose token went bad stays far below; whoever guesses signatures has no use for a core of this machine.
const RATE: RateLimit =
    RateLimit { requests: 100, per: Duration::from_secs(1), burst: 200, by: RateLimitBy::Address, plans: Vec::new() };

/// The counts of all addresses.
pub(crate) struct ForgeryLimiter(Rate);

impl ForgeryLimiter {
    /// None came yet.
    pub(crate) fn new() -> Self {
        Self(Rate::new(&RATE))
    }

    /// The limit of those that come from an address.
    pub(crate) fn of(&self, address: IpAddr) -> AddressForgeries<'_> {
        AddressForgeries { rate: &self.0, address }
    }
}

/// The limit of an address.
pub(crate) struct AddressForgeries<'a> {
    rate: &'a Rate,
    address: IpAddr,
}

impl AddressForgeries<'_> {
    fn counted(&self, counting: Counting) -> Result<(), Duration> {
        self.rate.quota(&[]).count(counting, &RateLimitKey::Address(network_of(self.address))).map(drop)
    }
}

impl ForgeryLimit for AddressForgeries<'_> {
    fn look(&self) -> Result<(), Duration> {
        self.counted(Counting::Look)
    }

    fn count(&self) {
        // Several at once may go by the look at the same time, and are counted beyond the limit by no more than that.
        let _ = self.counted(Counting::Take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_beyond_its_forgeries_waits_and_others_do_not() {
        let limiter = ForgeryLimiter::new();
        let guesser = limiter.of([192, 0, 2, 1].into());
        for _ in 0..RATE.burst {
            guesser.look().unwrap();
            guesser.count();
        }
        assert!((0..100).any(|_| {
            guesser.count();
            guesser.look().is_err()
        }));
        assert_eq!(limiter.of([192, 0, 2, 2].into()).look(), Ok(()));
    }
}
