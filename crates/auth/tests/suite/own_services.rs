//! Services in Rust that verify passports as the guide shows: by the keys that auth publishes, and by its stream of revocations.

#[path = "../../../../tests/clients/passports/rust/by_keys.rs"]
mod by_keys;
#[path = "../../../../tests/clients/passports/rust/by_stream.rs"]
mod by_stream;

use std::cell::{Cell, RefCell};

use accord_api::accord::auth::v1::{ExchangeRequest, RevokeRequest, revoke_request::Target};
use accord_auth::domain::key_rotation::rotate;
use accord_token::{Actor, Algorithm, Claims, InvalidTokenReason, PASSPORT_HEADER, Refusal, SigningKey, sign::sign};
use serde_json::json;
use tonic::service::Interceptor as _;

use self::by_keys::Passports;
use super::{http::get, *};

const ISSUER: &str = "https://accord.local";

async fn passport(server: &Server, token: &str, audience: &str) -> String {
    let (subject_token, audience) = (token.to_owned(), audience.to_owned());
    let exchange = ExchangeRequest { subject_token, audience, ..ExchangeRequest::default() };
    let exchange = authorized(exchange, &server.mesh_token().await);
    server.tokens().exchange(exchange).await.unwrap().into_inner().passport
}

fn invalid(reason: InvalidTokenReason) -> Refusal {
    Refusal::Invalid(reason)
}

pub(crate) async fn passport_is_verified_in_rust_by_the_published_keys(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let fetch = async || Some(get(server.address, "/.well-known/jwks.json").await.body.into_bytes());
    let mut passports = Passports::new(fetch, ISSUER, "catalog");
    let good = passport(&server, &ada, "catalog").await;
    let verified = passports.verify(&good).await.unwrap();
    assert_eq!((&*verified.claims.sub, verified.claims.actors().collect::<Vec<_>>()), ("ada", vec!["gateway"]));
    let other = passport(&server, &ada, "orders").await;
    assert_eq!(passports.verify(&other).await.unwrap_err(), invalid(InvalidTokenReason::Audience));
    assert_eq!(passports.verify(&ada).await.unwrap_err(), invalid(InvalidTokenReason::Type));
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    rotate(store, encryption_key, Algorithm::Es256, Duration::ZERO, "test").await.unwrap();
    let rotated = passport(&server, &ada, "catalog").await;
    assert_eq!(passports.verify(&rotated).await.unwrap().claims.sub, "ada", "signed by a key that came later");
}

/// A passport that ends so many seconds from now.
fn signed(key: &SigningKey, ends_in: i64) -> String {
    let now = verify::now();
    let actor = Some(Actor { sub: "gateway".to_owned(), act: None });
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: "ada".to_owned(),
        aud: "catalog".to_owned(),
        exp: now + ends_in,
        iat: now - 60,
        nbf: now - 60,
        jti: "a passport".to_owned(),
        kind: Kind::User,
        tenant: String::new(),
        roles: Vec::new(),
        ep: 0,
        gep: 0,
        ptj: None,
        act: actor,
        scope: None,
        key: None,
    };
    sign(&claims, Type::Passport, key).unwrap()
}

#[tokio::test]
async fn verifier_in_rust_refuses_what_has_ended_and_asks_for_unknown_keys_within_its_cool_down() {
    let keys = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::EdDsa].map(|it| SigningKey::generate(it).unwrap());
    let [first, second, never] = &keys;
    let (published, asked) = (RefCell::new(vec![first.public().to_jwk()]), Cell::new(0));
    let fetch = async || {
        asked.set(asked.get() + 1);
        Some(json!({"keys": *published.borrow()}).to_string().into_bytes())
    };
    let mut passports = Passports::new(fetch, ISSUER, "catalog");
    passports.verify(&signed(first, 60)).await.unwrap();
    assert_eq!(passports.verify(&signed(first, -11)).await.unwrap_err(), Refusal::Expired);
    assert_eq!(asked.get(), 1);
    published.borrow_mut().push(second.public().to_jwk());
    passports.verify(&signed(second, 60)).await.unwrap();
    for _ in 0..3 {
        let refused = passports.verify(&signed(never, 60)).await.unwrap_err();
        assert_eq!(refused, invalid(InvalidTokenReason::KeyUnknown));
    }
    assert_eq!(asked.get(), 2, "it cools down");
}

pub(crate) async fn revoked_token_is_refused_by_a_service_that_follows_revocations(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let auth = format!("http://{}", server.address);
    let secret = Secret::from(MESH_SECRET.to_owned());
    let mut guard = by_stream::guard(&auth, "gateway", secret, Shutdown::new(Duration::ZERO)).unwrap();
    let token = server.token_of("ada").await;
    let passport = passport(&server, &token, "catalog").await;
    let mut call = || {
        let mut request = Request::new(());
        request.metadata_mut().insert(PASSPORT_HEADER, passport.parse().unwrap());
        guard.call(request)
    };
    eventually("it has heard of auth", || call().is_ok()).await;
    assert_eq!(by_stream::caller(&call().unwrap()).unwrap(), "ada");
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(token)) }).await.unwrap();
    eventually("it has heard of the revocation", || call().is_err()).await;
    assert_eq!(refused(call()), Reason::TokenRevoked);
}
