//! Sessions: callers who pass the tokens of what they have written and seen, and must never be told less. Half of the time they pass
//! the newest token alone, as who keeps no other does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::scheduler::Rng;
use crate::{ConsistencyToken, Opened};

/// What one session knows. Clones share it.
#[derive(Clone)]
pub(super) struct Session {
    rng: Rng,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// How many writes it has begun.
    writes: u64,
    /// The token of the newest.
    written: Option<Opened>,
    /// What it wrote last of each object.
    versions: HashMap<u8, u64>,
    /// What it has seen last of each object, with the token that came with it.
    seen: HashMap<u8, Seen>,
    /// The newest token, and what it saw with it.
    newest: Option<(Opened, Option<(u8, u64)>)>,
}

#[derive(Clone, Copy)]
struct Seen {
    version: u64,
    token: ConsistencyToken,
}

/// What a session passes with a read, and what it must be told no less than.
#[derive(Clone, Debug, Default)]
pub(super) struct PassedTokens {
    pub tokens: Vec<Opened>,
    writes: u64,
    written: u64,
    seen: u64,
}

impl Session {
    /// Under a seed of its own, so that runs are what they would be without it.
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::seeded(seed), known: Arc::default() }
    }

    /// The session, for every sixth of all that is done.
    pub(super) fn sometimes(&self) -> Option<Self> {
        (self.rng.below(6) == 0).then(|| self.clone())
    }

    /// Notes a write that has committed. Until it is known where it stands in the log, its token is one of nothing that is known.
    pub(super) fn committed(&self, object: u8, version: u64) -> u64 {
        let mut known = self.known.lock().unwrap();
        known.writes += 1;
        let newest = known.versions.entry(object).or_default();
        *newest = version.max(*newest);
        known.written = Some(Opened::Foreign);
        known.newest = Some((Opened::Foreign, None));
        known.writes
    }

    /// Notes the token of a write. It says nothing of those that were begun after it.
    pub(super) fn appended(&self, write: u64, token: ConsistencyToken) {
        let mut known = self.known.lock().unwrap();
        if known.writes == write {
            known.written = Some(Opened::Known(token));
            known.newest = Some((Opened::Known(token), None));
        }
    }

    pub(super) fn pass(&self, object: u8) -> PassedTokens {
        let known = self.known.lock().unwrap();
        let (writes, written) = (known.writes, known.versions.get(&object).copied().unwrap_or_default());
        let (tokens, seen) = if self.rng.below(2) == 0 {
            let seen = known.seen.get(&object);
            let tokens = known.written.into_iter().chain(seen.map(|seen| Opened::Known(seen.token))).collect();
            (tokens, seen.map_or(0, |seen| seen.version))
        } else {
            let seen = known.newest.and_then(|(_, seen)| seen).filter(|(of, _)| *of == object);
            (known.newest.map(|(token, _)| token).into_iter().collect(), seen.map_or(0, |(_, version)| version))
        };
        PassedTokens { tokens, writes, written, seen }
    }

    /// Holds an answer against what was passed, and remembers it.
    pub(super) fn check(
        &self,
        passed: &PassedTokens,
        object: u8,
        version: u64,
        token: ConsistencyToken,
    ) -> Result<(), String> {
        if version < passed.written {
            return Err(format!("I3: older than what the session wrote: {version} to {passed:?}"));
        }
        if version < passed.seen {
            return Err(format!("I5: older than what the session saw: {version} to {passed:?}"));
        }
        let mut known = self.known.lock().unwrap();
        if known.writes == passed.writes {
            known.newest = Some((Opened::Known(token), Some((object, version))));
        }
        if known.seen.get(&object).is_none_or(|seen| version >= seen.version) {
            known.seen.insert(object, Seen { version, token });
        }
        Ok(())
    }
}
