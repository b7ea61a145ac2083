//! Resume tokens of watchers: where a stream of changes goes on.
//!
//! They are authenticated, and good for one namespace and one tenant under one invalidation log: that of a life of the cache, or the
//! one that replicas share. Whatever else is shown is no token, and its stream begins anew. Nobody makes one for a place that he was
//! not told of.

use accord_readthrough::TokenKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;

/// What the code of a token begins with.
const PURPOSE: &str = "place in a stream of changes";

/// The tokens of one namespace and tenant.
#[derive(Debug)]
pub(super) struct ResumeTokens {
    key: TokenKey,
    of: Box<[u8]>,
}

impl ResumeTokens {
    /// Under a log of this incarnation.
    pub(super) fn new(key: TokenKey, log: u128, namespace: &str, tenant: &str) -> Self {
        // With its length before it, the namespace can't reach into the tenant.
        let length = (namespace.len() as u64).to_be_bytes();
        let of = [&log.to_be_bytes()[..], &length, namespace.as_bytes(), tenant.as_bytes()].concat();
        Self { key, of: of.into() }
    }

    /// The token of the place after the change of this number.
    pub(super) fn issue(&self, number: u64) -> String {
        let code = self.key.authenticate(PURPOSE, &[&number.to_be_bytes(), &self.of]);
        format!("{number:x}-{:032x}", u128::from_be_bytes(code))
    }

    /// The number in a token of ours, which counts letter for letter.
    pub(super) fn number(&self, token: &str) -> Option<u64> {
        let (number, _) = token.split_once('-')?;
        let number = u64::from_str_radix(number, 16).ok()?;
        verify_slices_are_equal(self.issue(number).as_bytes(), token.as_bytes()).ok().map(|()| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_good_for_its_log_namespace_and_tenant_letter_for_letter() {
        let key = TokenKey::random();
        let of = |log, namespace, tenant| ResumeTokens::new(key.clone(), log, namespace, tenant);
        let own = of(1, "carts", "north");
        let token = own.issue(0x1f);
        assert_eq!(of(1, "carts", "north").number(&token), Some(0x1f), "at another replica");
        let others =
            [of(2, "carts", "north"), of(1, "carts", "south"), of(1, "prices", "north"), of(1, "cart", "snorth")];
        let another_key = ResumeTokens::new(TokenKey::random(), 1, "carts", "north");
        for other in others.iter().chain([&another_key]) {
            assert_eq!(other.number(&token), None, "{other:?}");
        }
        let code = token.split_once('-').unwrap().1;
        for forged in [
            "",
            "1f",
            "1f-",
            &format!("20-{code}"),
            &format!("+1f-{code}"),
            &token.to_uppercase(),
            &format!("{token} "),
        ] {
            assert_eq!(own.number(forged), None, "{forged}");
        }
    }
}
