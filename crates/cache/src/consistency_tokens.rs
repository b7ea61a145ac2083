//! Consistency tokens: what those that a reader passes ask of its answer, and the one that the answer gets.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{ConsistencyRequirement, ConsistencyToken, LoadSpan, Opened, Required, TokenKey, TokenScope};
use accord_runtime::config::{Secret, bound};
use accord_runtime::fault;
use accord_runtime::file::read_text;
use accord_runtime::reload::{INTERVAL, Reloading};
use bytes::Bytes;
use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, Counter},
};
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::declared_metrics::{CONSISTENCY_TOKENS, REQUIREMENTS};
use crate::forced_loads::ForcedLoads;
use crate::malformed::bounded;

/// Most tokens of one read: a session has one of its last write, and one of what it reads.
pub(crate) const MOST_TOKENS: usize = 8;

/// Bytes of the shortest secret: as long as what comes of it.
const SHORTEST_SECRET: usize = 32;
/// Bytes of the longest file with one.
const LONGEST_SECRET: u64 = 4096;

/// The longest that a read waits until more of the log is read, before it asks the origin.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// The section `[consistency]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// A file with the secret that consistency tokens are authenticated with, at least 32 bytes, such as `openssl rand -base64 32`
    /// makes; white space around it is ignored. Read again when it changes. All replicas of a cache need the same one: a token under
    /// another secret can't be judged, so that each read that passes it is a load. Values of the second level are encrypted with a key
    /// that is made of it. Default: none, which is a random secret for each run of a process.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub token_key_file: Option<PathBuf>,
}

impl ConsistencyConfig {
    /// Why the file can't be used.
    pub(crate) fn unusable(&self) -> Option<TokenKeyError> {
        self.token_key_file.as_deref().and_then(|file| token_key(file).err())
    }
}

/// The secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The file can't be read.
    #[error("the secret of consistency tokens can't be read from `{}`: {source}; check `consistency.token_key_file`", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it can't be read.
        source: std::io::Error,
    },
    /// It is too short to be one.
    #[error("`{}` has less than {SHORTEST_SECRET} bytes; `openssl rand -base64 32` makes a secret", path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
}

fn token_key(path: &Path) -> Result<TokenKey, TokenKeyError> {
    secret(path).map(|secret| TokenKey::of(secret.expose().as_bytes()))
}

/// The secret that the replicas of a cache have in common.
pub(crate) fn secret(path: &Path) -> Result<Secret, TokenKeyError> {
    let read = read_text(path, LONGEST_SECRET);
    let text = read.map_err(|source| TokenKeyError::File { path: path.to_owned(), source })?;
    let secret = text.trim();
    if secret.len() < SHORTEST_SECRET {
        return Err(TokenKeyError::Short { path: path.to_owned() });
    }
    Ok(secret.into())
}

/// Makes tokens and reads them. Clones share everything.
#[derive(Clone)]
pub(crate) struct ConsistencyTokens {
    key: Arc<Reloading<TokenKey>>,
    passed: Counter<u64>,
    requirements: Arc<[BoundCounter<u64>; 4]>,
    forced: Arc<ForcedLoads>,
}

impl std::fmt::Debug for ConsistencyTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ConsistencyTokens").finish_non_exhaustive()
    }
}

impl ConsistencyTokens {
    /// Under the configured secret, whose file is followed, or under one of its own.
    pub(crate) fn new(config: &ConsistencyConfig) -> Result<Self, TokenKeyError> {
        let (file, own) = (config.token_key_file.clone(), TokenKey::random());
        let make = move || file.as_deref().map_or_else(|| Ok(own.clone()), token_key);
        let files = config.token_key_file.clone().into_iter().collect();
        let meter = accord_runtime::telemetry::meter();
        let requirements = REQUIREMENTS.counter(&meter);
        let required = ["minimize_latency", "max_staleness", "at_least_as_fresh", "strong"];
        let requirements = Arc::new(required.map(|name| requirements.bind(&[KeyValue::new("requirement", name)])));
        let passed = CONSISTENCY_TOKENS.counter(&meter);
        let (key, forced) =
            (Reloading::new("consistency_token_key", files, INTERVAL, make)?, Arc::new(ForcedLoads::new()));
        Ok(Self { key, passed, requirements, forced })
    }

    /// What they are authenticated with.
    pub(crate) fn key(&self) -> TokenKey {
        TokenKey::clone(&self.key.get())
    }

    /// Counts a read by the strictest that its caller requires.
    pub(crate) fn count(&self, consistency: ConsistencyRequirement, has_tokens: bool) {
        let strictest = match consistency {
            ConsistencyRequirement::Strong => 3,
            _ if has_tokens => 2,
            ConsistencyRequirement::MaxStaleness(_) => 1,
            ConsistencyRequirement::MinimizeLatency => 0,
        };
        self.requirements[strictest].add(1);
    }

    /// What these tokens say, which have to be of this namespace and tenant.
    pub(crate) fn open(&self, tokens: &[Bytes], scope: TokenScope<'_>) -> Result<Vec<Opened>, Status> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        bounded("at_least_as_fresh", tokens.len(), MOST_TOKENS)?;
        let key = self.key.get();
        tokens.iter().map(|token| self.open_one(&key, token, scope)).collect()
    }

    fn open_one(&self, key: &TokenKey, token: &[u8], scope: TokenScope<'_>) -> Result<Opened, Status> {
        let opened = key.open(token, scope);
        let result = match opened {
            Ok(Opened::Known(_)) => "known",
            Ok(Opened::Foreign) => "unknown",
            Err(_) => "refused",
        };
        self.passed.add(1, &[KeyValue::new("result", result)]);
        opened.map_err(|error| refused(&error.to_string()))
    }

    /// When loads may begin that tokens force which can't be judged.
    pub(crate) fn forced_loads(&self) -> &ForcedLoads {
        &self.forced
    }

    /// The token of an answer.
    pub(crate) fn of_answer(&self, required: &Required, load: &LoadSpan, scope: TokenScope<'_>) -> Bytes {
        self.seal(&required.token(load), scope)
    }

    /// A token as callers get it.
    pub(crate) fn seal(&self, token: &ConsistencyToken, scope: TokenScope<'_>) -> Bytes {
        self.key.get().seal(token, scope).into()
    }

    /// The token of a write whose invalidation has this number of a log.
    pub(crate) fn of_write(&self, log: u128, number: u64, scope: TokenScope<'_>) -> Bytes {
        self.seal(&ConsistencyToken::of_write(log, number), scope)
    }
}

/// How long a read waits for more of the log, of all the time that it has.
pub(crate) fn patience(wait_budget: Duration) -> Duration {
    (wait_budget / 2).min(LONGEST_PATIENCE)
}

/// The refusal of a token that nobody can have been given.
pub(crate) fn refused(problem: &str) -> Status {
    let remedy = "pass what an earlier answer said as its consistency token, or nothing";
    fault::status(Reason::ConsistencyTokenInvalid, format!("a consistency token: {problem}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORTH: TokenScope<'static> = TokenScope { namespace: "", tenant: "north" };

    fn at(file: &Path) -> ConsistencyConfig {
        ConsistencyConfig { token_key_file: Some(file.to_owned()) }
    }

    fn token(tokens: &ConsistencyTokens) -> Bytes {
        tokens.of_write(1, 2, NORTH)
    }

    #[test]
    fn processes_with_one_secret_judge_each_others_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("  {}\n", "k".repeat(32))).unwrap();
        let [one, two] = [0, 1].map(|_| ConsistencyTokens::new(&at(&file)).unwrap());
        assert!(matches!(two.open(&[token(&one)], NORTH).unwrap()[..], [Opened::Known(_)]));
    }

    #[test]
    fn token_of_a_process_with_a_secret_of_its_own_can_not_be_judged() {
        let [one, two] = [0, 1].map(|_| ConsistencyTokens::new(&ConsistencyConfig::default()).unwrap());
        assert_eq!(two.open(&[token(&one)], NORTH).unwrap(), [Opened::Foreign]);
    }

    #[test]
    fn changed_cut_and_other_tenants_tokens_are_refused_with_their_reason() {
        let tokens = ConsistencyTokens::new(&ConsistencyConfig::default()).unwrap();
        let good = token(&tokens);
        let mut changed = good.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let south = tokens.of_write(1, 2, TokenScope { tenant: "south", ..NORTH });
        for passed in [changed.into(), good.slice(1..), good.slice(..good.len() - 1), south, Bytes::new()] {
            let refused = tokens.open(&[good.clone(), passed], NORTH).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert_eq!(fault::reason_of(&refused), Some(Reason::ConsistencyTokenInvalid));
        }
    }

    #[test]
    fn more_tokens_than_a_session_has_are_refused() {
        let tokens = ConsistencyTokens::new(&ConsistencyConfig::default()).unwrap();
        let passed = vec![Bytes::from_static(&ConsistencyToken::UNKNOWN); MOST_TOKENS + 1];
        assert!(tokens.open(&passed[1..], NORTH).is_ok());
        assert!(tokens.open(&passed, NORTH).is_err());
    }

    #[test]
    fn short_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "k".repeat(31)).unwrap();
        assert!(matches!(ConsistencyTokens::new(&at(&file)), Err(TokenKeyError::Short { .. })));
    }
}
