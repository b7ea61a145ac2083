//! Callers' API keys and certificates: auth is asked once for an access token, which is remembered in the credential's place. From there
//! on a call goes the way of one that brought the token, and falls with it when the key or the certificate's identity, or whoever it
//! belongs to, is disabled.
//!
//! The key itself is not remembered, only its SHA-256. Its 256 random bits are all that a guess would have to find.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use accord_api::accord::{
    auth::v1::{
        ApiKeyGrant, CertificateGrant, IssueForRequest, issue_for_request::Credential,
        token_service_client::TokenServiceClient,
    },
    fault::v1::Reason,
};
use accord_runtime::{
    client_identity::ClientIdentity,
    deadline::Deadline,
    fair_share::network_of,
    fault,
    request::{self, RequestId},
    telemetry,
};
use accord_token::{Refusal, Verified, verify};
use accord_upstream::{Client, repeated};
use opentelemetry::{KeyValue, metrics::Counter};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::declared_metrics::CREDENTIAL_EXCHANGES;
use crate::login::Login;

/// What every API key begins with, and no token does.
pub const API_KEY_PREFIX: &str = "ak_";

/// The longest text that auth is asked about.
const LONGEST: usize = 256;

/// The longest that one question to auth may take, whoever waits for it.
const ATTEMPT: Duration = Duration::from_secs(2);

/// The age at which a remembered token is replaced, behind the call that finds it so old: by that auth learns that the key is in use.
/// Where auth does not answer, the token goes on for as long as it holds.
const RENEWED_AFTER: Duration = Duration::from_mins(1);

/// How long auth is not asked again about a credential that it refused: a key that is enabled is accepted after that.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// Most refused credentials, and addresses with too many of them, that are remembered. They have room of their own, so that guesses
/// push no good one out.
const MAX_REFUSED: u64 = 10_000;

/// The longest memory that an address sent too many wrong keys.
const THROTTLED_FOR: Duration = Duration::from_mins(1);

/// What a caller proves itself with, where that is no token.
#[derive(Clone, Copy)]
pub enum CallerCredential<'a> {
    /// An API key, as the caller sent it.
    ApiKey(&'a str),
    /// A certificate, by the identity that was read from it once it was verified.
    Certificate(&'a ClientIdentity),
}

/// The token that stands for a caller's credential. Its caller does not see it.
#[derive(Clone)]
pub struct CallerToken {
    /// The token itself: auth decides by it.
    pub token: Arc<str>,
    /// What it says.
    pub verified: Arc<Verified>,
}

/// Why there is no token for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRefusal {
    /// Auth does not know it, or it is disabled, ended or wrong: which of them is not told.
    NotAccepted,
    /// Too many wrong ones came from the caller's address: for how long.
    Throttled(Duration),
    /// No answer, or a token that does not verify.
    Token(Refusal),
}

/// A token, as it is remembered.
pub(crate) struct HeldToken {
    /// The token itself.
    pub(crate) token: Arc<str>,
    asked_at: Instant,
    is_renewed: AtomicBool,
}

type Fingerprint = [u8; 32];

/// Asks auth, and remembers its answers. Clones share everything.
#[derive(Clone)]
pub(crate) struct CallerTokens {
    auth: Client,
    login: Arc<Login>,
    held: moka::future::Cache<Fingerprint, Arc<HeldToken>>,
    refused: moka::sync::Cache<Fingerprint, ()>,
    /// For each kind of credential: who guesses keys locks out nobody who shows a certificate.
    throttled: moka::sync::Cache<(&'static str, IpAddr), Instant>,
    attempt_timeout: Duration,
    exchanges: Counter<u64>,
}

impl CallerCredential<'_> {
    /// By what it is remembered.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::ApiKey(key) => verify::fingerprint(key),
            // No identity is spelled like a key.
            Self::Certificate(identity) => verify::fingerprint(identity.as_str()),
        }
    }

    /// Whether auth could accept it at all.
    pub(crate) fn is_plausible(&self) -> bool {
        match self {
            Self::ApiKey(key) => key.starts_with(API_KEY_PREFIX) && key.len() <= LONGEST,
            Self::Certificate(_) => true,
        }
    }

    fn message(&self, address: IpAddr) -> IssueForRequest {
        let credential = match self {
            Self::ApiKey(key) => Credential::ApiKey(ApiKeyGrant { key: (*key).to_owned() }),
            Self::Certificate(identity) => {
                Credential::Certificate(CertificateGrant { identity: identity.as_str().to_owned() })
            }
        };
        IssueForRequest { credential: Some(credential), address: address.to_string() }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api_key",
            Self::Certificate(_) => "certificate",
        }
    }
}

impl CallerTokens {
    /// Waits for an answer no longer than `bound`, as for decisions.
    pub(crate) fn new(auth: Client, login: Arc<Login>, capacity: u64, bound: Duration) -> Self {
        let exchanges = CREDENTIAL_EXCHANGES.counter(&telemetry::meter());
        let refusals = moka::sync::Cache::builder().max_capacity(MAX_REFUSED);
        Self {
            auth,
            login,
            held: moka::future::Cache::new(capacity),
            refused: refusals.time_to_live(REFUSED_FOR).build(),
            throttled: moka::sync::Cache::builder().max_capacity(MAX_REFUSED).time_to_live(THROTTLED_FOR).build(),
            attempt_timeout: ATTEMPT.min(bound),
            exchanges,
        }
    }

    /// The token that is remembered.
    pub(crate) async fn held(&self, fingerprint: &Fingerprint) -> Option<Arc<HeldToken>> {
        self.held.get(fingerprint).await
    }

    /// Forgets a token that is good no more.
    pub(crate) async fn forget(&self, fingerprint: &Fingerprint) {
        self.held.invalidate(fingerprint).await;
    }

    /// Asks auth, once for all callers who wait with the same credential, each as long as its own deadline allows.
    pub(crate) async fn ask(
        &self,
        fingerprint: Fingerprint,
        credential: CallerCredential<'_>,
        address: IpAddr,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<Arc<HeldToken>, CredentialRefusal> {
        if self.refused.contains_key(&fingerprint) {
            return Err(CredentialRefusal::NotAccepted);
        }
        let kind = credential.kind();
        let throttled = self.throttled.get(&(kind, network_of(address)));
        if let Some(left) = throttled.and_then(|until| until.checked_duration_since(Instant::now())) {
            return Err(CredentialRefusal::Throttled(left));
        }
        let message = credential.message(address);
        let asking = self.held.try_get_with_by_ref(&fingerprint, self.exchange(kind, message, id));
        let asked = timeout_at(deadline.at(), asking).await;
        let asked = asked.map_err(|_| CredentialRefusal::Token(Refusal::DeadlineExceeded))?;
        asked.map_err(|refused| self.refuse(fingerprint, kind, address, *refused))
    }

    /// Replaces an old token without anybody waiting for it.
    pub(crate) fn renew(&self, held: &HeldToken, credential: CallerCredential<'_>, address: IpAddr) {
        if held.asked_at.elapsed() < RENEWED_AFTER || held.is_renewed.swap(true, Ordering::Relaxed) {
            return;
        }
        let (tokens, message) = (self.clone(), credential.message(address));
        let (fingerprint, kind, asked_at) = (credential.fingerprint(), credential.kind(), Instant::now());
        let token = Arc::clone(&held.token);
        tokio::spawn(async move {
            match tokens.exchange(kind, message, &RequestId::new()).await {
                Ok(renewed) => tokens.held.insert(fingerprint, renewed).await,
                Err(CredentialRefusal::NotAccepted) => {
                    tokens.refuse(fingerprint, kind, address, CredentialRefusal::NotAccepted);
                    tokens.forget(&fingerprint).await;
                }
                // It goes on for as long as it holds, and auth is asked again after as long a time.
                Err(_) => {
                    let is_renewed = AtomicBool::new(false);
                    tokens.held.insert(fingerprint, Arc::new(HeldToken { token, asked_at, is_renewed })).await;
                }
            }
        });
    }

    fn refuse(
        &self,
        fingerprint: Fingerprint,
        kind: &'static str,
        address: IpAddr,
        refused: CredentialRefusal,
    ) -> CredentialRefusal {
        match refused {
            CredentialRefusal::NotAccepted => self.refused.insert(fingerprint, ()),
            CredentialRefusal::Throttled(wait) => {
                self.throttled.insert((kind, network_of(address)), Instant::now() + wait.min(THROTTLED_FOR));
            }
            CredentialRefusal::Token(_) => {}
        }
        refused
    }

    async fn exchange(
        &self,
        kind: &'static str,
        message: IssueForRequest,
        id: &RequestId,
    ) -> Result<Arc<HeldToken>, CredentialRefusal> {
        let asked_at = Instant::now();
        let answer = self.answer(message, id).await;
        let outcome = match &answer {
            Ok(_) => "accepted",
            Err(CredentialRefusal::NotAccepted) => "refused",
            Err(CredentialRefusal::Throttled(_)) => "throttled",
            Err(CredentialRefusal::Token(_)) => "failed",
        };
        self.exchanges.add(1, &[KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)]);
        let is_renewed = AtomicBool::new(false);
        Ok(Arc::new(HeldToken { token: answer?, asked_at, is_renewed }))
    }

    async fn answer(&self, message: IssueForRequest, id: &RequestId) -> Result<Arc<str>, CredentialRefusal> {
        let deadline = Deadline::after(self.attempt_timeout);
        let bearer = self.login.bearer().map_err(CredentialRefusal::Token)?;
        let issue = repeated(deadline, || {
            let mut request = request::outbound(message.clone(), deadline, id);
            request.metadata_mut().insert("authorization", bearer.clone());
            let mut client = TokenServiceClient::new(self.auth.clone());
            async move { client.issue_for(request).await }
        });
        let answer = timeout_at(deadline.at(), issue).await;
        let answer = answer.map_err(|_| CredentialRefusal::Token(Refusal::Unavailable))?;
        Ok(answer.map_err(|status| self.refusal(&status))?.into_inner().access_token.into())
    }

    /// Auth calls the credential in question an invalid *argument*; unauthenticated is what it calls this binary.
    fn refusal(&self, status: &Status) -> CredentialRefusal {
        match (status.code(), fault::reason_of(status)) {
            (Code::InvalidArgument, _) => return CredentialRefusal::NotAccepted,
            (_, Some(Reason::LoginThrottled)) => {
                let wait = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
                return CredentialRefusal::Throttled(wait.unwrap_or(REFUSED_FOR));
            }
            (_, Some(Reason::TokenTooLong)) => return CredentialRefusal::Token(Refusal::TokenTooLong),
            (Code::Unauthenticated, _) => self.login.reject(),
            (Code::PermissionDenied, _) => {
                tracing::warn!(
                    "auth does not believe this binary who calls it: its client lacks the role `accord-gateway`"
                );
            }
            _ => {}
        }
        CredentialRefusal::Token(Refusal::Unavailable)
    }
}

#[cfg(test)]
mod tests;
