//! Consistency tokens (zookies, session tokens): what a caller passes on, so that its later reads are no older than what it has
//! written or seen.
//!
//! A write's token names the number that its invalidation has in the log: whatever started to be loaded before that number is not
//! enough, whatever its tags are, so that a token holds where a contract forgets a tag as well. A read's token names the load that
//! its answer came from: of the same key only that load will do, or one that started after it had ended, since of two that
//! overlapped nobody knows which has seen more. Of other keys it says no more than the tokens that its reader had passed: so who
//! reads many keys in turn does not make each of them a miss.
//!
//! Tokens are opaque to callers, authenticated, and bound to a namespace and a tenant. Who has no tenant, as somebody who is not
//! logged in, may pass what a tenant was given, and a tenant what nobody in particular was: a write of a tenant may change what is
//! public. What can't be judged is met by a load that starts now: a token of another log, such as that of a process that is gone,
//! one under another key, and the one that stands for nothing that could be told. So a caller can claim no more than anybody may ask
//! for.

use accord_wire::hash;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::load_span::{LoadSpan, StartFloor};

/// The first byte of a token, which says how the rest is laid out.
const LAYOUT: u8 = 1;
/// Bytes of the name of a key.
const KEY_ID: usize = 4;
/// Bytes of what is authenticated, beside the namespace.
const CLAIMS: usize = 1 + KEY_ID + 16 + 6 * 8;
/// Bytes of the authentication code: half of HMAC-SHA-256, as RFC 2104 allows.
const CODE: usize = 16;
/// Bytes of a key that is drawn.
const SECRET: usize = 32;
/// A number that no record of a log has: what a token asks for is not known by number.
pub(crate) const UNKNOWN: u64 = u64::MAX;
/// The tenant of who has none.
const NO_TENANT: u64 = 0;

/// What a caller has to be told no less than.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// The log of `number`.
    pub(crate) log: u128,
    /// Loads of any key that started with this number, or a later one;
    pub(crate) number: u64,
    /// The process of the serial numbers.
    pub(crate) process: u64,
    /// or that have this serial number of the process, or a later one.
    pub(crate) from: u64,
    /// The key, by [`crate::Key::to_bits`], of which an answer was seen.
    pub(crate) key: u64,
    /// The end of the load of that answer. 0: none was seen.
    pub(crate) ended: u64,
}

/// What a token is bound to.
#[derive(Clone, Copy, Debug)]
pub struct TokenScope<'a> {
    /// The namespace; empty for answers of methods.
    pub namespace: &'a str,
    /// The tenant; empty where there is but one, and for who has none.
    pub tenant: &'a str,
}

/// What a token turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// One that was made with this key.
    Known(ConsistencyToken),
    /// One that can't be judged: only a load that starts now is new enough.
    Foreign,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none.
    #[error("it is no consistency token of Accord's, or was cut")]
    Malformed,
    /// Nobody who has the key has made it, or not for this namespace and tenant.
    #[error("it was not issued by this mesh, was changed, or is of another namespace or tenant")]
    Forged,
}

/// What tokens are authenticated with. Processes that share it can judge each other's.
#[derive(Clone, Debug)]
pub struct TokenKey {
    id: [u8; KEY_ID],
    key: hmac::Key,
}

impl ConsistencyToken {
    /// A token that stands for nothing that could be told: whoever passes it has a load that starts then.
    pub const UNKNOWN: [u8; 1] = [0];

    /// The token of a write whose invalidation has this number of a log.
    pub fn of_write(log: u128, number: u64) -> Self {
        Self { log, number, from: u64::MAX, ..Self::default() }
    }

    /// The token of a write of keys: at its own process what began after it is late enough, and at others what has read its number.
    pub(crate) fn of_keys((log, number): (u128, u64), (process, from): (u64, u64)) -> Self {
        Self { log, number, process, from, ..Self::default() }
    }

    fn encode(&self, into: &mut Vec<u8>) {
        let Self { log, number, process, from, key, ended } = *self;
        into.extend_from_slice(&log.to_be_bytes());
        for number in [number, process, from, key, ended] {
            into.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn decode(mut claims: &[u8]) -> Option<Self> {
        let log = u128::from_be_bytes(take(&mut claims)?);
        let mut number = || take(&mut claims).map(u64::from_be_bytes);
        let (at, process, from) = (number()?, number()?, number()?);
        Some(Self { log, number: at, process, from, key: number()?, ended: number()? })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

impl TokenScope<'_> {
    /// By which tenants are told apart. Two that met in one would take each other's tokens, which costs a load and tells nothing.
    fn tenant_bits(&self) -> u64 {
        if self.tenant.is_empty() { NO_TENANT } else { hash(self.tenant.as_bytes()) }
    }

    /// Whether what was given to this tenant may be passed.
    fn admits(&self, tenant: u64) -> bool {
        let own = self.tenant_bits();
        own == tenant || own == NO_TENANT || tenant == NO_TENANT
    }
}

impl TokenKey {
    /// A key that nobody else has.
    pub fn random() -> Self {
        Self::of(&rand::random::<[u8; SECRET]>())
    }

    /// The key that a secret is.
    pub fn of(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&hmac::sign(&key, b"the name of this key").as_ref()[..KEY_ID]);
        Self { id, key }
    }

    /// The authentication code of something else than a consistency token. `purpose` is text, which none of those begins with.
    pub fn authenticate(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 16] {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(purpose.as_bytes());
        for part in parts {
            signing.update(part);
        }
        let mut code = [0; CODE];
        code.copy_from_slice(&signing.sign().as_ref()[..CODE]);
        code
    }

    /// A token as callers get it.
    pub fn seal(&self, token: &ConsistencyToken, scope: TokenScope<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CLAIMS + CODE.max(scope.namespace.len()));
        bytes.push(LAYOUT);
        bytes.extend_from_slice(&self.id);
        token.encode(&mut bytes);
        bytes.extend_from_slice(&scope.tenant_bits().to_be_bytes());
        bytes.extend_from_slice(scope.namespace.as_bytes());
        let code = hmac::sign(&self.key, &bytes);
        bytes.truncate(CLAIMS);
        bytes.extend_from_slice(&code.as_ref()[..CODE]);
        bytes
    }

    /// What a caller passes.
    pub fn open(&self, bytes: &[u8], scope: TokenScope<'_>) -> Result<Opened, TokenError> {
        if bytes == ConsistencyToken::UNKNOWN {
            return Ok(Opened::Foreign);
        }
        let (claims, code) = bytes.split_at_checked(CLAIMS).ok_or(TokenError::Malformed)?;
        let rest = claims.strip_prefix(&[LAYOUT]).filter(|_| code.len() == CODE).ok_or(TokenError::Malformed)?;
        let (id, rest) = rest.split_at(KEY_ID);
        if id != self.id {
            return Ok(Opened::Foreign);
        }
        let authenticated = [claims, scope.namespace.as_bytes()].concat();
        verify_slices_are_equal(code, &hmac::sign(&self.key, &authenticated).as_ref()[..CODE])
            .map_err(|_| TokenError::Forged)?;
        let (rest, tenant) = rest.split_last_chunk().ok_or(TokenError::Malformed)?;
        if !scope.admits(u64::from_be_bytes(*tenant)) {
            return Err(TokenError::Forged);
        }
        ConsistencyToken::decode(rest).map(Opened::Known).ok_or(TokenError::Malformed)
    }
}

/// What the tokens of a read ask of its answer, and what is known for the answer's own token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Required {
    /// What the load of the answer has to meet.
    pub floor: StartFloor,
    /// Some token can't be judged here, so that only a load that starts from now on will do.
    pub is_unjudged: bool,
    /// The token of an answer, but for its load.
    pub(crate) issued: ConsistencyToken,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// The incarnation of its log.
    pub(crate) log: u128,
    /// The newest number that it has read of it.
    pub(crate) number: u64,
    /// The first number of what is appended from now on. `UNKNOWN`: it has not been looked for.
    pub(crate) first_later: u64,
    /// The process itself.
    pub(crate) process: u64,
    /// The serial number of the next load.
    pub(crate) next_serial: u64,
}

impl Standing {
    /// Whether more of the log has to be read before a token can be judged well.
    pub(crate) fn is_behind(&self, tokens: &[Opened]) -> bool {
        let is_judged = |of: &ConsistencyToken| {
            let is_own = of.number == UNKNOWN && of.process == self.process && of.from != u64::MAX;
            of.log == self.log && (of.number <= self.number || is_own)
        };
        tokens.iter().any(|token| !matches!(token, Opened::Known(of) if is_judged(of)))
    }

    /// What tokens ask of an answer under a key. Any load that starts from now on meets them all.
    pub(crate) fn require(&self, tokens: &[Opened], key: u64) -> Required {
        let mut floor = StartFloor::default();
        let (mut is_foreign, mut is_seen_elsewhere, mut is_unknown_elsewhere) = (false, false, false);
        for token in tokens {
            let Some(token) = self.known(token) else {
                is_foreign = true;
                continue;
            };
            let (is_own, is_seen) = (token.process == self.process, token.ended != 0 && token.key == key);
            // What meets a higher number, or a later serial number, meets both of two tokens.
            floor.number = floor.number.max(token.number);
            floor.from = floor.from.max(if is_own { token.from } else { self.next_serial });
            if is_seen && is_own {
                floor.see(token.ended);
            }
            is_seen_elsewhere |= is_seen && !is_own;
            is_unknown_elsewhere |= token.number == UNKNOWN && !is_own;
        }
        if is_seen_elsewhere {
            (floor.after, floor.or_ended) = (self.next_serial - 1, 0);
        }
        if is_foreign {
            (floor.number, floor.from) = (UNKNOWN, self.next_serial);
        }
        // A load that starts from now on is late enough, whatever the log says.
        floor.from = floor.from.min(self.next_serial);
        let number = if floor.number == UNKNOWN { self.first_later } else { floor.number };
        let issued = ConsistencyToken { log: self.log, number, process: self.process, from: floor.from, key, ended: 0 };
        Required { floor, issued, is_unjudged: is_foreign || is_seen_elsewhere || is_unknown_elsewhere }
    }

    fn known<'a>(&self, token: &'a Opened) -> Option<&'a ConsistencyToken> {
        match token {
            Opened::Known(token) if token.log == self.log => Some(token),
            Opened::Known(_) | Opened::Foreign => None,
        }
    }
}

impl StartFloor {
    /// An answer was seen whose load ended then. Of two that were seen, only what started after both is new enough.
    fn see(&mut self, ended: u64) {
        self.or_ended = if self.after == 0 || self.or_ended == ended { ended } else { 0 };
        self.after = self.after.max(ended);
    }
}

impl Required {
    /// The token of an answer that meets this.
    pub fn token(&self, load: &LoadSpan) -> ConsistencyToken {
        ConsistencyToken { ended: load.ended, ..self.issued }
    }
}

#[cfg(test)]
mod tests;
