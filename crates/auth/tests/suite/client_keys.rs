//! Clients that log in with assertions which their private keys sign (`private_key_jwt`).

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{ClientCredentialsGrant, IssueRequest, issue_request::Grant},
    fault::v1::Reason,
};
use accord_auth::{
    config::Config,
    domain::admin::{AdminError, read_client_keys},
};
use accord_token::{Kind, verify};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{
    Database, MESH_SECRET, PASSWORD, Server, admin,
    forge::{Forge, assertion, key_set},
    http::{Answer, get, post},
    principal, refused,
};

const TOKEN: &str = "/oauth2/token";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const TYPE: (&str, &str) = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

/// A server with the client `mill`, and one of its keys.
pub(super) async fn with_mill(database: &Database) -> (Server, Forge) {
    with_mill_and(database, |_| {}).await
}

pub(super) async fn with_mill_and(database: &Database, change: impl FnOnce(&mut Config)) -> (Server, Forge) {
    let server = Server::start(database, change).await;
    let key = add_mill(&server).await;
    (server, key)
}

async fn add_mill(server: &Server) -> Forge {
    let key = Forge::ed25519("first");
    let keys = read_client_keys(key_set(&[&key]).as_bytes()).unwrap();
    let mill = principal("mill", Kind::Service, &["catalog-reader"]);
    admin(&server.auth.store).add_client_with_keys(&mill, &keys).await.unwrap();
    key
}

async fn rotate(server: &Server, keys: &[&Forge], overlap: Duration) -> Result<i64, AdminError> {
    let keys = read_client_keys(key_set(keys).as_bytes())?;
    admin(&server.auth.store).rotate_client_keys("mill", &keys, overlap).await
}

pub(super) async fn show(server: &Server, assertion: &str) -> Answer {
    post(server.address, TOKEN, &[], &[GRANT, TYPE, ("client_assertion", assertion)]).await
}

fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// One that is good but for what is changed.
fn changed(key: &Forge, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = assertion("mill", &unique());
    change(&mut claims);
    key.token(&claims)
}

pub(super) fn good(key: &Forge) -> String {
    changed(key, |_| {})
}

#[track_caller]
pub(super) fn is_refused(answer: &Answer) {
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()), "{answer:?}");
}

pub(crate) async fn client_gets_a_token_with_an_assertion_over_both_faces(database: Database) {
    let (server, key) = with_mill(&database).await;
    let narrow = [GRANT, TYPE, ("client_assertion", &good(&key)), ("client_id", "mill"), ("scope", "orders.read")];
    let narrow = post(server.address, TOKEN, &[], &narrow).await;
    assert_eq!(narrow.text("scope"), "orders.read");
    let plain = show(&server, &key.unnamed(&assertion("mill", &unique()))).await.text("access_token");
    let grant = ClientCredentialsGrant { client_assertion: good(&key), ..ClientCredentialsGrant::default() };
    let issued = server.tokens().issue(IssueRequest { grant: Some(Grant::ClientCredentials(grant)) }).await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    for token in [plain, issued.into_inner().access_token, narrow.text("access_token")] {
        assert_eq!(server.auth.verify_access_token(&token, &state).unwrap().claims.sub, "mill");
    }
}

pub(crate) async fn audience_of_an_assertion_is_the_issuer_or_the_token_endpoint(database: Database) {
    let (server, key) = with_mill(&database).await;
    for audience in [json!("https://accord.local/oauth2/token"), json!(["https://accord.local"])] {
        let answer = show(&server, &changed(&key, |claims| claims["aud"] = audience)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for audience in [json!("https://accord.local/"), json!("accord"), json!(["https://accord.local", "other"])] {
        is_refused(&show(&server, &changed(&key, |claims| claims["aud"] = audience)).await);
    }
}

pub(crate) async fn assertion_is_good_once_at_all_replicas(database: Database) {
    let [server, replica] = Server::replicas(&database, |_| {}).await;
    let key = add_mill(&server).await;
    let shown = good(&key);
    assert_eq!(show(&server, &shown).await.status, 200);
    is_refused(&show(&server, &shown).await);
    is_refused(&show(&replica, &shown).await);
    // The name is that of the assertion, whatever else is signed under it.
    let mut same = assertion("mill", "one");
    assert_eq!(show(&server, &key.token(&same)).await.status, 200);
    same["exp"] = json!(verify::now() + 120);
    is_refused(&show(&replica, &key.token(&same)).await);
}

pub(crate) async fn assertion_shown_many_times_at_once_brings_one_token(database: Database) {
    let (server, key) = with_mill(&database).await;
    let shown = good(&key);
    let answers = futures_util::future::join_all((0..8).map(|_| show(&server, &shown))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
}

pub(crate) async fn used_assertion_is_forgotten_after_its_end(database: Database) {
    let (server, key) = with_mill(&database).await;
    assert_eq!(show(&server, &good(&key)).await.status, 200);
    let count = async || {
        let mut backup = Vec::new();
        server.auth.store.backup(&mut backup).await.unwrap();
        String::from_utf8(backup).unwrap().matches("used_assertions").count()
    };
    let ends = verify::now() + 60;
    server.auth.store.purge_client_keys(ends - 2).await.unwrap();
    assert_eq!(count().await, 1);
    server.auth.store.purge_client_keys(ends + 5).await.unwrap();
    assert_eq!(count().await, 0);
}

pub(crate) async fn client_with_as_many_used_assertions_as_are_remembered_is_throttled(database: Database) {
    let (server, key) = with_mill(&database).await;
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let fill = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
                INSERT INTO used_assertions (client, digest, expires_at) SELECT 'mill', 'd' || n, 9999999999 FROM numbers";
    connection.execute(fill).await.unwrap();
    // Whatever end they name: those that end at once count for as long as one that lives five minutes.
    for ended in [0, 240] {
        let ends = verify::now() - ended;
        connection.execute(AssertSqlSafe(format!("UPDATE used_assertions SET expires_at = {ends}"))).await.unwrap();
        let answer = show(&server, &good(&key)).await;
        assert_eq!(
            (answer.error(), answer.header("retry-after")),
            ((429, "temporarily_unavailable".to_owned()), Some("300"))
        );
    }
    // Those before are remembered for other clocks, and stand in nobody's way.
    let ends = verify::now() - 301;
    connection.execute(AssertSqlSafe(format!("UPDATE used_assertions SET expires_at = {ends}"))).await.unwrap();
    assert_eq!(show(&server, &good(&key)).await.status, 200);
    connection.execute("DELETE FROM used_assertions WHERE digest = 'd1'").await.unwrap();
    assert_eq!(show(&server, &good(&key)).await.status, 200);
}

pub(crate) async fn assertion_that_was_forged_is_refused_like_an_unknown_client(database: Database) {
    let (server, key) = with_mill(&database).await;
    let other = Forge::ed25519("first");
    let unknown = show(&server, &key.token(&assertion("nobody", &unique()))).await;
    is_refused(&unknown);
    let now = verify::now();
    let header = json!({"alg": "none", "kid": "first"});
    for forged in [
        good(&other),
        other.unnamed(&assertion("mill", &unique())),
        key.with_header(&header, &assertion("mill", &unique())),
        key.with_header(&json!({"alg": "EdDSA", "kid": "first", "jwk": other.jwk}), &assertion("mill", &unique())),
        key.with_header(&json!({"alg": "EdDSA", "typ": "at+jwt"}), &assertion("mill", &unique())),
        changed(&key, |claims| claims["iss"] = json!("gateway")),
        changed(&key, |claims| claims["sub"] = json!("gateway")),
        changed(&key, |claims| claims["jti"] = Value::Null),
        changed(&key, |claims| claims["exp"] = json!(now + 301)),
        changed(&key, |claims| claims["exp"] = json!(now - 11)),
        changed(&key, |claims| claims["nbf"] = json!(now + 60)),
        "not.a.token".to_owned(),
        "x".repeat(5000),
    ] {
        let answer = show(&server, &forged).await;
        assert_eq!((answer.status, &answer.body), (unknown.status, &unknown.body), "{forged}");
    }
    let named = [GRANT, TYPE, ("client_assertion", &good(&key)), ("client_id", "gateway")];
    is_refused(&post(server.address, TOKEN, &[], &named).await);
}

pub(crate) async fn assertion_of_an_unknown_client_costs_as_much_work_as_a_forged_one(database: Database) {
    let (server, key) = with_mill(&database).await;
    let forgers = [Forge::ed25519("first"), Forge::ed25519("other"), Forge::p256("first"), Forge::p256("other")];
    // The gateway has a secret and no keys.
    for client in ["mill", "gateway", "nobody"] {
        for forger in &forgers {
            let claims = assertion(client, &unique());
            for shown in [forger.token(&claims), forger.unnamed(&claims)] {
                let before = server.auth.decoys.checked();
                is_refused(&show(&server, &shown).await);
                assert_eq!(server.auth.decoys.checked() - before, 1, "{client} {}", forger.jwk);
            }
        }
    }
    let before = server.auth.decoys.checked();
    assert_eq!(show(&server, &good(&key)).await.status, 200);
    assert_eq!(server.auth.decoys.checked() - before, 1, "and as a good one");
}

pub(crate) async fn client_that_authenticates_with_an_assertion_and_something_else_is_refused(database: Database) {
    let (server, key) = with_mill(&database).await;
    let shown = good(&key);
    let with_secret = [GRANT, TYPE, ("client_assertion", &*shown), ("client_id", "mill"), ("client_secret", "x")];
    let other_type = [GRANT, ("client_assertion_type", "saml"), ("client_assertion", &*shown)];
    for form in [&with_secret[..], &other_type, &[GRANT, ("client_assertion", &shown)], &[GRANT, TYPE]] {
        assert_eq!(post(server.address, TOKEN, &[], form).await.error(), (400, "invalid_request".to_owned()));
    }
    let grant = ClientCredentialsGrant {
        client_assertion: shown.clone(),
        client_secret: MESH_SECRET.to_owned(),
        ..ClientCredentialsGrant::default()
    };
    let answer = server.tokens().issue(IssueRequest { grant: Some(Grant::ClientCredentials(grant)) }).await;
    assert_eq!(refused(answer), Reason::FieldInvalid);
    assert_eq!(show(&server, &shown).await.status, 200, "it was not used by any of these");
}

pub(crate) async fn introspection_and_revocation_take_an_assertion(database: Database) {
    let (server, key) = with_mill(&database).await;
    let token = server.log_in("ada", PASSWORD).await.unwrap().access_token;
    for (path, status) in [("/oauth2/introspect", 200), ("/oauth2/revoke", 200)] {
        let form = [TYPE, ("client_assertion", &*good(&key)), ("token", &token)];
        assert_eq!(post(server.address, path, &[], &form).await.status, status, "{path}");
        let forged = [TYPE, ("client_assertion", &*good(&Forge::p256("first"))), ("token", &token)];
        is_refused(&post(server.address, path, &[], &forged).await);
    }
    assert!(!server.is_active(&token).await);
}

pub(crate) async fn rotated_keys_are_valid_beside_their_successors_during_the_overlap(database: Database) {
    let (server, first) = with_mill(&database).await;
    let second = Forge::p256("second");
    rotate(&server, &[&second], Duration::from_hours(1)).await.unwrap();
    assert_eq!(show(&server, &good(&first)).await.status, 200);
    assert_eq!(show(&server, &second.unnamed(&assertion("mill", &unique()))).await.status, 200);
    rotate(&server, &[&second], Duration::ZERO).await.unwrap();
    is_refused(&show(&server, &good(&first)).await);
    assert_eq!(show(&server, &good(&second)).await.status, 200);
    admin(&server.auth.store).remove_client_key("mill", "second").await.unwrap();
    is_refused(&show(&server, &good(&second)).await);
}

pub(crate) async fn keys_that_no_client_can_have_are_refused(database: Database) {
    let (server, first) = with_mill(&database).await;
    let other_of_the_name = Forge::ed25519("first");
    let taken = rotate(&server, &[&other_of_the_name], Duration::ZERO).await;
    assert!(matches!(taken, Err(AdminError::ClientKeyName(_))), "{taken:?}");
    let rsa = rotate(&server, &[&Forge::rsa("rsa")], Duration::ZERO).await;
    assert!(matches!(rsa, Err(AdminError::ClientKeyAlgorithm)), "{rsa:?}");
    assert!(matches!(rotate(&server, &[], Duration::ZERO).await, Err(AdminError::NoClientKey)));
    let many: Vec<_> = (0..8).map(|number| Forge::ed25519(&number.to_string())).collect();
    let beside = rotate(&server, &many.iter().collect::<Vec<_>>(), Duration::from_hours(1)).await;
    assert!(matches!(beside, Err(AdminError::ClientKeys(_))), "{beside:?}");
    assert_eq!(show(&server, &good(&first)).await.status, 200, "nothing has changed");
    rotate(&server, &many.iter().collect::<Vec<_>>(), Duration::ZERO).await.unwrap();
    let unknown = admin(&server.auth.store).remove_client_key("mill", "first").await;
    assert!(matches!(unknown, Err(AdminError::UnknownClientKey { .. })), "{unknown:?}");
}

pub(crate) async fn client_with_keys_alone_has_no_secret(database: Database) {
    let (server, _) = with_mill(&database).await;
    for secret in ["", "x"] {
        assert_eq!(refused(server.log_in_client("mill", secret).await), Reason::CredentialInvalid, "{secret}");
    }
}

pub(crate) async fn disabled_and_removed_clients_are_refused_with_their_keys(database: Database) {
    let (server, key) = with_mill(&database).await;
    let store = &server.auth.store;
    admin(store).disable("mill").await.unwrap();
    is_refused(&show(&server, &good(&key)).await);
    admin(store).remove("mill").await.unwrap();
    let mill = principal("mill", Kind::Service, &[]);
    admin(store).add_client(&mill, || Ok(MESH_SECRET.to_owned())).await.unwrap();
    is_refused(&show(&server, &good(&key)).await);
    assert!(store.client_keys("mill").await.unwrap().is_empty());
}

pub(crate) async fn assertion_is_refused_while_the_store_is_down(database: Database) {
    let (server, key) = with_mill(&database).await;
    server.auth.store.close().await;
    assert_eq!(show(&server, &good(&key)).await.error(), (503, "temporarily_unavailable".to_owned()));
}

pub(crate) async fn changes_of_client_keys_are_audited(database: Database) {
    let (server, _) = with_mill(&database).await;
    rotate(&server, &[&Forge::p256("second")], Duration::ZERO).await.unwrap();
    admin(&server.auth.store).remove_client_key("mill", "second").await.unwrap();
    let (log, _) = server.auth.store.audit_log().await.unwrap();
    let seen: Vec<_> = log.iter().map(|entry| (&*entry.action, &*entry.target)).collect();
    for entry in [("client.add", "mill"), ("client.keys", "mill"), ("client.key.remove", "mill second")] {
        assert!(seen.contains(&entry), "{entry:?}");
    }
}

pub(crate) async fn metadata_names_assertions_and_their_algorithms(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let metadata = get(server.address, "/.well-known/oauth-authorization-server").await.json();
    for endpoint in ["token", "introspection", "revocation"] {
        let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        assert!(methods.as_array().unwrap().contains(&json!("private_key_jwt")), "{endpoint}");
        let algorithms = &metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        assert_eq!(algorithms, &json!(["EdDSA", "ES256"]), "{endpoint}");
    }
}
