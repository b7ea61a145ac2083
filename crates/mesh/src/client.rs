//! A binary's identity in the mesh, and its verification of others' tokens.

use std::{io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use accord_runtime::{
    config::Secret,
    deadline::Deadline,
    file::{SECRET, read_text},
    reload::{INTERVAL, Reloading},
    request::RequestId,
    shutdown::Shutdown,
};
use accord_token::{
    InvalidTokenReason, Refusal, Type, Verified,
    verify::{self, Expected},
};
use accord_upstream::{Client, ConfigError, DnsConfig, Upstream, UpstreamConfig};
use tokio::{sync::watch, time::sleep};
use tonic::metadata::AsciiMetadataValue;

use crate::{
    caller::{CallerCredential, CallerToken, CallerTokens, CredentialRefusal},
    config::MeshConfig,
    decide::{Decision, DecisionClient, PolicySet, Question},
    login::Login,
    metrics,
    readiness::Readiness,
    recent::RecentTokens,
    snapshot::LatestSnapshot,
    watch::follow,
};

/// A snapshot is too old after its last moment, not at it.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

/// A verifier with an identity of its own. Clones share everything.
#[derive(Clone)]
pub struct MeshClient(Arc<Inner>);

struct Inner {
    issuer: String,
    audience: String,
    bound: Duration,
    latest: Arc<LatestSnapshot>,
    ready: watch::Receiver<bool>,
    login: Arc<Login>,
    auth: Client,
    decisions: DecisionClient,
    callers: CallerTokens,
    /// Tokens whose signature was checked, by the SHA-256 of the token.
    signatures: moka::sync::Cache<[u8; 32], Arc<Verified>>,
    /// Those of them that each thread met last.
    recent: RecentTokens,
}

/// Why a binary can't join the mesh. Auth being down is no reason: the client then refuses until auth is up.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Neither a secret nor a file with one was given.
    #[error(
        "the name in `auth.client_id` needs a secret; set `auth.client_secret_file`, or `auth.client_secret` by the environment"
    )]
    NoSecret,
    /// There is nothing in the file with the secret.
    #[error("the client secret file `{}` is empty; put there what `accord-auth client add` made", path.display())]
    EmptySecretFile {
        /// Which.
        path: PathBuf,
    },
    /// No client id was given.
    #[error(
        "this binary has no name to log in with; set `auth.client_id` to a client made with `accord-auth client add`"
    )]
    NoClient,
    /// The file with the secret can't be read.
    #[error("the client secret can't be read from `{}`: {source}; check `auth.client_secret_file`", path.display())]
    SecretFile {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it can't be read.
        source: io::Error,
    },
    /// Auth can't be called as configured.
    #[error("auth can't be called as the section `auth` says: {0}")]
    Auth(#[from] ConfigError),
}

impl MeshClient {
    /// Starts to log in and to follow revocations, in the background, until shutdown. Never waits for auth.
    pub fn join(config: &MeshConfig, shutdown: Shutdown) -> Result<MeshClient, JoinError> {
        Self::join_by(config, &DnsConfig::default(), shutdown)
    }

    /// The same, with auth's name resolved by these name servers.
    pub fn join_by(config: &MeshConfig, dns: &DnsConfig, shutdown: Shutdown) -> Result<MeshClient, JoinError> {
        let secret = config.followed_identity()?;
        let auth = Client::new(Upstream::resolved_by(&config.upstream(), dns)?);
        let latest = Arc::new(LatestSnapshot::none());
        let login = Arc::new(Login::new(auth.clone(), config, secret));
        tokio::spawn(Arc::clone(&login).keep(shutdown.clone()));
        let bound = config.staleness_bound;
        tokio::spawn(follow(auth.clone(), Arc::clone(&login), Arc::clone(&latest), bound, shutdown));
        let (sender, ready) = watch::channel(false);
        let readiness = Readiness { latest: Arc::clone(&latest), login: Arc::clone(&login), bound };
        tokio::spawn(readiness.notify(sender));
        metrics::observe(&latest, bound);
        Ok(MeshClient(Arc::new(Inner {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            bound,
            latest,
            ready,
            callers: CallerTokens::new(auth.clone(), Arc::clone(&login), config.signature_memory, bound),
            decisions: DecisionClient::new(auth.clone(), Arc::clone(&login), config.decision_memory, bound),
            auth,
            login,
            signatures: moka::sync::Cache::new(config.signature_memory),
            recent: RecentTokens::new(),
        })))
    }

    /// Verifies an access token, or says why it is refused.
    pub fn verify(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        self.verify_within(token, &NoLimit)
    }

    /// The same, within a limit of forgeries.
    pub fn verify_within(&self, token: &str, limit: &impl ForgeryLimit) -> Result<Arc<Verified>, Refusal> {
        self.verify_as(token, Type::Access, &self.0.audience, limit)
    }

    /// The access token that stands for a caller's credential: one that is remembered, and is good, or one that auth gives for it.
    pub async fn token_for(
        &self,
        credential: CallerCredential<'_>,
        address: IpAddr,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<CallerToken, CredentialRefusal> {
        if !credential.is_plausible() {
            return Err(CredentialRefusal::NotAccepted);
        }
        let (callers, fingerprint) = (&self.0.callers, credential.fingerprint());
        if let Some(held) = callers.held(&fingerprint).await {
            match self.verify(&held.token) {
                Ok(verified) => {
                    callers.renew(&held, credential, address);
                    return Ok(CallerToken { token: Arc::clone(&held.token), verified });
                }
                // The credential may be good all the same: another token came of a change of roles, or its time was over.
                Err(Refusal::Revoked | Refusal::Expired | Refusal::Invalid(_)) => callers.forget(&fingerprint).await,
                Err(refused) => return Err(CredentialRefusal::Token(refused)),
            }
        }
        let asked = callers.ask(fingerprint, credential, address, deadline, id).await?;
        let verified = self.verify(&asked.token).map_err(CredentialRefusal::Token)?;
        Ok(CallerToken { token: Arc::clone(&asked.token), verified })
    }

    /// Verifies a passport made for this audience, or says why it is refused.
    pub fn verify_passport(&self, token: &str, audience: &str) -> Result<Arc<Verified>, Refusal> {
        self.verify_as(token, Type::Passport, audience, &NoLimit)
    }

    /// For whom a passport was made, if one of auth's keys signed it: for the words in which one for another is refused.
    pub fn passport_audience(&self, token: &str) -> Option<String> {
        let snapshot = self.0.latest.within(self.0.bound)?;
        verify::signed(token, Type::Passport, &snapshot.keys).ok().map(|verified| verified.claims.aud)
    }

    /// Asks auth whether the principal of a verified token may do that: an access token, or with an actor a passport. Answers are
    /// remembered as long as the token, the passport in the answer, and the policy set hold; callers with the same question wait
    /// for one answer.
    pub async fn decide(
        &self,
        token: &str,
        verified: &Verified,
        question: &Question<'_>,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<Arc<Decision>, Refusal> {
        let snapshot = self.0.latest.within(self.0.bound).ok_or(Refusal::Stale)?;
        let (hash, relations_version) = (&snapshot.policy_hash, snapshot.relations_version);
        let policies = PolicySet { hash, reads: snapshot.policy_reads, relations_version };
        self.0.decisions.decide(token, verified, question, policies, deadline, id).await
    }

    /// Auth itself, for calls that somebody makes there by this binary, with a credential of their own.
    pub fn auth(&self) -> &Client {
        &self.0.auth
    }

    /// This binary's own access token as a bearer credential, for `authorization` on calls to the other binaries.
    pub fn workload_bearer(&self) -> Result<AsciiMetadataValue, Refusal> {
        self.0.login.bearer()
    }

    /// Whether tokens can be verified now, and this binary can prove who it is.
    pub fn ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// The same as a watch: it changes when the snapshot becomes too old or fresh again, and when this binary's token ends
    /// or is renewed.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.0.ready.clone()
    }

    /// Ends with the reason once one of these verified tokens is revoked, or nobody can know any more that it is not. That a
    /// token reaches the end of its life is none: what was let in by it was let in in time.
    ///
    /// It looks with each answer of auth, and at the moment at which the snapshot becomes too old: so within the bound.
    pub async fn withdrawn(&self, tokens: &[Arc<Verified>]) -> Refusal {
        let Inner { latest, bound, .. } = &*self.0;
        loop {
            // Listens before the look, so that no answer after it is missed.
            let answered = latest.answered();
            let (Some(left), Some(snapshot)) = (latest.fresh_for(*bound), latest.within(*bound)) else {
                return Refusal::Stale;
            };
            if tokens.iter().any(|token| snapshot.revokes(&token.claims)) {
                return Refusal::Revoked;
            }
            tokio::select! {
                () = answered => {}
                () = sleep(left.saturating_add(CLOCK_RESOLUTION)) => {}
            }
        }
    }

    fn verify_as(
        &self,
        token: &str,
        token_type: Type,
        audience: &str,
        limit: &impl ForgeryLimit,
    ) -> Result<Arc<Verified>, Refusal> {
        let inner = &*self.0;
        // First of all: without a fresh snapshot there are no keys to speak of, and nothing may be said about the token.
        let snapshot = inner.latest.within(inner.bound).ok_or(Refusal::Stale)?;
        if token.len() > verify::LONGEST {
            return Err(Refusal::Invalid(InvalidTokenReason::TooLong));
        }
        let expected = Expected { token_type, issuer: &inner.issuer, audience };
        let now = verify::now();
        if let Some(verified) = inner.recent.get(token) {
            verify::current(&verified, &expected, now, &snapshot)?;
            return Ok(verified);
        }
        let fingerprint = verify::fingerprint(token);
        if let Some(verified) = inner.signatures.get(&fingerprint) {
            verify::current(&verified, &expected, now, &snapshot)?;
            inner.recent.insert(token, &verified);
            return Ok(verified);
        }
        limit.look().map_err(Refusal::Throttled)?;
        let signed = verify::signed(token, token_type, &snapshot.keys).inspect_err(|why| {
            // What else is wrong with a token shows before that work is done.
            if *why == InvalidTokenReason::Signature {
                limit.count();
            }
        });
        let verified = Arc::new(signed.map_err(Refusal::Invalid)?);
        verify::current(&verified, &expected, now, &snapshot)?;
        // Only what was accepted is remembered, so that nobody fills the memory with tokens that are good for nothing.
        inner.signatures.insert(fingerprint, Arc::clone(&verified));
        inner.recent.insert(token, &verified);
        Ok(verified)
    }
}

/// How many tokens that nobody signed are looked at: the work for one is that for a good token, and a memory of them could be filled.
/// Tokens that are known to be signed are not held against it.
pub trait ForgeryLimit {
    /// Whether one more may be looked at, or how long to wait.
    fn look(&self) -> Result<(), Duration>;

    /// Counts one that nobody signed.
    fn count(&self);
}

/// For tokens that come from where tokens are verified already, or made.
struct NoLimit;

impl ForgeryLimit for NoLimit {
    fn look(&self) -> Result<(), Duration> {
        Ok(())
    }

    fn count(&self) {}
}

impl JoinError {
    /// The key of the section `auth` that it is about.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::NoClient => "client_id",
            Self::NoSecret | Self::EmptySecretFile { .. } | Self::SecretFile { .. } => "client_secret_file",
            Self::Auth(_) => "url",
        }
    }
}

impl MeshConfig {
    /// The secret that goes with the name.
    pub(crate) fn identity(&self) -> Result<Secret, JoinError> {
        if self.client_id.is_empty() { Err(JoinError::NoClient) } else { secret(self) }
    }

    /// The same, following its file: where that can't be read later, the last secret stays in use.
    pub(crate) fn followed_identity(&self) -> Result<Arc<Reloading<Secret>>, JoinError> {
        let (config, files) = (self.clone(), self.client_secret_file.clone().into_iter().collect());
        Reloading::new("client_secret", files, INTERVAL, move || config.identity())
    }

    pub(crate) fn upstream(&self) -> UpstreamConfig {
        UpstreamConfig {
            name: "auth".to_owned(),
            urls: vec![self.url.clone()],
            tls: self.tls.clone(),
            ..UpstreamConfig::default()
        }
    }
}

fn secret(config: &MeshConfig) -> Result<Secret, JoinError> {
    let Some(path) = &config.client_secret_file else {
        return if config.client_secret.is_empty() {
            Err(JoinError::NoSecret)
        } else {
            Ok(config.client_secret.clone())
        };
    };
    let text = read_text(path, SECRET).map_err(|source| JoinError::SecretFile { path: path.clone(), source })?;
    match text.trim() {
        "" => Err(JoinError::EmptySecretFile { path: path.clone() }),
        text => Ok(Secret::from(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_secret_file_is_read_and_trimmed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let config = MeshConfig { client_secret_file: Some(file.clone()), ..MeshConfig::default() };
        assert!(matches!(secret(&config), Err(JoinError::SecretFile { .. })));
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(secret(&config), Err(JoinError::EmptySecretFile { .. })));
        std::fs::write(&file, "from the file\n").unwrap();
        assert_eq!(secret(&config).unwrap().expose(), "from the file");
    }

    #[test]
    fn client_secret_file_longer_than_any_secret_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, vec![0; 3 << 20]).unwrap();
        let config = MeshConfig { client_secret_file: Some(file), ..MeshConfig::default() };
        assert!(matches!(secret(&config), Err(JoinError::SecretFile { .. })));
    }

    #[test]
    fn client_secret_without_a_file_is_taken_from_its_key() {
        let config = |secret: &str| MeshConfig { client_secret: Secret::from(secret), ..MeshConfig::default() };
        assert_eq!(secret(&config("given")).unwrap().expose(), "given");
        assert!(matches!(secret(&config("")), Err(JoinError::NoSecret)));
    }
}
