use std::{
    net::Ipv4Addr,
    sync::{Mutex, atomic::AtomicUsize},
};

use accord_api::accord::auth::v1::{
    ExchangeRequest, ExchangeResponse, IntrospectRequest, IntrospectResponse, IssueForResponse, IssueRequest,
    IssueResponse, RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse,
    token_service_server::{TokenService, TokenServiceServer},
};
use accord_runtime::fault::StatusBuilder;
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, metadata::AsciiMetadataValue, transport::Server};

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const KEY: CallerCredential<'static> = CallerCredential::ApiKey("ak_0123456789abcdef_secret");

/// Answers as it is told, and counts.
#[derive(Default)]
struct Scripted {
    refusal: Mutex<Option<Status>>,
    asked: AtomicUsize,
    addresses: Mutex<Vec<String>>,
    answered: Notify,
}

impl Scripted {
    fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn refuse(&self, refusal: Option<Status>) {
        *self.refusal.lock().unwrap() = refusal;
    }
}

struct Service(Arc<Scripted>);

#[tonic::async_trait]
impl TokenService for Service {
    async fn issue_for(&self, request: Request<IssueForRequest>) -> Result<Response<IssueForResponse>, Status> {
        let count = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.addresses.lock().unwrap().push(request.into_inner().address);
        self.0.answered.notify_one();
        match self.0.refusal.lock().unwrap().clone() {
            Some(refusal) => Err(refusal),
            None => Ok(Response::new(IssueForResponse { access_token: format!("token {count}"), expires_in: None })),
        }
    }

    async fn issue(&self, _: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        Err(Status::unimplemented("not called here"))
    }

    async fn refresh(&self, _: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        Err(Status::unimplemented("not called here"))
    }

    async fn exchange(&self, _: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
        Err(Status::unimplemented("not called here"))
    }

    async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        Err(Status::unimplemented("not called here"))
    }

    async fn introspect(&self, _: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        Err(Status::unimplemented("not called here"))
    }
}

/// Somebody who is logged in with a scripted auth.
async fn callers() -> (CallerTokens, Arc<Scripted>) {
    let scripted = Arc::<Scripted>::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let auth = Client::lazy(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let served = Server::builder().add_service(TokenServiceServer::new(Service(Arc::clone(&scripted))));
    tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
    let login = Login::stranger(auth.clone());
    login.hold(AsciiMetadataValue::from_static("Bearer own"), Instant::now() + Duration::from_hours(1));
    (CallerTokens::new(auth, Arc::new(login), 100, Duration::from_secs(5)), scripted)
}

async fn ask(callers: &CallerTokens, key: CallerCredential<'_>, address: IpAddr) -> Result<String, CredentialRefusal> {
    if let Some(held) = callers.held(&key.fingerprint()).await {
        callers.renew(&held, key, address);
        return Ok(held.token.to_string());
    }
    let deadline = Deadline::after(Duration::from_secs(5));
    let asked = callers.ask(key.fingerprint(), key, address, deadline, &RequestId::new()).await?;
    Ok(asked.token.to_string())
}

fn wrong() -> Status {
    StatusBuilder::new(Reason::CredentialInvalid, "wrong").code(Code::InvalidArgument).build()
}

/// What is remembered of the key is as old as where it is renewed.
async fn age(callers: &CallerTokens) {
    let held = callers.held(&KEY.fingerprint()).await.unwrap();
    let asked_at = held.asked_at.checked_sub(RENEWED_AFTER).unwrap();
    let old = HeldToken { token: Arc::clone(&held.token), asked_at, is_renewed: AtomicBool::new(false) };
    callers.held.insert(KEY.fingerprint(), Arc::new(old)).await;
}

#[tokio::test]
async fn key_is_asked_about_once_with_the_address_of_its_caller() {
    let (callers, auth) = callers().await;
    let (one, other) = tokio::join!(ask(&callers, KEY, HOME), ask(&callers, KEY, HOME));
    assert_eq!((one.as_deref(), other.as_deref()), (Ok("token 1"), Ok("token 1")));
    assert_eq!(ask(&callers, KEY, ELSEWHERE).await.as_deref(), Ok("token 1"));
    assert_eq!(*auth.addresses.lock().unwrap(), [HOME.to_string()]);
}

#[tokio::test]
async fn refused_key_is_remembered_and_no_other() {
    let (callers, auth) = callers().await;
    auth.refuse(Some(wrong()));
    for _ in 0..3 {
        assert_eq!(ask(&callers, KEY, HOME).await, Err(CredentialRefusal::NotAccepted));
    }
    assert_eq!(auth.count(), 1);
    auth.refuse(None);
    let other = CallerCredential::ApiKey("ak_0123456789abcdef_another");
    assert_eq!(ask(&callers, other, HOME).await.as_deref(), Ok("token 2"));
}

#[tokio::test]
async fn address_with_too_many_wrong_keys_is_refused_without_a_question() {
    let (callers, auth) = callers().await;
    let throttled = StatusBuilder::new(Reason::LoginThrottled, "").retry_after(Duration::from_secs(30)).build();
    auth.refuse(Some(throttled));
    assert_eq!(ask(&callers, KEY, HOME).await, Err(CredentialRefusal::Throttled(Duration::from_secs(30))));
    auth.refuse(None);
    assert!(matches!(ask(&callers, KEY, HOME).await, Err(CredentialRefusal::Throttled(_))));
    assert_eq!(auth.count(), 1);
    assert_eq!(ask(&callers, KEY, ELSEWHERE).await.as_deref(), Ok("token 2"));
}

#[tokio::test]
async fn address_with_too_many_wrong_keys_is_asked_about_its_certificate() {
    let (callers, auth) = callers().await;
    auth.refuse(Some(StatusBuilder::new(Reason::LoginThrottled, "").retry_after(Duration::from_secs(30)).build()));
    assert!(matches!(ask(&callers, KEY, HOME).await, Err(CredentialRefusal::Throttled(_))));
    auth.refuse(None);
    let identity = ClientIdentity::parse("spiffe://prod.example/pay").unwrap();
    assert_eq!(ask(&callers, CallerCredential::Certificate(&identity), HOME).await.as_deref(), Ok("token 2"));
    let other = ClientIdentity::parse("spiffe://prod.example/other").unwrap();
    assert_eq!(ask(&callers, CallerCredential::Certificate(&other), HOME).await.as_deref(), Ok("token 3"));
    assert_eq!(ask(&callers, CallerCredential::Certificate(&identity), HOME).await.as_deref(), Ok("token 2"));
}

#[tokio::test]
async fn auth_that_does_not_know_this_binary_says_nothing_of_the_key() {
    let (callers, auth) = callers().await;
    for code in [Code::Unauthenticated, Code::PermissionDenied, Code::Unavailable, Code::Internal] {
        auth.refuse(Some(Status::new(code, "")));
        assert_eq!(ask(&callers, KEY, HOME).await, Err(CredentialRefusal::Token(Refusal::Unavailable)), "{code:?}");
    }
    auth.refuse(None);
    assert!(ask(&callers, KEY, HOME).await.is_ok());
}

#[tokio::test]
async fn old_token_is_renewed_behind_the_call_that_finds_it() {
    let (callers, auth) = callers().await;
    assert_eq!(ask(&callers, KEY, HOME).await.as_deref(), Ok("token 1"));
    auth.answered.notified().await;
    age(&callers).await;
    assert_eq!(ask(&callers, KEY, HOME).await.as_deref(), Ok("token 1"));
    auth.answered.notified().await;
    let renewed = async {
        while ask(&callers, KEY, HOME).await.as_deref() != Ok("token 2") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("the renewed token");
    assert_eq!(auth.count(), 2);
}

#[tokio::test]
async fn old_token_goes_on_while_auth_is_away_and_ends_with_its_key() {
    let (callers, auth) = callers().await;
    assert!(ask(&callers, KEY, HOME).await.is_ok());
    auth.answered.notified().await;
    auth.refuse(Some(Status::unavailable("")));
    age(&callers).await;
    assert!(ask(&callers, KEY, HOME).await.is_ok());
    auth.answered.notified().await;
    assert_eq!(ask(&callers, KEY, HOME).await.as_deref(), Ok("token 1"));
    auth.refuse(Some(wrong()));
    // It is asked about again once what is remembered is old again, which the earlier attempt may yet have to write down.
    let ended = async {
        while ask(&callers, KEY, HOME).await.is_ok() {
            age(&callers).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the refusal");
}

#[test]
fn text_that_can_be_no_key_is_not_asked_about() {
    assert!(KEY.is_plausible());
    let long = format!("ak_{}", "a".repeat(LONGEST));
    for text in ["", "AK_0123456789abcdef_secret", "eyJhbGciOiJFZERTQSJ9.e30.c2ln", &long] {
        assert!(!CallerCredential::ApiKey(text).is_plausible(), "{text}");
    }
}
