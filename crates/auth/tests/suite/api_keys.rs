//! API keys.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{
        AddApiKeyRequest, AddApiKeyResponse, ApiKey as WireApiKey, ApiKeyGrant, CheckRequest, GetApiKeyRequest,
        IssueForRequest, IssueRequest, IssueResponse, ListApiKeysRequest, ListApiKeysResponse, RotateApiKeyRequest,
        RotateApiKeyResponse, SetApiKeyStandingRequest, Standing, access_service_client::AccessServiceClient,
        admin_service_client::AdminServiceClient, issue_for_request::Credential, issue_request::Grant,
    },
    fault::v1::Reason,
};
use accord_auth::{
    domain::{admin::ApiKeyOrder, scope::Scope},
    store::api_keys::ApiKey,
};
use accord_token::Kind;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tonic::{Status, transport::Channel};

use super::{Database, MESH_SECRET, READ, Server, admin, authorized, http::post, principal, refused};

const HOUR: Duration = Duration::from_hours(1);

/// A key of ada's, and its text.
pub(super) async fn add(server: &Server, scope: &str, life: Option<Duration>) -> (ApiKey, String) {
    let mut text = String::new();
    let scope = Scope::parse(scope).unwrap();
    let order = ApiKeyOrder { subject: "ada".to_owned(), note: "nightly".to_owned(), scope, life };
    let keep = |key: &str| {
        key.clone_into(&mut text);
        Ok(())
    };
    let key = admin(&server.auth.store).add_api_key(order, &server.auth.encryption_key, keep).await.unwrap();
    (key, text)
}

pub(super) async fn log_in(server: &Server, key: &str) -> Result<IssueResponse, Status> {
    let grant = Grant::ApiKey(ApiKeyGrant { key: key.to_owned() });
    server.tokens().issue(IssueRequest { grant: Some(grant) }).await.map(tonic::Response::into_inner)
}

async fn token(server: &Server, key: &str) -> String {
    log_in(server, key).await.unwrap().access_token
}

/// The decision about reading the catalog, and the passport for it.
pub(crate) async fn check(server: &Server, token: &str) -> (bool, String) {
    let check = CheckRequest {
        token: token.to_owned(),
        permission: READ.permission.to_owned(),
        audience: READ.audience.to_owned(),
        ..CheckRequest::default()
    };
    let check = authorized(check, &server.mesh_token().await);
    let answer = AccessServiceClient::new(server.channel.clone()).check(check).await.unwrap().into_inner();
    (answer.allowed, answer.passport)
}

pub(crate) async fn key_brings_a_token_of_its_subject_over_both_faces(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    assert!(check(&server, &token(&server, &text).await).await.0);
    for secret in [text.as_str(), text.strip_prefix(&format!("{}_", key.id)).unwrap()] {
        let basic = vec![format!("authorization: Basic {}", STANDARD.encode(format!("{}:{secret}", key.id)))];
        let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
        let scoped = post(server.address, "/oauth2/token", &basic, &form).await;
        assert_eq!(scoped.error(), (400, "invalid_scope".to_owned()));
        let answer = post(server.address, "/oauth2/token", &basic, &form[..1]).await;
        assert!(check(&server, &answer.text("access_token")).await.0);
    }
}

pub(crate) async fn key_is_allowed_nothing_beside_its_scope(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for (scope, allowed) in [("catalog.products.read", true), ("orders.read", false)] {
        let (_, text) = add(&server, scope, None).await;
        assert_eq!(check(&server, &token(&server, &text).await).await.0, allowed, "{scope}");
    }
}

pub(crate) async fn wrong_unknown_disabled_and_expired_keys_are_refused_alike(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    let wrong = format!("{}_{}", key.id, "A".repeat(43));
    let expected = log_in(&server, &wrong).await.unwrap_err();
    assert_eq!(refused::<()>(Err(expected.clone())), Reason::CredentialInvalid);
    let (disabled, disabled_text) = add(&server, "", None).await;
    admin(&server.auth.store).disable_api_key(&disabled.id).await.unwrap();
    let (_, expired) = add(&server, "", Some(Duration::ZERO)).await;
    let digit = if key.id.starts_with("ak_0") { "1" } else { "0" };
    let unknown = format!("ak_{digit}{}", &text[4..]);
    for text in ["", "ak_", "no key", &unknown, &disabled_text, &expired] {
        let status = log_in(&server, text).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (expected.code(), expected.message()), "{text}");
    }
}

pub(crate) async fn disabled_key_ends_its_tokens_and_passports(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    let (_, other) = add(&server, "", None).await;
    let (ended, kept) = (token(&server, &text).await, token(&server, &other).await);
    let passport = check(&server, &ended).await.1;
    admin(&server.auth.store).disable_api_key(&key.id).await.unwrap();
    assert!(!server.is_active(&ended).await);
    let state = server.auth.state.current().await.unwrap();
    assert!(server.auth.verify_passport(&passport, "catalog", &state).is_err());
    assert!(server.is_active(&kept).await, "that of another key");
    admin(&server.auth.store).enable_api_key(&key.id).await.unwrap();
    assert!(server.is_active(&token(&server, &text).await).await);
    assert!(!server.is_active(&ended).await);
}

pub(crate) async fn token_ends_no_later_than_its_key(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (_, text) = add(&server, "", Some(Duration::from_mins(1))).await;
    assert!(log_in(&server, &text).await.unwrap().expires_in.unwrap().seconds <= 60);
}

/// Makes a successor of a key; its text.
async fn rotate(server: &Server, id: &str, overlap: Duration) -> String {
    let mut text = String::new();
    let keep = |key: &str| {
        key.clone_into(&mut text);
        Ok(())
    };
    let admin = admin(&server.auth.store);
    admin.rotate_api_key(id, overlap, &server.auth.encryption_key, keep).await.unwrap();
    text
}

pub(crate) async fn rotated_key_is_valid_beside_its_successor_during_the_overlap(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "catalog.products.read", None).await;
    let before = token(&server, &text).await;
    let successor = rotate(&server, &key.id, Duration::from_mins(1)).await;
    assert!(check(&server, &token(&server, &successor).await).await.0);
    assert!(!server.is_active(&before).await, "it would outlive its key");
    assert!(log_in(&server, &text).await.unwrap().expires_in.unwrap().seconds <= 60);
}

pub(crate) async fn rotated_key_whose_overlap_is_a_day_ends_no_token_until_it_is_disabled(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    let before = token(&server, &text).await;
    rotate(&server, &key.id, 24 * HOUR).await;
    assert!(server.is_active(&before).await);
    admin(&server.auth.store).disable_api_key(&key.id).await.unwrap();
    assert!(!server.is_active(&before).await);
}

/// The token of whoever is believed about its callers.
pub(crate) async fn gateway_token(server: &Server) -> String {
    let edge = principal("edge", Kind::Service, &["accord-gateway"]);
    let added = admin(&server.auth.store).add_client(&edge, || Ok(MESH_SECRET.to_owned())).await;
    assert!(added.is_ok(), "{added:?}");
    server.token_of("edge").await
}

pub(crate) async fn wrong_keys_from_one_address_are_throttled(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    let wrong = format!("{}_{}", key.id, "A".repeat(43));
    let gateway = gateway_token(&server).await;
    let try_from = async |key: &str, address: &str| {
        let api_key = ApiKeyGrant { key: key.to_owned() };
        let message = IssueForRequest { credential: Some(Credential::ApiKey(api_key)), address: address.to_owned() };
        server.tokens().issue_for(authorized(message, &gateway)).await
    };
    let mut reasons = Vec::new();
    for _ in 0..30 {
        reasons.push(refused(try_from(&wrong, "192.0.2.1").await));
    }
    assert!(reasons[..20].iter().all(|reason| *reason == Reason::CredentialInvalid), "{reasons:?}");
    assert!(reasons[20..].contains(&Reason::LoginThrottled), "{reasons:?}");
    assert!(try_from(&text, "192.0.2.2").await.is_ok(), "from elsewhere");
    assert_eq!(refused(try_from(&text, "").await), Reason::FieldInvalid);
}

pub(crate) async fn nobody_but_the_gateway_gets_tokens_for_others(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (_, text) = add(&server, "", None).await;
    let message = IssueForRequest {
        credential: Some(Credential::ApiKey(ApiKeyGrant { key: text })),
        address: "192.0.2.1".to_owned(),
    };
    for token in [server.mesh_token().await, server.token_of("root").await, server.token_of("ada").await] {
        let asked = server.tokens().issue_for(authorized(message.clone(), &token)).await;
        assert_eq!(refused(asked), Reason::PermissionMissing);
    }
    let asked = server.tokens().issue_for(authorized(message, &gateway_token(&server).await)).await;
    let token = asked.unwrap().into_inner().access_token;
    assert!(check(&server, &token).await.0);
}

pub(crate) async fn rotated_key_is_refused_after_the_overlap(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", Some(HOUR)).await;
    let successor = rotate(&server, &key.id, Duration::ZERO).await;
    assert_eq!(refused(log_in(&server, &text).await), Reason::CredentialInvalid);
    assert!(server.is_active(&token(&server, &successor).await).await);
}

pub(crate) async fn removed_key_and_key_of_a_removed_subject_are_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ((key, text), (other, other_text)) = (add(&server, "", None).await, add(&server, "", None).await);
    let ended = token(&server, &text).await;
    admin(&server.auth.store).remove_api_key(&key.id).await.unwrap();
    assert!(!server.is_active(&ended).await);
    assert_eq!(refused(log_in(&server, &text).await), Reason::CredentialInvalid);
    admin(&server.auth.store).remove("ada").await.unwrap();
    assert_eq!(refused(log_in(&server, &other_text).await), Reason::CredentialInvalid);
    assert!(admin(&server.auth.store).api_key(&other.id).await.is_err());
}

pub(crate) async fn use_of_a_key_is_written_down_once_a_minute(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    token(&server, &text).await;
    let used_at = async || admin(&server.auth.store).api_key(&key.id).await.unwrap().used_at;
    let written = async {
        while used_at().await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("the use is written down");
    let first = used_at().await;
    token(&server, &text).await;
    assert_eq!(used_at().await, first);
}

pub(crate) async fn store_holds_no_secret_of_a_key(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, text) = add(&server, "", None).await;
    let mut backup = Vec::new();
    server.auth.store.backup(&mut backup).await.unwrap();
    let backup = String::from_utf8(backup).unwrap();
    assert!(backup.contains(&key.id) && !backup.contains(text.strip_prefix(&key.id).unwrap()));
}

pub(crate) async fn key_is_refused_while_the_store_is_down(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (_, text) = add(&server, "", None).await;
    server.auth.store.close().await;
    assert_eq!(refused(log_in(&server, &text).await), Reason::AuthUnavailable);
}

pub(crate) async fn changes_of_keys_are_audited(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (key, _) = add(&server, "", None).await;
    rotate(&server, &key.id, HOUR).await;
    let admin = admin(&server.auth.store);
    admin.disable_api_key(&key.id).await.unwrap();
    admin.enable_api_key(&key.id).await.unwrap();
    admin.remove_api_key(&key.id).await.unwrap();
    let (log, _) = server.auth.store.audit_log().await.unwrap();
    let of_keys = log.iter().filter(|entry| entry.action.starts_with("api_key."));
    let actions: Vec<_> = of_keys.map(|entry| entry.action.as_str()).collect();
    let wanted = ["api_key.add", "api_key.rotate", "api_key.disable", "api_key.enable", "api_key.remove"];
    assert_eq!(actions, wanted);
}

/// An administrator who is at the service.
struct Administrator(AdminServiceClient<Channel>, String);

impl Administrator {
    async fn of(server: &Server) -> Self {
        Self(AdminServiceClient::new(server.channel.clone()), server.token_of("root").await)
    }

    async fn add(&mut self, scope: &str, idempotency_key: &str) -> Result<AddApiKeyResponse, Status> {
        let request = AddApiKeyRequest {
            subject: "ada".to_owned(),
            note: "nightly".to_owned(),
            scope: scope.to_owned(),
            lifetime: None,
            idempotency_key: idempotency_key.to_owned(),
        };
        self.0.add_api_key(authorized(request, &self.1)).await.map(tonic::Response::into_inner)
    }

    async fn rotate(&mut self, id: &str, version: u64, key: &str) -> Result<RotateApiKeyResponse, Status> {
        let request = RotateApiKeyRequest {
            api_key_id: id.to_owned(),
            expected_version: version,
            idempotency_key: key.to_owned(),
            overlap: None,
        };
        self.0.rotate_api_key(authorized(request, &self.1)).await.map(tonic::Response::into_inner)
    }

    async fn set_standing(&mut self, id: &str, standing: Standing, version: u64) -> Result<(), Status> {
        let request = SetApiKeyStandingRequest {
            api_key_id: id.to_owned(),
            standing: standing.into(),
            expected_version: version,
            idempotency_key: String::new(),
        };
        self.0.set_api_key_standing(authorized(request, &self.1)).await.map(drop)
    }

    async fn get(&mut self, id: &str) -> Result<WireApiKey, Status> {
        let request = GetApiKeyRequest { api_key_id: id.to_owned() };
        let answer = self.0.get_api_key(authorized(request, &self.1)).await?.into_inner();
        Ok(answer.api_key.unwrap())
    }

    async fn list(&mut self, page_size: i32, page_token: String, subject: &str) -> ListApiKeysResponse {
        let request = ListApiKeysRequest { page_size, page_token, subject: subject.to_owned() };
        self.0.list_api_keys(authorized(request, &self.1)).await.unwrap().into_inner()
    }
}

pub(crate) async fn key_made_over_the_network_is_shown_without_its_secret(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let made = root.add("catalog.products.read", "").await.unwrap();
    assert!(check(&server, &token(&server, &made.key).await).await.0);
    let shown = root.get(&made.api_key.unwrap().api_key_id).await.unwrap();
    let said = (&*shown.subject, &*shown.note, &*shown.scope, shown.standing(), shown.version);
    assert_eq!(said, ("ada", "nightly", "catalog.products.read", Standing::Active, 1));
    let secret = made.key.strip_prefix(&shown.api_key_id).unwrap();
    assert!(!format!("{shown:?}").contains(secret));
}

pub(crate) async fn key_made_again_with_its_idempotency_key_has_the_same_text(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let first = root.add("", "k1").await.unwrap();
    assert_eq!(root.add("", "k1").await.unwrap(), first);
    assert_eq!(refused(root.add("orders.read", "k1").await), Reason::IdempotencyKeyReused);
    assert_ne!(root.add("", "k2").await.unwrap().key, first.key);
    assert_ne!(root.add("", "").await.unwrap().key, root.add("", "").await.unwrap().key);
}

pub(crate) async fn key_rotated_again_with_its_idempotency_key_has_the_same_successor(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let made = root.add("", "").await.unwrap();
    let id = made.api_key.unwrap().api_key_id;
    let successor = root.rotate(&id, 1, "k1").await.unwrap();
    assert_eq!(root.rotate(&id, 1, "k1").await.unwrap(), successor);
    assert_eq!(refused(root.rotate(&id, 1, "k2").await), Reason::VersionConflict);
    for key in [made.key, successor.key] {
        assert!(server.is_active(&token(&server, &key).await).await);
    }
    assert_eq!(root.get(&id).await.unwrap().expire_time, successor.earlier_key_until);
}

pub(crate) async fn standing_of_a_key_changes_at_the_version_that_was_seen(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let made = root.add("", "").await.unwrap();
    let (id, before) = (made.api_key.unwrap().api_key_id, token(&server, &made.key).await);
    root.set_standing(&id, Standing::Disabled, 1).await.unwrap();
    assert!(!server.is_active(&before).await);
    assert_eq!(refused(log_in(&server, &made.key).await), Reason::CredentialInvalid);
    assert_eq!(refused(root.set_standing(&id, Standing::Active, 1).await), Reason::VersionConflict);
    root.set_standing(&id, Standing::Active, 2).await.unwrap();
    assert!(log_in(&server, &made.key).await.is_ok());
    assert_eq!(refused(root.set_standing(&id, Standing::Unspecified, 0).await), Reason::FieldInvalid);
    root.set_standing(&id, Standing::Removed, 0).await.unwrap();
    assert_eq!(refused(root.get(&id).await), Reason::SubjectUnknown);
}

pub(crate) async fn pages_of_keys_name_each_once_in_order(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(root.add("", "").await.unwrap().api_key.unwrap().api_key_id);
    }
    made.sort();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = root.list(2, page_token, "ada").await;
        listed.extend(page.api_keys.into_iter().map(|key| key.api_key_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, made);
    assert_eq!(root.list(0, String::new(), "root").await.api_keys, []);
}

pub(crate) async fn key_of_nobody_and_key_with_a_malformed_scope_are_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    assert_eq!(refused(root.add("\"", "").await), Reason::FieldInvalid);
    let nobody = AddApiKeyRequest { subject: "nobody".to_owned(), ..AddApiKeyRequest::default() };
    let nobody = root.0.add_api_key(authorized(nobody, &root.1)).await;
    assert_eq!(refused(nobody), Reason::SubjectUnknown);
    assert_eq!(refused(root.rotate("ak_0123456789abcdef", 0, "").await), Reason::SubjectUnknown);
}
