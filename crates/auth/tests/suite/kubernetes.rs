//! Logins of service accounts of Kubernetes.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{ForeignTokenGrant, IssueRequest, IssueResponse, issue_request::Grant},
    fault::v1::Reason,
};
use accord_auth::{
    config::issuers::{KubernetesConfig, TokenCheck},
    store::links::Link,
};
use accord_test_kubernetes::Server as ApiServer;
use accord_token::{Kind, verify};
use serde_json::{Value, json};
use tonic::{Status, transport::Channel};

use super::{
    Database, MESH_SECRET, Server, admin,
    forge::{Forge, key_set},
    principal, refused,
};
use accord_api::accord::auth::v1::token_service_client::TokenServiceClient;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NAME: &str = "system:serviceaccount:shop:orders";

/// A server beside an API server.
struct Cluster {
    server: Server,
    api: ApiServer,
    key: Forge,
}

async fn cluster(database: &Database, check: TokenCheck) -> Cluster {
    let api = ApiServer::start().await;
    let kubernetes = KubernetesConfig {
        audience: Some("accord".to_owned()),
        check,
        issuer: Some(ISSUER.to_owned()),
        url: api.url.clone(),
        refetch_interval: Duration::from_millis(10),
        ..KubernetesConfig::default()
    };
    let server = Server::start(database, |config| config.kubernetes = kubernetes).await;
    let orders = principal("shop/orders", Kind::Service, &["catalog-reader"]);
    admin(&server.auth.store).add_client(&orders, || Ok(MESH_SECRET.to_owned())).await.unwrap();
    Cluster { server, api, key: Forge::rsa("cluster") }
}

async fn issue(mut tokens: TokenServiceClient<Channel>, token: String) -> Result<IssueResponse, Status> {
    let grant = Grant::ForeignToken(ForeignTokenGrant { token });
    tokens.issue(IssueRequest { grant: Some(grant) }).await.map(tonic::Response::into_inner)
}

impl Cluster {
    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let now = verify::now();
        let mut claims = json!({
            "iss": ISSUER, "sub": NAME, "aud": ["accord"], "iat": now, "nbf": now, "exp": now + 600, "jti": "1",
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders", "uid": "u"}},
        });
        change(&mut claims);
        self.key.unnamed(&claims)
    }

    /// Logs in, and answers the one question that the API server is asked for it.
    async fn log_in(&mut self, token: String, answer: Value) -> Result<IssueResponse, Status> {
        let answered = async {
            let mut asked = self.api.next().await;
            assert_eq!(asked.path(), "/apis/authentication.k8s.io/v1/tokenreviews");
            let review = asked.object().await;
            assert_eq!(review["spec"], json!({"token": token, "audiences": ["accord"]}));
            asked.answer(&answer);
        };
        tokio::join!(issue(self.server.tokens(), token.clone()), answered).0
    }

    async fn log_in_unasked(&self, token: &str) -> Result<IssueResponse, Status> {
        issue(self.server.tokens(), token.to_owned()).await
    }

    async fn subject_of(&self, token: &str) -> String {
        let state = self.server.auth.state.current().await.unwrap();
        self.server.auth.verify_access_token(token, &state).unwrap().claims.sub
    }
}

fn good() -> Value {
    reviewed(NAME)
}

fn reviewed(name: &str) -> Value {
    json!({"kind": "TokenReview", "status": {"authenticated": true, "audiences": ["accord"], "user": {"username": name}}})
}

pub(crate) async fn reviewed_service_account_gets_a_token_that_ends_with_its_own(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    let issued = cluster.log_in(cluster.token(|_| {}), good()).await.unwrap();
    assert_eq!(cluster.subject_of(&issued.access_token).await, "shop/orders");
    assert!(issued.refresh_token.is_empty());
    let life = issued.expires_in.unwrap().seconds;
    assert!((590..=600).contains(&life), "{life}");
}

pub(crate) async fn review_is_remembered_for_the_same_token_alone(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    let token = cluster.token(|_| {});
    cluster.log_in(token.clone(), good()).await.unwrap();
    cluster.log_in_unasked(&token).await.unwrap();
    let other = cluster.token(|claims| claims["jti"] = json!("2"));
    let refused_by = json!({"status": {"authenticated": false, "error": "no"}});
    assert_eq!(refused(cluster.log_in(other, refused_by).await), Reason::CredentialInvalid);
}

pub(crate) async fn token_that_the_api_server_does_not_review_as_ours_is_refused(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    for (number, answer) in [
        json!({"status": {"authenticated": false}}),
        json!({"status": {"authenticated": "true", "audiences": ["accord"], "user": {"username": NAME}}}),
        json!({"status": {"authenticated": true, "user": {"username": NAME}}}),
        json!({"status": {"authenticated": true, "audiences": ["other"], "user": {"username": NAME}}}),
        json!({"status": {"authenticated": true, "audiences": ["accord"]}}),
        reviewed("system:serviceaccount:shop:cart"),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        let token = cluster.token(|claims| claims["jti"] = json!(number.to_string()));
        assert_eq!(refused(cluster.log_in(token, answer.clone()).await), Reason::CredentialInvalid, "{answer}");
    }
}

pub(crate) async fn reviewed_token_is_held_to_the_checklist_as_well(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    let now = verify::now();
    for (token, reason) in [
        (cluster.token(|claims| claims["aud"] = json!(["accord", "other"])), Reason::CredentialInvalid),
        (cluster.token(|claims| claims["iss"] = json!("https://another.example")), Reason::CredentialInvalid),
        (cluster.token(|claims| claims["exp"] = json!(now - 11)), Reason::TokenExpired),
        (cluster.token(|claims| claims["exp"] = json!(now + 365 * 24 * 3600)), Reason::CredentialInvalid),
        (cluster.token(|claims| claims["exp"] = Value::Null), Reason::CredentialInvalid),
    ] {
        assert_eq!(refused(cluster.log_in(token, good()).await), reason);
    }
}

pub(crate) async fn api_server_that_fails_or_is_down_lets_nobody_in(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    let token = cluster.token(|_| {});
    let refuses = async { cluster.api.next().await.refuse(403, "Forbidden") };
    let issued = tokio::join!(issue(cluster.server.tokens(), token.clone()), refuses).0;
    assert_eq!(refused(issued), Reason::AuthUnavailable);
    cluster.api.stop().await;
    assert_eq!(refused(issue(cluster.server.tokens(), token).await), Reason::AuthUnavailable);
}

pub(crate) async fn service_account_is_a_program_that_is_known_or_linked(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    let cart = "system:serviceaccount:shop:cart";
    let token = cluster.token(|claims| claims["sub"] = json!(cart));
    assert_eq!(refused(cluster.log_in(token.clone(), reviewed(cart)).await), Reason::CredentialInvalid);
    let store = cluster.server.auth.store.clone();
    let link = Link { issuer: "kubernetes".to_owned(), external: "shop/cart".to_owned() };
    admin(&store).link("gateway", &link).await.unwrap();
    let issued = cluster.log_in_unasked(&token).await.unwrap();
    assert_eq!(cluster.subject_of(&issued.access_token).await, "gateway");
    admin(&store).unlink("gateway", &link).await.unwrap();
    admin(&store).link("ada", &link).await.unwrap();
    assert_eq!(refused(cluster.log_in_unasked(&token).await), Reason::CredentialInvalid, "a person is no workload");
}

pub(crate) async fn name_that_is_no_service_account_is_refused(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::TokenReview).await;
    for name in [
        "root",
        "system:node:one",
        "system:serviceaccount:shop",
        "system:serviceaccount:a:b:c",
        "system:serviceaccount:a/b:c",
    ] {
        let token = cluster.token(|claims| claims["sub"] = json!(name));
        assert_eq!(refused(cluster.log_in(token, reviewed(name)).await), Reason::CredentialInvalid, "{name}");
    }
}

pub(crate) async fn service_account_is_verified_by_the_keys_of_the_cluster(database: Database) {
    let mut cluster = cluster(&database, TokenCheck::Jwks).await;
    let keys: Value = serde_json::from_str(&key_set(&[&cluster.key])).unwrap();
    let token = cluster.token(|_| {});
    let answered = async {
        let asked = cluster.api.next().await;
        assert_eq!((asked.path(), asked.authorization()), ("/openid/v1/jwks", None), "over plaintext no token is sent");
        asked.answer(&keys);
    };
    let issued = tokio::join!(issue(cluster.server.tokens(), token.clone()), answered).0.unwrap();
    assert_eq!(cluster.subject_of(&issued.access_token).await, "shop/orders");
    let forged = Forge::rsa("cluster").unnamed(&json!({"iss": ISSUER, "sub": NAME, "aud": "accord"}));
    assert_eq!(refused(cluster.log_in_unasked(&forged).await), Reason::CredentialInvalid);
    let other = cluster.token(|claims| claims["iss"] = json!("https://another.example"));
    assert_eq!(refused(cluster.log_in_unasked(&other).await), Reason::CredentialInvalid);
    let for_others = cluster.token(|claims| claims["aud"] = json!(["https://kubernetes.default.svc"]));
    assert_eq!(refused(cluster.log_in_unasked(&for_others).await), Reason::CredentialInvalid);
}
