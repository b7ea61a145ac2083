//! Resume tokens of watchers: where a stream of changes goes on.
//!
//! They are authenticated, and good for one namespace and one tenant in one life of the cache: whatever else is shown is no token,
//! and its stream begins anew. Nobody makes one for a place that he was not told of.

use aws_lc_rs::{constant_time::verify_slices_are_equal, error::Unspecified, hmac, rand::SystemRandom};

/// Bytes of the code in a token.
const CODE: usize = 16;

/// The key of a life of the cache.
#[derive(Clone, Debug)]
pub(crate) struct ResumeTokens(hmac::Key);

/// The tokens of one namespace and tenant.
#[derive(Debug)]
pub(super) struct StreamTokens {
    key: hmac::Key,
    of: Box<[u8]>,
}

impl ResumeTokens {
    /// Of a new life.
    pub(crate) fn generate() -> Result<Self, Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map(Self)
    }

    pub(super) fn of(&self, namespace: &str, tenant: &str) -> StreamTokens {
        // With its length before it, the namespace can't reach into the tenant.
        let length = (namespace.len() as u64).to_be_bytes();
        let of = [&length, namespace.as_bytes(), tenant.as_bytes()].concat();
        StreamTokens { key: self.0.clone(), of: of.into() }
    }
}

impl StreamTokens {
    /// The token of the place after the change of this number.
    pub(super) fn issue(&self, number: u64) -> String {
        let mut code = hmac::Context::with_key(&self.key);
        code.update(&number.to_be_bytes());
        code.update(&self.of);
        let code = code.sign();
        let hex = code.as_ref().iter().take(CODE).map(|byte| format!("{byte:02x}"));
        format!("{number:x}-{}", hex.collect::<String>())
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
    fn token_is_good_for_its_life_namespace_and_tenant_letter_for_letter() {
        let tokens = ResumeTokens::generate().unwrap();
        let own = tokens.of("carts", "north");
        let token = own.issue(0x1f);
        assert_eq!(own.number(&token), Some(0x1f));
        let others = [tokens.of("carts", "south"), tokens.of("prices", "north"), tokens.of("cart", "snorth")];
        let another_life = ResumeTokens::generate().unwrap().of("carts", "north");
        for other in others.iter().chain([&another_life]) {
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
