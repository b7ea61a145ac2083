//! OAuth over HTTP.

use accord_api::accord::auth::v1::{CheckRequest, access_service_client::AccessServiceClient};
use accord_token::{Kind, PublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Database, MESH_SECRET, PASSWORD, READ, Server, admin, authorized,
    http::{Answer, get, post, send},
    principal,
};

const TOKEN: &str = "/oauth2/token";
const INTROSPECT: &str = "/oauth2/introspect";
const REVOKE: &str = "/oauth2/revoke";
const CLIENT_CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");
const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The secret of the client `shop`.
const SECRET: &str = "another secret that is long enough: it has + and %";

fn basic(id: &str, secret: &str) -> Vec<String> {
    vec![format!("authorization: Basic {}", STANDARD.encode(format!("{id}:{secret}")))]
}

fn gateway() -> Vec<String> {
    basic("gateway", MESH_SECRET)
}

/// A server with a client that may read the catalog.
async fn with_shop(database: &Database) -> Server {
    let server = Server::start(database, |_| {}).await;
    let shop = principal("shop", Kind::Service, &["catalog-reader"]);
    admin(&server.auth.store).add_client(&shop, || Ok(SECRET.to_owned())).await.unwrap();
    server
}

async fn token(server: &Server, headers: &[String], form: &[(&str, &str)]) -> Answer {
    post(server.address, TOKEN, headers, form).await
}

async fn shop_token(server: &Server, scope: &str) -> Answer {
    token(server, &basic("shop", SECRET), &[CLIENT_CREDENTIALS, ("scope", scope)]).await
}

/// Whether the token, or its passport in the hands of the gateway, may read the catalog.
async fn may_read(server: &Server, token: &str) -> bool {
    let check = CheckRequest {
        token: token.to_owned(),
        permission: READ.permission.to_owned(),
        audience: READ.audience.to_owned(),
        ..CheckRequest::default()
    };
    let check = authorized(check, &server.mesh_token().await);
    AccessServiceClient::new(server.channel.clone()).check(check).await.unwrap().into_inner().allowed
}

pub(crate) async fn client_gets_a_token_with_its_secret_in_the_header_or_the_body(database: Database) {
    let server = with_shop(&database).await;
    let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let in_body = [CLIENT_CREDENTIALS, ("client_id", "shop"), ("client_secret", SECRET)];
    for answer in [
        token(&server, &basic("shop", SECRET), &[CLIENT_CREDENTIALS]).await,
        token(&server, &basic("shop", &encoded), &[CLIENT_CREDENTIALS]).await,
        token(&server, &[], &in_body).await,
    ] {
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
        assert_eq!((answer.text("token_type"), &answer.json()["expires_in"]), ("Bearer".into(), &900.into()));
        assert!(answer.json()["refresh_token"].is_null() && answer.json()["scope"].is_null());
        let state = server.auth.state.current().await.unwrap();
        let verified = server.auth.verify_access_token(&answer.text("access_token"), &state).unwrap();
        assert_eq!(verified.claims.sub, "shop");
    }
}

pub(crate) async fn wrong_and_unknown_client_are_refused_alike(database: Database) {
    let server = with_shop(&database).await;
    let wrong = token(&server, &basic("shop", "wrong"), &[CLIENT_CREDENTIALS]).await;
    assert_eq!(wrong.error(), (401, "invalid_client".to_owned()));
    assert!(wrong.header("www-authenticate").unwrap().starts_with("Basic "));
    let unknown = token(&server, &basic("nobody", SECRET), &[CLIENT_CREDENTIALS]).await;
    assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body));
    admin(&server.auth.store).disable("shop").await.unwrap();
    let disabled = token(&server, &basic("shop", SECRET), &[CLIENT_CREDENTIALS]).await;
    assert_eq!((disabled.status, &disabled.body), (wrong.status, &wrong.body));
    assert_eq!(token(&server, &[], &[CLIENT_CREDENTIALS, ("client_id", "shop")]).await.error().0, 401);
}

pub(crate) async fn token_of_a_scope_is_allowed_nothing_beside_it(database: Database) {
    let server = with_shop(&database).await;
    let whole = shop_token(&server, "").await;
    assert!(may_read(&server, &whole.text("access_token")).await);
    let narrow = shop_token(&server, "orders.read catalog.products.read").await;
    assert_eq!(narrow.text("scope"), "catalog.products.read orders.read");
    assert!(may_read(&server, &narrow.text("access_token")).await);
    let other = shop_token(&server, "orders.read").await;
    assert!(!may_read(&server, &other.text("access_token")).await);
}

pub(crate) async fn passport_of_a_token_of_a_scope_is_allowed_nothing_beside_it(database: Database) {
    let server = with_shop(&database).await;
    for (scope, allowed) in [("catalog.products.read", true), ("orders.read", false)] {
        let subject = shop_token(&server, scope).await.text("access_token");
        let form = [EXCHANGE, ("audience", "gateway"), ("subject_token", &subject), SUBJECT_TYPE];
        let passport = token(&server, &gateway(), &form).await.text("access_token");
        assert_eq!(may_read(&server, &passport).await, allowed, "{scope}");
    }
}

pub(crate) async fn malformed_scope_is_refused(database: Database) {
    let server = with_shop(&database).await;
    for scope in ["a\"b", "a\tb", "\u{e4}", &"a".repeat(1025)] {
        assert_eq!(shop_token(&server, scope).await.error(), (400, "invalid_scope".to_owned()), "{scope}");
    }
}

pub(crate) async fn refresh_over_http_rotates_the_token_and_its_reuse_ends_the_family(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let refresh =
        async |refresh: &str| token(&server, &[], &[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await;
    let second = refresh(&first).await;
    assert!(server.is_active(&second.text("access_token")).await);
    assert_eq!(refresh(&first).await.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(refresh(&second.text("refresh_token")).await.error(), (400, "invalid_grant".to_owned()));
    assert!(!server.is_active(&second.text("access_token")).await);
}

const SUBJECT_TYPE: (&str, &str) = ("subject_token_type", ACCESS_TOKEN);

pub(crate) async fn exchange_over_http_brings_a_passport_that_names_the_client(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let form = [EXCHANGE, ("audience", "catalog"), ("subject_token", &ada), SUBJECT_TYPE];
    let answer = token(&server, &gateway(), &form).await;
    assert_eq!(answer.text("token_type"), "N_A");
    assert_eq!(answer.text("issued_token_type"), "urn:ietf:params:oauth:token-type:jwt");
    let state = server.auth.state.current().await.unwrap();
    let passport = server.auth.verify_passport(&answer.text("access_token"), "catalog", &state).unwrap();
    assert_eq!((&*passport.claims.sub, passport.claims.actors().collect::<Vec<_>>()), ("ada", vec!["gateway"]));
}

pub(crate) async fn exchange_over_http_needs_a_client_with_the_permission(database: Database) {
    let server = with_shop(&database).await;
    let ada = server.token_of("ada").await;
    let form = [EXCHANGE, ("audience", "catalog"), ("subject_token", &ada), SUBJECT_TYPE];
    let shop = basic("shop", SECRET);
    assert_eq!(token(&server, &shop, &form).await.error(), (400, "unauthorized_client".to_owned()));
    let bearer = [format!("authorization: Bearer {}", server.mesh_token().await)];
    for headers in [&[][..], &bearer, &basic("gateway", "wrong")] {
        assert_eq!(token(&server, headers, &form).await.error(), (401, "invalid_client".to_owned()), "{headers:?}");
    }
}

pub(crate) async fn malformed_exchange_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let audience = ("audience", "catalog");
    let subject = ("subject_token", &*ada);
    for (form, error) in [
        (&[EXCHANGE, subject, SUBJECT_TYPE][..], "invalid_target"),
        (&[EXCHANGE, ("audience", "two words"), subject, SUBJECT_TYPE], "invalid_target"),
        (&[EXCHANGE, audience, ("resource", "https://catalog"), subject, SUBJECT_TYPE], "invalid_target"),
        (&[EXCHANGE, audience, subject], "invalid_request"),
        (&[EXCHANGE, audience, SUBJECT_TYPE], "invalid_request"),
        (&[EXCHANGE, audience, subject, ("subject_token_type", "urn:x")], "invalid_request"),
        (&[EXCHANGE, audience, subject, SUBJECT_TYPE, ("actor_token", &ada)], "invalid_request"),
        (&[EXCHANGE, audience, ("subject_token", "no token"), SUBJECT_TYPE], "invalid_request"),
        (&[EXCHANGE, audience, subject, SUBJECT_TYPE, ("requested_token_type", ACCESS_TOKEN)], "invalid_request"),
    ] {
        assert_eq!(token(&server, &gateway(), form).await.error(), (400, error.to_owned()), "{form:?}");
    }
}

pub(crate) async fn introspection_over_http_needs_a_program(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let introspect = async |headers: &[String]| post(server.address, INTROSPECT, headers, &[("token", &ada)]).await;
    assert_eq!(introspect(&[]).await.error(), (401, "invalid_client".to_owned()));
    assert_eq!(introspect(&basic("gateway", "wrong")).await.error(), (401, "invalid_client".to_owned()));
    let bearer = |token: &str| [format!("authorization: Bearer {token}")];
    assert_eq!(introspect(&bearer(&ada)).await.error(), (403, "insufficient_scope".to_owned()));
    assert_eq!(introspect(&bearer("no token")).await.error(), (401, "invalid_token".to_owned()));
    assert_eq!(introspect(&bearer(&server.mesh_token().await)).await.status, 200);
    assert_eq!(introspect(&gateway()).await.status, 200);
}

pub(crate) async fn introspection_over_http_says_what_a_token_says(database: Database) {
    let server = with_shop(&database).await;
    let introspect = async |token: &str| post(server.address, INTROSPECT, &gateway(), &[("token", token)]).await.json();
    let ada = introspect(&server.token_of("ada").await).await;
    assert_eq!((&ada["active"], &ada["sub"], &ada["username"]), (&true.into(), &"ada".into(), &"ada".into()));
    assert_eq!((&ada["tenant"], &ada["roles"][0]), (&"north".into(), &"catalog-reader".into()));
    let shop = introspect(&shop_token(&server, "orders.read").await.text("access_token")).await;
    assert_eq!((&shop["client_id"], &shop["scope"]), (&"shop".into(), &"orders.read".into()));
    assert_eq!(introspect("no token").await, serde_json::json!({"active": false}));
}

pub(crate) async fn revocation_over_http_ends_a_token(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let tokens = server.log_in("ada", PASSWORD).await.unwrap();
    let revoke = async |token: &str| post(server.address, REVOKE, &[], &[("token", token)]).await;
    assert_eq!(revoke("no token").await.status, 200, "RFC 7009, section 2.2");
    assert!(server.is_active(&tokens.access_token).await);
    assert_eq!(revoke(&tokens.refresh_token).await.status, 200);
    assert!(!server.is_active(&tokens.access_token).await);
    let wrong = post(server.address, REVOKE, &basic("gateway", "wrong"), &[("token", "any")]).await;
    assert_eq!(wrong.error(), (401, "invalid_client".to_owned()));
}

pub(crate) async fn revocation_of_a_passport_over_http_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let form = [EXCHANGE, ("audience", "catalog"), ("subject_token", &ada), SUBJECT_TYPE];
    let passport = token(&server, &gateway(), &form).await.text("access_token");
    let answer = post(server.address, REVOKE, &[], &[("token", &passport)]).await;
    assert_eq!(answer.error(), (400, "unsupported_token_type".to_owned()));
}

pub(crate) async fn key_set_has_every_published_key(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    server.auth.rotate_key(&admin(&server.auth.store)).await.unwrap();
    let answer = get(server.address, "/.well-known/jwks.json").await;
    let published: Vec<_> =
        server.auth.state.current().await.unwrap().published.iter().map(PublicKey::to_jwk).collect();
    assert_eq!((answer.json()["keys"].as_array(), published.len()), (Some(&published), 2));
    // Published for 15 s before it signs, on clocks that may differ by 10 s.
    assert_eq!(answer.header("cache-control"), Some("public, max-age=5"));
}

pub(crate) async fn metadata_names_the_endpoints_at_the_configured_url(database: Database) {
    let server = Server::start(&database, |config| config.oauth.url = Some("https://auth.example/".into())).await;
    let metadata = get(server.address, "/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["issuer"], "https://accord.local");
    for (member, path) in
        [("token_endpoint", TOKEN), ("introspection_endpoint", INTROSPECT), ("jwks_uri", "/.well-known/jwks.json")]
    {
        assert_eq!(metadata[member], format!("https://auth.example{path}"));
    }
    assert_eq!(metadata["grant_types_supported"].as_array().map(Vec::len), Some(3));
}

pub(crate) async fn malformed_request_is_refused_before_anything_is_looked_up(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    // Whatever were looked up would fail.
    server.auth.store.close().await;
    let address = server.address;
    let form = vec!["content-type: application/x-www-form-urlencoded".to_owned()];
    let json = vec!["content-type: application/json".to_owned()];
    let (grant, twice) = ("grant_type=client_credentials", "grant_type=client_credentials&grant_type=refresh_token");
    for path in [TOKEN, INTROSPECT, REVOKE] {
        let in_query = send(address, "POST", &format!("{path}?client_secret=x"), &form, grant).await;
        assert_eq!(in_query.error(), (400, "invalid_request".to_owned()), "{path}");
        assert_eq!(send(address, "POST", path, &json, "{}").await.error().0, 400, "{path}");
        assert_eq!(send(address, "POST", path, &form, twice).await.error().0, 400, "{path}");
        let long = "a".repeat(32 * 1024 + 1);
        assert_eq!(send(address, "POST", path, &form, &long).await.error().0, 413, "{path}");
        let got = get(address, path).await;
        assert_eq!((got.status, got.header("allow")), (405, Some("POST")), "{path}");
    }
    let unknown = post(address, TOKEN, &gateway(), &[("grant_type", "password")]).await;
    assert_eq!(unknown.error(), (400, "unsupported_grant_type".to_owned()));
}

pub(crate) async fn store_that_is_down_denies_every_endpoint(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let refresh = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let (ada, address) = (server.token_of("ada").await, server.address);
    server.auth.store.close().await;
    let exchange = [EXCHANGE, ("audience", "catalog"), ("subject_token", &ada), SUBJECT_TYPE];
    let bearer = [format!("authorization: Bearer {ada}")];
    for answer in [
        token(&server, &gateway(), &[CLIENT_CREDENTIALS]).await,
        token(&server, &[], &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await,
        token(&server, &gateway(), &exchange).await,
        post(address, INTROSPECT, &gateway(), &[("token", &ada)]).await,
        post(address, INTROSPECT, &bearer, &[("token", &ada)]).await,
        post(address, REVOKE, &[], &[("token", &ada)]).await,
        get(address, "/.well-known/jwks.json").await,
    ] {
        assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()), "{answer:?}");
        assert_eq!((answer.header("retry-after"), answer.header("cache-control")), (Some("1"), Some("no-store")));
    }
    assert!(!matches!(get(address, "/.well-known/oauth-authorization-server").await.json(), Value::Null));
}
