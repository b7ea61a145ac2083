use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use accord_contract::Overlay;
use accord_runtime::request::RequestId;
use accord_token::{InvalidTokenReason, PASSPORT_HEADER, Type, Verified};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;
use crate::test_claims::claims;

const SERVICE: &str = "accord.auth.v1.AccessService";
const CHECK: &str = "/accord.auth.v1.AccessService/Check";
const EXPLAIN: &str = "/accord.auth.v1.AccessService/Explain";

/// The contract of one service of auth's, with an overlay over it. `Check` asks for the permission `accord.auth.check`.
fn contract_with(overlay: &str) -> Arc<Contract> {
    let overlay = Overlay::parse("test.toml", overlay).unwrap();
    Arc::new(Contract::own(&[(accord_api::FILE_DESCRIPTOR_SET, &[SERVICE])], &[overlay]).unwrap())
}

fn access(access: &str) -> Arc<Contract> {
    contract_with(&format!("[[rule]]\nselector = \"{}\"\npolicy = {{ access = {access} }}\n", &CHECK[1..]))
}

/// Knows one good token, `good`, of a service; it holds the permission unless `holds` says otherwise.
#[derive(Clone)]
struct Door {
    holds: bool,
    questions: Arc<Mutex<Vec<String>>>,
    revoked: Arc<AtomicUsize>,
    /// Told when what was let in is withdrawn.
    withdrawn: Arc<Notify>,
}

impl Default for Door {
    fn default() -> Self {
        Self { holds: true, questions: Arc::default(), revoked: Arc::default(), withdrawn: Arc::default() }
    }
}

impl Decider for Door {
    type Caller = Arc<Verified>;

    async fn authenticate(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        match (token, self.revoked.load(Ordering::SeqCst)) {
            ("good", 0) => Ok(Arc::new(service())),
            ("good", _) => Err(Refusal::Revoked),
            _ => Err(Refusal::Invalid(InvalidTokenReason::Signature)),
        }
    }

    async fn authenticate_passport(&self, passport: &str, audience: &str) -> Result<Arc<Verified>, Refusal> {
        match (passport, audience) {
            ("good", "cache") => Ok(Arc::new(service())),
            _ => Err(Refusal::Invalid(InvalidTokenReason::Audience)),
        }
    }

    async fn authorize(
        &self,
        _: &str,
        caller: &Arc<Verified>,
        question: &Question<'_>,
        _: Deadline,
        _: &RequestId,
    ) -> Result<(), Refusal> {
        let asked = format!("{} {} {}", caller.claims.sub, question.method, question.permission);
        self.questions.lock().unwrap().push(asked);
        if self.holds { Ok(()) } else { Err(Refusal::PermissionMissing) }
    }

    async fn withdrawn(self, _: Arc<Verified>) -> Refusal {
        self.withdrawn.notified().await;
        Refusal::Revoked
    }
}

fn service() -> Verified {
    let claims = claims(Kind::Service, "gateway");
    Verified { claims, token_type: Type::Access, kid: String::new() }
}

/// What came of a call: the status of a refusal, or the caller that the handler found.
async fn answer(contract: &Arc<Contract>, door: &Door, path: &str, tokens: &[&str]) -> Result<Option<String>, Status> {
    let tokens = tokens.iter().map(|token| ("authorization", format!("Bearer {token}")));
    send(Guard::new(contract, door.clone()), path, tokens.collect()).await
}

/// The same with a passport, of a port that accepts those for the cache.
async fn call_with_passport(contract: &Arc<Contract>, passport: &str) -> Result<Option<String>, Reason> {
    let guard = Guard::new(contract, Door::default()).accept_passports("cache");
    send(guard, CHECK, vec![(PASSPORT_HEADER, passport.to_owned())]).await.map_err(|status| reason(&status))
}

async fn send(guard: Guard<Door>, path: &str, headers: Vec<(&'static str, String)>) -> Result<Option<String>, Status> {
    let handler = tower::service_fn(|request: Request<()>| async move {
        let caller = request.extensions().get::<Arc<Verified>>().map(|caller| caller.claims.sub.clone());
        let mut answer = Response::new(Body::empty());
        answer.extensions_mut().insert(caller);
        Ok::<_, Infallible>(answer)
    });
    let mut request = Request::post(path).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let answer = guard.layer(handler).oneshot(request).await.unwrap();
    match answer.extensions().get::<Option<String>>() {
        Some(caller) => Ok(caller.clone()),
        None => Err(Status::from_header_map(answer.headers()).unwrap()),
    }
}

/// The same with the reason of a refusal alone.
async fn call(contract: &Arc<Contract>, door: &Door, path: &str, tokens: &[&str]) -> Result<Option<String>, Reason> {
    answer(contract, door, path, tokens).await.map_err(|status| reason(&status))
}

fn reason(status: &Status) -> Reason {
    fault::reason_of(status).unwrap()
}

#[tokio::test]
async fn caller_with_the_permission_reaches_the_handler_and_is_known_there() {
    let door = Door::default();
    assert_eq!(call(&contract_with(""), &door, CHECK, &["good"]).await, Ok(Some("gateway".to_owned())));
    let questions = door.questions.lock().unwrap();
    assert_eq!(*questions, ["gateway accord.auth.v1.AccessService/Check accord.auth.check"]);
}

#[tokio::test]
async fn caller_without_the_permission_is_refused() {
    let door = Door { holds: false, ..Door::default() };
    assert_eq!(call(&contract_with(""), &door, CHECK, &["good"]).await, Err(Reason::PermissionMissing));
}

#[tokio::test]
async fn refusal_names_the_permission_that_is_missing() {
    let door = Door { holds: false, ..Door::default() };
    let refused = answer(&contract_with(""), &door, CHECK, &["good"]).await.unwrap_err();
    assert!(refused.message().contains("does not hold the permission `accord.auth.check`;"), "{}", refused.message());
}

#[tokio::test]
async fn call_without_a_credential_is_refused() {
    assert_eq!(call(&contract_with(""), &Door::default(), CHECK, &[]).await, Err(Reason::CredentialMissing));
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let refused = call(&contract_with(""), &Door::default(), CHECK, &["good", "good"]).await;
    assert_eq!(refused, Err(Reason::HeaderRefused));
}

#[tokio::test]
async fn token_that_was_revoked_meanwhile_is_refused() {
    let (contract, door) = (contract_with(""), Door::default());
    assert!(call(&contract, &door, CHECK, &["good"]).await.is_ok());
    door.revoked.store(1, Ordering::SeqCst);
    assert_eq!(call(&contract, &door, CHECK, &["good"]).await, Err(Reason::TokenRevoked));
}

#[tokio::test]
async fn method_without_access_is_denied_to_who_holds_everything() {
    // Without an overlay nothing says who may call health.
    let (set, services) = (tonic_health::pb::FILE_DESCRIPTOR_SET, ["grpc.health.v1.Health"]);
    let contract = Arc::new(Contract::own(&[(set, &services)], &[]).unwrap());
    let refused = call(&contract, &Door::default(), "/grpc.health.v1.Health/Check", &["good"]).await;
    assert_eq!(refused, Err(Reason::MethodUndeclared));
}

#[tokio::test]
async fn method_that_no_descriptor_declares_is_unknown() {
    for path in ["/accord.auth.v1.AccessService/Nothing", "/accord.auth.v1.KeyService/Rotate", "/", "*"] {
        assert_eq!(call(&contract_with(""), &Door::default(), path, &["good"]).await, Err(Reason::MethodUnknown));
    }
}

#[tokio::test]
async fn public_method_is_open_whatever_credential_comes_along() {
    for tokens in [&[][..], &["good"], &["bad"]] {
        assert_eq!(call(&access("{ public = true }"), &Door::default(), CHECK, tokens).await, Ok(None), "{tokens:?}");
    }
}

#[tokio::test]
async fn authenticated_method_asks_for_a_good_token_and_no_permission() {
    let (contract, door) = (access("{ authenticated = true }"), Door { holds: false, ..Door::default() });
    assert_eq!(call(&contract, &door, CHECK, &["good"]).await, Ok(Some("gateway".to_owned())));
    assert_eq!(call(&contract, &door, CHECK, &["bad"]).await, Err(Reason::CredentialInvalid));
    assert_eq!(call(&contract, &door, CHECK, &[]).await, Err(Reason::CredentialMissing));
}

#[tokio::test]
async fn passport_stands_for_a_token_on_an_authenticated_method_of_a_port_that_accepts_it() {
    let contract = access("{ authenticated = true }");
    assert_eq!(call_with_passport(&contract, "good").await, Ok(Some("gateway".to_owned())));
    assert_eq!(call_with_passport(&contract, "bad").await, Err(Reason::CredentialInvalid));
    let elsewhere = send(Guard::new(&contract, Door::default()), CHECK, vec![(PASSPORT_HEADER, "good".into())]);
    assert_eq!(reason(&elsewhere.await.unwrap_err()), Reason::CredentialMissing);
}

#[tokio::test]
async fn passport_is_no_credential_for_a_method_that_asks_for_a_permission() {
    assert_eq!(call_with_passport(&contract_with(""), "good").await, Err(Reason::CredentialMissing));
}

#[tokio::test]
async fn principal_of_another_kind_is_refused_before_anybody_is_asked() {
    let (contract, door) = (access("{ permission = \"a\", principal_kinds = [\"USER\"] }"), Door::default());
    assert_eq!(call(&contract, &door, CHECK, &["good"]).await, Err(Reason::PrincipalKindRefused));
    assert!(door.questions.lock().unwrap().is_empty());
}

#[tokio::test]
async fn overlay_changes_only_the_methods_that_it_selects() {
    let refused = call(&access("{ public = true }"), &Door::default(), EXPLAIN, &[]).await;
    assert_eq!(refused, Err(Reason::CredentialMissing));
}

#[test]
fn built_in_overlay_opens_health_and_reflection_and_nothing_else() {
    let contract = contract(accord_api::FILE_DESCRIPTOR_SET, &[SERVICE]).unwrap();
    let public = |method: &&&Arc<Method>| method.policy.access == Access::Public;
    let open: Vec<_> = contract.methods().iter().filter(public).map(|method| method.name.to_string()).collect();
    assert_eq!(
        open,
        [
            "grpc.health.v1.Health/Check",
            "grpc.health.v1.Health/Watch",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ]
    );
}

/// What ends an answer that would never end by itself, of a method of auth's.
async fn end_of(method: &str, door: &Door) -> Option<Status> {
    let overlay = format!("[[rule]]\nselector = \"{method}\"\npolicy = {{ access = {{ authenticated = true }} }}\n");
    let service = method.split_once('/').unwrap().0;
    let overlay = Overlay::parse("test.toml", &overlay).unwrap();
    let contract = Arc::new(Contract::own(&[(accord_api::FILE_DESCRIPTOR_SET, &[service])], &[overlay]).unwrap());
    let handler = tower::service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Body::new(http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<bytes::Bytes>, Status>,
        >()))))
    });
    let request = Request::post(format!("/{method}")).header("authorization", "Bearer good").body(()).unwrap();
    let answer = Guard::new(&contract, door.clone()).layer(handler).oneshot(request).await.unwrap();
    door.withdrawn.notify_one();
    let end = answer.into_body().frame().now_or_never()?.unwrap().unwrap();
    Status::from_header_map(end.trailers_ref().unwrap())
}

#[tokio::test]
async fn stream_ends_when_the_credential_of_its_caller_is_withdrawn() {
    let ended = end_of("accord.cache.v1.CacheService/Watch", &Door::default()).await.unwrap();
    assert_eq!(reason(&ended), Reason::TokenRevoked);
}

#[tokio::test]
async fn unary_call_is_left_to_end_by_itself() {
    assert!(end_of("accord.cache.v1.CacheService/Get", &Door::default()).await.is_none());
}
