//! Verifies passports as a service does: with the keys that auth publishes, for itself and nobody else. `accord-token` does the checks.

use std::time::{Duration, Instant};

use accord_token::{
    InvalidTokenReason, KeySet, Refusal, RevocationSnapshot, Type, Verified,
    verify::{self, Expected},
};

/// How long keys are kept: one that auth has destroyed is forgotten by then.
const LIFESPAN: Duration = Duration::from_mins(5);

/// Between two questions for keys that are not known, whatever passports name.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// Made once: it keeps the keys.
pub(crate) struct Passports<F> {
    /// Reads auth's `/.well-known/jwks.json`, by whichever client of HTTP the service has; None where auth does not answer.
    fetch: F,
    issuer: String,
    service: String,
    /// What is known: the keys, and of revocations nothing.
    known: RevocationSnapshot,
    fetched: Option<Instant>,
    asked: Option<Instant>,
}

impl<F: AsyncFn() -> Option<Vec<u8>>> Passports<F> {
    pub(crate) fn new(fetch: F, issuer: &str, service: &str) -> Self {
        let (issuer, service) = (issuer.to_owned(), service.to_owned());
        Self { fetch, issuer, service, known: RevocationSnapshot::default(), fetched: None, asked: None }
    }

    /// What a passport for this service says; why it is refused where it is not one.
    pub(crate) async fn verify(&mut self, passport: &str) -> Result<Verified, Refusal> {
        if is_over(self.fetched, LIFESPAN) {
            self.fetch().await?;
        }
        let mut signed = verify::signed(passport, Type::Passport, &self.known.keys);
        if signed.as_ref().err() == Some(&InvalidTokenReason::KeyUnknown) && is_over(self.asked, COOL_DOWN) {
            self.asked = Some(Instant::now());
            self.fetch().await?;
            signed = verify::signed(passport, Type::Passport, &self.known.keys);
        }
        let verified = signed.map_err(Refusal::Invalid)?;
        let expected = Expected { token_type: Type::Passport, issuer: &self.issuer, audience: &self.service };
        verify::current(&verified, &expected, verify::now(), &self.known)?;
        Ok(verified)
    }

    async fn fetch(&mut self) -> Result<(), Refusal> {
        let document = (self.fetch)().await.ok_or(Refusal::Unavailable)?;
        self.known.keys = KeySet::from_jwks(&document).map_err(|_| Refusal::Unavailable)?;
        self.fetched = Some(Instant::now());
        Ok(())
    }
}

fn is_over(since: Option<Instant>, time: Duration) -> bool {
    since.is_none_or(|since| since.elapsed() >= time)
}
