//! Authorization decisions: asks auth once whether a principal may do something, and remembers.

mod key;
mod recent;

use std::{net::IpAddr, sync::Arc, time::Duration};

use accord_api::accord::{
    auth::v1::{CheckRequest, CheckResponse, Principal, access_service_client::AccessServiceClient},
    fault::v1::Reason,
};
use accord_runtime::{
    deadline::Deadline,
    fault,
    request::{self, RequestId},
};
use accord_token::{InvalidTokenReason, Refusal, Verified, verify};
use accord_upstream::{Client, repeated};
use http::HeaderValue;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

pub(crate) use self::key::PolicySet;
use self::{
    key::{BorrowedKey, DecisionKey},
    recent::RecentDecisions,
};
use crate::login::Login;

/// The longest that one question to auth may take, whoever waits for it.
const ATTEMPT: Duration = Duration::from_secs(2);

/// A passport is not used in its last moments: it must outlive the call that carries it.
const MARGIN: Duration = Duration::from_secs(30);

/// The longest memory of a decision without a passport. Roles and policies that change end it earlier.
const MEMORY: Duration = Duration::from_mins(1);

/// The longest memory of a decision under policies that look at the time.
const MOMENT: Duration = Duration::from_secs(1);

/// The workload that calls for a principal, by its own access token.
#[derive(Clone, Copy, Debug)]
pub struct ActorToken<'a> {
    /// The token itself.
    pub token: &'a str,
    /// What it says.
    pub verified: &'a Verified,
}

/// What is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The called method, `pkg.Service/Method`.
    pub method: &'a str,
    /// The permission that its contract asks for; empty where being authenticated is enough.
    pub permission: &'a str,
    /// The upstream that serves the method, and so the passport's audience; empty where no passport is wanted.
    pub audience: &'a str,
    /// The object that it is about, `Product/42`; empty where it is about the upstream.
    pub resource: &'a str,
    /// The client's address; None where it is not known.
    pub address: Option<IpAddr>,
    /// How the principal calls, such as `grpc` or `json`; empty where it is not known.
    pub protocol: &'a str,
    /// Who calls for the principal; none where it calls itself.
    pub actor: Option<ActorToken<'a>>,
}

/// A positive decision.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Whose token it was.
    pub subject: Arc<str>,
    /// The tenant that the subject belongs to.
    pub tenant: Arc<str>,
    /// The passport for the way inward, where an audience was named.
    pub passport: Option<HeaderValue>,
    /// The policies that decided, by id; none where being authenticated was enough.
    pub policies: Box<[String]>,
}

/// A remembered answer, of either kind.
struct CachedDecision {
    outcome: Result<Arc<Decision>, Refusal>,
    policy_hash: String,
    /// The version of all relations with which it was made; 0 where it was made without any.
    relations_version: u64,
    good_until: Instant,
}

impl CachedDecision {
    /// Whether it still holds, by its time.
    fn holds(&self) -> bool {
        Instant::now() < self.good_until
    }

    /// Whether it is of these policies, and of no relations that have changed since.
    fn is_of(&self, policies: &PolicySet<'_>) -> bool {
        self.policy_hash == policies.hash && !self.is_before(policies.relations_version)
    }

    /// Whether relations have changed that it was made with.
    fn is_before(&self, relations_version: u64) -> bool {
        (1..relations_version).contains(&self.relations_version)
    }
}

/// Asks auth, and remembers its answers.
pub(crate) struct DecisionClient {
    auth: Client,
    login: Arc<Login>,
    memory: moka::future::Cache<DecisionKey, Arc<CachedDecision>>,
    /// Those that each thread met last.
    recent: RecentDecisions,
    attempt_timeout: Duration,
}

impl DecisionClient {
    /// Waits for an answer no longer than `bound`: an auth that is silent for so long leaves no verifier anything to
    /// verify with.
    pub(crate) fn new(auth: Client, login: Arc<Login>, capacity: u64, bound: Duration) -> Self {
        let memory = moka::future::Cache::builder().max_capacity(capacity).time_to_live(Duration::from_mins(5)).build();
        Self { auth, login, memory, recent: RecentDecisions::new(), attempt_timeout: ATTEMPT.min(bound) }
    }

    pub(crate) async fn decide(
        &self,
        token: &str,
        verified: &Verified,
        question: &Question<'_>,
        policies: PolicySet<'_>,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<Arc<Decision>, Refusal> {
        let address = question.address.filter(|_| policies.reads.address).map(|address| address.to_string());
        let key = BorrowedKey::of(verified, question, &policies, address.as_deref().unwrap_or_default());
        // One that is of another policy set stands there for a moment only.
        let is_of_these = |answer: &Arc<CachedDecision>| answer.is_of(&policies);
        if let Some(answer) = self.recent.get(&key).filter(is_of_these) {
            return answer.outcome.clone();
        }
        if let Some(answer) = self.remembered(key, policies.relations_version).await.filter(is_of_these) {
            self.recent.insert(key, &answer);
            return answer.outcome.clone();
        }
        let owned = key.to_owned();
        // Callers with the same question wait here for one answer, each as long as its own deadline allows. The first
        // asks with time of its own, so that its short deadline does not fail the others.
        // Apart, since it is seldom: every call would carry the room that it takes.
        let asking = Box::pin(
            self.memory.try_get_with_by_ref(&owned, self.ask(token, verified, question, policies.reads.time, id)),
        );
        let answer = timeout_at(deadline.at(), asking)
            .await
            .map_err(|_| Refusal::DeadlineExceeded)?
            .map_err(|refusal| *refusal)?;
        // Auth knew another policy set than this snapshot: not to be found under the old name, nor shared, since that set may look at
        // what the question of another caller has otherwise. Or the answer that others waited for is of earlier relations.
        if !answer.is_of(&policies) {
            self.memory.invalidate(&key).await;
            let own = Box::pin(self.ask(token, verified, question, true, id));
            return timeout_at(deadline.at(), own).await.map_err(|_| Refusal::DeadlineExceeded)??.outcome.clone();
        }
        answer.outcome.clone()
    }

    async fn remembered(&self, key: BorrowedKey<'_>, relations_version: u64) -> Option<Arc<CachedDecision>> {
        let answer = self.memory.get(&key).await?;
        if answer.holds() && !answer.is_before(relations_version) {
            return Some(answer);
        }
        self.memory.invalidate(&key).await;
        None
    }

    async fn ask(
        &self,
        token: &str,
        verified: &Verified,
        question: &Question<'_>,
        is_of_the_moment: bool,
        id: &RequestId,
    ) -> Result<Arc<CachedDecision>, Refusal> {
        let message = || CheckRequest {
            token: token.to_owned(),
            method: question.method.to_owned(),
            permission: question.permission.to_owned(),
            audience: question.audience.to_owned(),
            address: question.address.map(|address| address.to_string()).unwrap_or_default(),
            actor_token: question.actor.map(|actor| actor.token.to_owned()).unwrap_or_default(),
            protocol: question.protocol.to_owned(),
            resource: question.resource.to_owned(),
        };
        let deadline = Deadline::after(self.attempt_timeout);
        let (bearer, sent) = (self.login.bearer()?, Instant::now());
        let check = repeated(deadline, || {
            let mut request = request::outbound(message(), deadline, id);
            request.metadata_mut().insert("authorization", bearer.clone());
            let mut client = AccessServiceClient::new(self.auth.clone());
            async move { client.check(request).await }
        });
        let answer = timeout_at(deadline.at(), check).await.map_err(|_| Refusal::Unavailable)?;
        let answer = answer.map_err(|status| self.refused(&status))?.into_inner();
        let memory = memory(verified, &answer).min(if is_of_the_moment { MOMENT } else { Duration::MAX });
        let (policy_hash, relations_version) = (answer.policy_hash.clone(), answer.relations_version);
        let good_until = sent + memory;
        Ok(Arc::new(CachedDecision { outcome: outcome(answer), policy_hash, relations_version, good_until }))
    }

    /// Auth calls the token in question an invalid *argument*; unauthenticated is what it calls this binary.
    fn refused(&self, status: &Status) -> Refusal {
        match status.code() {
            Code::Unauthenticated => self.login.reject(),
            Code::PermissionDenied => {
                tracing::warn!("auth does not let this binary ask: its client lacks the role `accord-mesh`");
            }
            _ => {}
        }
        refusal(status.code(), fault::reason_of(status))
    }
}

/// What auth's refusal says of the token in question. What says nothing of it is no answer.
fn refusal(code: Code, reason: Option<Reason>) -> Refusal {
    match (code, reason) {
        (Code::InvalidArgument, Some(Reason::TokenRevoked)) => Refusal::Revoked,
        (Code::InvalidArgument, Some(Reason::TokenExpired)) => Refusal::Expired,
        // Of all that a question says, the object alone comes from its caller.
        (Code::InvalidArgument, Some(Reason::FieldInvalid)) => Refusal::ResourceMissing,
        (Code::InvalidArgument, _) => Refusal::Invalid(InvalidTokenReason::Signature),
        (_, Some(Reason::ActorChainTooLong)) => Refusal::ActorChainTooLong,
        (_, Some(Reason::TokenTooLong)) => Refusal::TokenTooLong,
        _ => Refusal::Unavailable,
    }
}

fn outcome(answer: CheckResponse) -> Result<Arc<Decision>, Refusal> {
    let CheckResponse { allowed: true, principal: Some(principal), passport, policies, .. } = answer else {
        return Err(Refusal::PermissionMissing);
    };
    let passport = match &*passport {
        "" => None,
        // A passport that can't stand in a header could not be shown to anybody.
        passport => Some(header(passport).ok_or(Refusal::Unavailable)?),
    };
    let Principal { subject, tenant, .. } = principal;
    Ok(Arc::new(Decision { subject: subject.into(), tenant: tenant.into(), passport, policies: policies.into() }))
}

/// The passport as it stands in a header, made once for all the calls that will carry it.
fn header(passport: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(passport).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// How long the answer holds: not past the token, and not into the last moments of the passport.
fn memory(verified: &Verified, answer: &CheckResponse) -> Duration {
    let left = u64::try_from(verified.claims.exp - verify::now()).unwrap_or(0);
    let passport = answer.passport_expires_in.and_then(|life| Duration::try_from(life).ok());
    let bound = passport.map_or(MEMORY, |life| life.saturating_sub(MARGIN.min(life / 2)));
    bound.min(Duration::from_secs(left))
}

#[cfg(test)]
mod tests {
    use accord_token::{Claims, Kind, PolicyReads, Type};

    use super::*;
    use crate::test_claims::claims;

    /// A token that ends so many seconds from now.
    fn ends_in(seconds: i64) -> Verified {
        let now = verify::now();
        let claims = Claims { exp: now + seconds, iat: now, nbf: now, ..claims(Kind::User, "ada") };
        Verified { claims, token_type: Type::Access, kid: String::new() }
    }

    #[test]
    fn refusal_of_auth_is_about_the_token_and_anything_else_is_no_answer() {
        for (code, reason, wanted) in [
            (Code::InvalidArgument, Reason::TokenRevoked, Refusal::Revoked),
            (Code::InvalidArgument, Reason::TokenExpired, Refusal::Expired),
            (Code::InvalidArgument, Reason::FieldInvalid, Refusal::ResourceMissing),
            (Code::FailedPrecondition, Reason::ActorChainTooLong, Refusal::ActorChainTooLong),
            (Code::FailedPrecondition, Reason::TokenTooLong, Refusal::TokenTooLong),
            (Code::Unavailable, Reason::AuthUnavailable, Refusal::Unavailable),
            (Code::Unauthenticated, Reason::CredentialInvalid, Refusal::Unavailable),
        ] {
            assert_eq!(refusal(code, Some(reason)), wanted, "{code:?} {reason:?}");
        }
    }

    #[test]
    fn decision_expires_with_the_token_and_the_passport() {
        let passport = |seconds| CheckResponse {
            passport_expires_in: Duration::from_secs(seconds).try_into().ok(),
            ..CheckResponse::default()
        };
        let lasting = ends_in(3600);
        assert_eq!(memory(&lasting, &CheckResponse::default()), MEMORY);
        assert_eq!(memory(&lasting, &passport(300)), Duration::from_secs(270), "it must outlive the call");
        assert_eq!(memory(&lasting, &passport(40)), Duration::from_secs(20), "half of a short life");
        assert!(memory(&ends_in(5), &passport(300)) <= Duration::from_secs(5));
        assert_eq!(memory(&ends_in(-5), &passport(300)), Duration::ZERO, "accepted only within the leeway");
    }

    #[tokio::test(start_paused = true)]
    async fn expired_decision_is_asked_for_again() {
        let auth = Client::lazy("http://127.0.0.1:1").unwrap();
        let login = Login::stranger(auth.clone());
        let decider = DecisionClient::new(auth, Arc::new(login), 10, ATTEMPT);
        let key = BorrowedKey(["jti", "", "pkg.Service/Get", "read", "shop", "p1", "", "", ""]);
        let answer = CachedDecision {
            outcome: Err(Refusal::PermissionMissing),
            policy_hash: "p1".to_owned(),
            relations_version: 2,
            good_until: Instant::now() + MEMORY + Duration::from_millis(1),
        };
        decider.memory.insert(key.to_owned(), Arc::new(answer)).await;
        tokio::time::advance(MEMORY).await;
        assert!(decider.remembered(key, 2).await.is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(decider.remembered(key, 2).await.is_none());
    }

    #[test]
    fn decision_ends_with_the_relations_that_it_was_made_with() {
        let made_with = |relations_version| CachedDecision {
            outcome: Err(Refusal::PermissionMissing),
            policy_hash: "p1".to_owned(),
            relations_version,
            good_until: Instant::now() + MEMORY,
        };
        let now = |relations_version| PolicySet { hash: "p1", reads: PolicyReads::default(), relations_version };
        assert!(made_with(5).is_of(&now(5)) && made_with(6).is_of(&now(5)), "as new, or newer");
        assert!(!made_with(5).is_of(&now(6)));
        assert!(made_with(0).is_of(&now(6)), "it looked at none");
    }

    #[tokio::test(start_paused = true)]
    async fn decision_that_a_thread_met_last_is_found_by_its_own_decider_until_it_expires() {
        let (one, other) = (RecentDecisions::new(), RecentDecisions::new());
        let key = BorrowedKey(["the-id-of-a-token", "", "pkg.Service/Get", "read", "shop", "p1", "", "", ""]);
        let decision = CachedDecision {
            outcome: Err(Refusal::PermissionMissing),
            policy_hash: "p1".to_owned(),
            relations_version: 2,
            good_until: Instant::now() + MEMORY,
        };
        one.insert(key, &Arc::new(decision));
        assert!(one.get(&key).is_some() && other.get(&key).is_none());
        for index in 1..9 {
            let mut another = key;
            // Another method has its name elsewhere, and so another place; what else differs is compared.
            another.0[index] = "other";
            assert!(one.get(&another).is_none(), "{index}");
        }
        tokio::time::advance(MEMORY).await;
        assert!(one.get(&key).is_none());
    }
}
