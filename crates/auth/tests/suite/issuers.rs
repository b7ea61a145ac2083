//! Logins with tokens of an `OpenID` provider.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{ForeignTokenGrant, IssueRequest, IssueResponse, issue_request::Grant},
    fault::v1::Reason,
};
use accord_auth::{
    config::{
        Config,
        issuers::{AcceptedPrincipals, IssuerConfig},
    },
    store::links::Link,
};
use accord_token::{Kind, foreign::ForeignAlgorithm, verify};
use serde_json::{Value, json};
use tonic::Status;

use super::{
    Database, Server, admin,
    forge::Forge,
    http::{Answer, post},
    principal,
    provider::Provider,
    refused,
};

const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const ID_TOKEN: (&str, &str) = ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token");

/// A server that believes a provider, which calls itself `corp` here.
struct Corp {
    server: Server,
    provider: Provider,
    key: Forge,
}

fn config(provider: &Provider) -> IssuerConfig {
    IssuerConfig {
        name: "corp".to_owned(),
        issuer: provider.url.clone(),
        audience: "mesh".to_owned(),
        refetch_interval: Duration::from_millis(10),
        ..IssuerConfig::default()
    }
}

async fn with_corp(database: &Database, change: impl FnOnce(&mut IssuerConfig)) -> Corp {
    let key = Forge::rsa("first");
    let provider = Provider::start(&[&key]).await;
    let mut corp = config(&provider);
    change(&mut corp);
    let server = Server::start(database, |config: &mut Config| config.issuer = vec![corp]).await;
    Corp { server, provider, key }
}

fn provisions(config: &mut IssuerConfig) {
    config.principals = AcceptedPrincipals::Provision;
}

impl Corp {
    fn claims(&self) -> Value {
        let now = verify::now();
        json!({"iss": self.provider.url, "sub": "lea", "aud": "mesh", "iat": now, "exp": now + 300, "nonce": "n"})
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.key.token(&claims)
    }

    async fn show(&self, token: &str) -> Answer {
        exchange(&self.server, token).await
    }

    async fn log_in(&self, token: &str) -> Result<IssueResponse, Status> {
        log_in(&self.server, token).await
    }

    async fn subject_of(&self, token: &str) -> (String, Vec<String>) {
        let state = self.server.auth.state.current().await.unwrap();
        let claims = self.server.auth.verify_access_token(token, &state).unwrap().claims;
        (claims.sub, claims.roles)
    }
}

async fn exchange(server: &Server, token: &str) -> Answer {
    post(server.address, "/oauth2/token", &[], &[GRANT, ID_TOKEN, ("subject_token", token)]).await
}

async fn log_in(server: &Server, token: &str) -> Result<IssueResponse, Status> {
    let grant = Grant::ForeignToken(ForeignTokenGrant { token: token.to_owned() });
    server.tokens().issue(IssueRequest { grant: Some(grant) }).await.map(tonic::Response::into_inner)
}

pub(crate) async fn person_of_a_provider_gets_access_and_refresh_tokens_over_both_faces(database: Database) {
    let corp = with_corp(&database, provisions).await;
    let answer = corp.show(&corp.token(|_| {})).await;
    assert_eq!(answer.text("issued_token_type"), "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(corp.subject_of(&answer.text("access_token")).await.0, "corp:lea");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &answer.text("refresh_token"))];
    let renewed = post(corp.server.address, "/oauth2/token", &[], &refresh).await;
    assert_eq!(corp.subject_of(&renewed.text("access_token")).await.0, "corp:lea");
    let issued = corp.log_in(&corp.token(|_| {})).await.unwrap();
    assert_eq!(corp.subject_of(&issued.access_token).await.0, "corp:lea");
}

pub(crate) async fn subject_that_is_not_known_is_let_in_only_where_it_is_provisioned(database: Database) {
    let corp = with_corp(&database, |_| {}).await;
    assert_eq!(corp.show(&corp.token(|_| {})).await.error(), (400, "invalid_request".to_owned()));
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::CredentialInvalid);
    // A local name is nobody else's to give.
    assert_eq!(
        refused(corp.log_in(&corp.token(|claims| claims["sub"] = json!("root"))).await),
        Reason::CredentialInvalid
    );
    admin(&corp.server.auth.store).add_principal(&principal("corp:lea", Kind::User, &[]), None).await.unwrap();
    assert_eq!(corp.show(&corp.token(|_| {})).await.status, 200);
}

pub(crate) async fn linked_subject_logs_in_as_the_principal_until_it_is_unlinked(database: Database) {
    let corp = with_corp(&database, |_| {}).await;
    let link = Link { issuer: "corp".to_owned(), external: "lea".to_owned() };
    admin(&corp.server.auth.store).link("ada", &link).await.unwrap();
    let token = corp.log_in(&corp.token(|_| {})).await.unwrap().access_token;
    assert_eq!(corp.subject_of(&token).await.0, "ada");
    assert!(admin(&corp.server.auth.store).link("root", &link).await.is_err(), "linked already");
    assert!(admin(&corp.server.auth.store).unlink("root", &link).await.is_err(), "not theirs");
    admin(&corp.server.auth.store).unlink("ada", &link).await.unwrap();
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::CredentialInvalid);
    assert!(!corp.server.is_active(&token).await);
    let (log, _) = corp.server.auth.store.audit_log().await.unwrap();
    for action in ["principal.link", "principal.unlink"] {
        assert!(log.iter().any(|entry| entry.action == action && entry.target == "ada corp lea"), "{action}");
    }
}

pub(crate) async fn disabled_principal_is_refused_with_the_token_of_a_provider(database: Database) {
    let corp = with_corp(&database, provisions).await;
    corp.log_in(&corp.token(|_| {})).await.unwrap();
    admin(&corp.server.auth.store).disable("corp:lea").await.unwrap();
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::CredentialInvalid);
}

pub(crate) async fn groups_give_their_roles_and_take_them_away_with_the_next_login(database: Database) {
    let corp = with_corp(&database, |config| {
        provisions(config);
        config.groups_claim = Some("groups".to_owned());
        config.roles =
            [("staff".to_owned(), vec!["reader".to_owned()]), ("boss".to_owned(), vec!["writer".to_owned()])].into();
    })
    .await;
    let log_in = async |groups: Value| {
        let issued = corp.log_in(&corp.token(|claims| claims["groups"] = groups)).await.unwrap();
        (corp.subject_of(&issued.access_token).await.1, issued.access_token)
    };
    let (roles, first) = log_in(json!(["staff", "boss", "unknown"])).await;
    assert_eq!(roles, ["reader", "writer"]);
    admin(&corp.server.auth.store).grant_role("corp:lea", "granted-here").await.unwrap();
    let (roles, _) = log_in(json!(["staff"])).await;
    assert_eq!(roles, ["granted-here", "reader"]);
    assert!(!corp.server.is_active(&first).await, "it shows a role that is gone");
    let malformed = corp.log_in(&corp.token(|claims| claims["groups"] = json!("staff"))).await;
    assert_eq!(refused(malformed), Reason::CredentialInvalid);
}

pub(crate) async fn forged_token_of_a_provider_is_refused(database: Database) {
    let corp = with_corp(&database, provisions).await;
    let (other, now) = (Forge::rsa("first"), verify::now());
    let header = |more: &Value| {
        let mut header = json!({"alg": "RS256", "kid": "first"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        corp.key.with_header(&header, &corp.claims())
    };
    for forged in [
        other.token(&corp.claims()),
        header(&json!({"alg": "none"})),
        header(&json!({"alg": "HS256"})),
        header(&json!({"crit": ["exp"]})),
        header(&json!({"jku": "https://attacker.example"})),
        header(&json!({"typ": "logout+jwt"})),
        corp.token(|claims| claims["aud"] = json!("another client")),
        corp.token(|claims| claims["aud"] = json!(["mesh", "another client"])),
        corp.token(|claims| claims["exp"] = json!(now - 11)),
        corp.token(|claims| claims["exp"] = json!(now + 25 * 3600)),
        corp.token(|claims| claims["iat"] = json!(now + 60)),
        corp.token(|claims| claims["nbf"] = json!(now + 60)),
        corp.token(|claims| claims["iat"] = Value::Null),
        corp.token(|claims| claims["sub"] = json!("")),
        corp.token(|claims| claims["sub"] = json!("a b")),
        corp.token(|claims| claims["iss"] = json!(format!("{}/", corp.provider.url))),
    ] {
        assert_eq!(corp.show(&forged).await.error(), (400, "invalid_request".to_owned()), "{forged}");
        let reason = refused(corp.log_in(&forged).await);
        let expected = [Reason::CredentialInvalid, Reason::TokenExpired];
        assert!(expected.contains(&reason), "{reason:?} {forged}");
    }
}

pub(crate) async fn algorithm_that_is_not_configured_is_refused(database: Database) {
    let corp = with_corp(&database, |config| {
        provisions(config);
        config.algorithms = vec![ForeignAlgorithm::Es256];
    })
    .await;
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::CredentialInvalid);
}

pub(crate) async fn unknown_key_is_asked_for_once_within_the_interval(database: Database) {
    let corp = with_corp(&database, |config| {
        provisions(config);
        config.refetch_interval = Duration::from_hours(1);
    })
    .await;
    corp.log_in(&corp.token(|_| {})).await.unwrap();
    let unknown = Forge::p256("unknown");
    for _ in 0..10 {
        assert_eq!(refused(corp.log_in(&unknown.token(&corp.claims())).await), Reason::CredentialInvalid);
    }
    assert_eq!(corp.provider.asked(), 1);
}

pub(crate) async fn rotated_key_of_a_provider_is_found_and_the_one_before_forgotten(database: Database) {
    let corp = with_corp(&database, provisions).await;
    corp.log_in(&corp.token(|_| {})).await.unwrap();
    let next = Forge::ed25519("next");
    corp.provider.publish(&[&next]);
    // No sooner than the interval lets it be asked again.
    let mut issued = corp.log_in(&next.token(&corp.claims())).await;
    for _ in 0..1000 {
        if issued.is_ok() {
            break;
        }
        issued = corp.log_in(&next.token(&corp.claims())).await;
    }
    issued.unwrap();
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::CredentialInvalid);
}

pub(crate) async fn keys_serve_while_their_provider_is_down_and_no_longer_than_their_age(database: Database) {
    let age = Duration::from_secs(3);
    let mut corp = with_corp(&database, |config| {
        provisions(config);
        config.keys_max_age = age;
    })
    .await;
    corp.log_in(&corp.token(|_| {})).await.unwrap();
    corp.provider.stop().await;
    corp.log_in(&corp.token(|_| {})).await.unwrap();
    // Nothing tells that time has passed but time itself.
    tokio::time::sleep(age).await;
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::AuthUnavailable);
    assert_eq!(corp.show(&corp.token(|_| {})).await.error(), (503, "temporarily_unavailable".to_owned()));
}

pub(crate) async fn provider_that_answers_something_else_lets_nobody_in(database: Database) {
    let corp = with_corp(&database, provisions).await;
    corp.provider.name("https://attacker.example");
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::AuthUnavailable);
    corp.provider.name(&corp.provider.url);
    for keys in ["", "{}", "[]", &format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(300_000))] {
        corp.provider.publish_text(keys);
        // Until the provider may be asked again.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::AuthUnavailable, "{}", keys.len());
    }
    corp.provider.publish_text("{\"keys\": []}");
    // As above.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::CredentialInvalid);
}

pub(crate) async fn address_of_mail_counts_where_it_was_verified(database: Database) {
    let corp = with_corp(&database, |config| {
        provisions(config);
        "email".clone_into(&mut config.subject_claim);
    })
    .await;
    let with = |verified: Value| {
        corp.token(|claims| {
            claims["email"] = json!("lea@example.com");
            claims["email_verified"] = verified;
        })
    };
    let issued = corp.log_in(&with(json!(true))).await.unwrap();
    assert_eq!(corp.subject_of(&issued.access_token).await.0, "corp:lea@example.com");
    for verified in [json!(false), json!("true"), Value::Null] {
        assert_eq!(refused(corp.log_in(&with(verified)).await), Reason::CredentialInvalid);
    }
}

pub(crate) async fn exchange_of_a_foreign_token_for_something_else_is_refused(database: Database) {
    let corp = with_corp(&database, provisions).await;
    let token = corp.token(|_| {});
    let base = [GRANT, ID_TOKEN, ("subject_token", &*token)];
    for (member, error) in [
        (("audience", "catalog"), "invalid_target"),
        (("resource", "https://catalog"), "invalid_target"),
        (("scope", "orders.read"), "invalid_scope"),
        (("actor_token", "x"), "invalid_request"),
        (("requested_token_type", "urn:ietf:params:oauth:token-type:saml2"), "invalid_request"),
    ] {
        let answer = post(corp.server.address, "/oauth2/token", &[], &[&base[..], &[member]].concat()).await;
        assert_eq!(answer.error(), (400, error.to_owned()), "{member:?}");
    }
    let untyped = [GRANT, ("subject_token", &*token)];
    assert_eq!(post(corp.server.address, "/oauth2/token", &[], &untyped).await.error().0, 400);
    let ours = [&base[..], &[("audience", "accord")]].concat();
    assert_eq!(post(corp.server.address, "/oauth2/token", &[], &ours).await.status, 200);
}

pub(crate) async fn foreign_token_is_refused_while_the_store_is_down(database: Database) {
    let corp = with_corp(&database, provisions).await;
    corp.server.auth.store.close().await;
    assert_eq!(corp.show(&corp.token(|_| {})).await.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(refused(corp.log_in(&corp.token(|_| {})).await), Reason::AuthUnavailable);
}

pub(crate) async fn token_of_an_issuer_that_is_not_configured_is_refused(database: Database) {
    let (server, now) = (Server::start(&database, |_| {}).await, verify::now());
    let claims = json!({"iss": "https://issuer.example", "sub": "ada", "aud": "accord", "iat": now, "exp": now + 300});
    let foreign = Forge::rsa("first").token(&claims);
    for token in [foreign.clone(), server.token_of("ada").await] {
        assert_eq!(refused(log_in(&server, &token).await), Reason::CredentialInvalid);
    }
    assert_eq!(exchange(&server, &foreign).await.error().0, 401, "for a passport a client has to authenticate");
}
