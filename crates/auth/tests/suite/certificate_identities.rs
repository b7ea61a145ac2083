//! Certificate identities.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{
        AddCertificateIdentityRequest, ApiKeyGrant, CertificateGrant, CertificateIdentity as WireCertificateIdentity,
        GetCertificateIdentityRequest, IssueForRequest, ListCertificateIdentitiesRequest,
        ListCertificateIdentitiesResponse, SetCertificateIdentityStandingRequest, Standing,
        admin_service_client::AdminServiceClient, issue_for_request::Credential,
    },
    fault::v1::Reason,
};
use accord_auth::{domain::admin::CertificateIdentityOrder, store::certificate_identities::CertificateIdentity};
use tonic::{Status, transport::Channel};

use super::{
    Database, Server, admin,
    api_keys::{check, gateway_token},
    authorized, refused,
};

const PAY: &str = "spiffe://prod.example/ns/shop/sa/pay";

/// Lets whoever shows this identity act as ada.
async fn add(server: &Server, identity: &str) -> CertificateIdentity {
    let (identity, subject, note) = (identity.to_owned(), "ada".to_owned(), "pays".to_owned());
    let order = CertificateIdentityOrder { identity, subject, note };
    admin(&server.auth.store).add_certificate_identity(order).await.unwrap()
}

/// An identity that was disabled.
pub(super) async fn add_disabled(server: &Server) -> &'static str {
    add(server, PAY).await;
    admin(&server.auth.store).disable_certificate_identity(PAY).await.unwrap();
    PAY
}

/// A gateway that says which identities it read.
pub(super) struct Gateway<'a>(pub(super) &'a Server, pub(super) String);

impl<'a> Gateway<'a> {
    async fn of(server: &'a Server) -> Self {
        Self(server, gateway_token(server).await)
    }

    async fn ask_from(&self, address: &str, credential: Credential) -> Result<String, Status> {
        let message = IssueForRequest { credential: Some(credential), address: address.to_owned() };
        let asked = self.0.tokens().issue_for(authorized(message, &self.1)).await;
        asked.map(|answer| answer.into_inner().access_token)
    }

    /// The token of whoever showed a certificate of this identity.
    pub(super) async fn token(&self, identity: &str) -> Result<String, Status> {
        self.ask_from("192.0.2.1", Credential::Certificate(CertificateGrant { identity: identity.to_owned() })).await
    }
}

pub(crate) async fn identity_that_a_gateway_read_brings_a_token_of_its_subject(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    for identity in [PAY, "dns:pay.example"] {
        add(&server, identity).await;
        assert!(check(&server, &gateway.token(identity).await.unwrap()).await.0, "{identity}");
    }
}

pub(crate) async fn nobody_but_a_gateway_gets_a_token_for_an_identity(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    add(&server, PAY).await;
    for token in [server.mesh_token().await, server.token_of("root").await, server.token_of("ada").await] {
        assert_eq!(refused(Gateway(&server, token).token(PAY).await), Reason::PermissionMissing);
    }
}

pub(crate) async fn identity_that_is_unknown_disabled_or_malformed_is_refused_alike(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    let known = add(&server, PAY).await;
    admin(&server.auth.store).disable_certificate_identity(PAY).await.unwrap();
    let expected = gateway.token("spiffe://prod.example/nobody").await.unwrap_err();
    assert_eq!(refused::<()>(Err(expected.clone())), Reason::CredentialInvalid);
    let upper = PAY.to_ascii_uppercase();
    for identity in [PAY, "", "spiffe://prod.example", "dns:Pay.example", "ada", &upper, &known.id] {
        let status = gateway.token(identity).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (expected.code(), expected.message()), "{identity}");
    }
}

pub(crate) async fn unknown_identities_from_one_address_are_throttled_apart_from_keys(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    add(&server, PAY).await;
    let mut reasons = Vec::new();
    for number in 0..30 {
        reasons.push(refused(gateway.token(&format!("dns:{number}.example")).await));
    }
    assert!(reasons[..20].iter().all(|reason| *reason == Reason::CredentialInvalid), "{reasons:?}");
    assert!(reasons[20..].contains(&Reason::LoginThrottled), "{reasons:?}");
    let certificate = |identity: &str| Credential::Certificate(CertificateGrant { identity: identity.to_owned() });
    assert!(gateway.ask_from("192.0.2.2", certificate(PAY)).await.is_ok(), "from elsewhere");
    let key = Credential::ApiKey(ApiKeyGrant { key: "ak_0123456789abcdef_secret".to_owned() });
    assert_eq!(refused(gateway.ask_from("192.0.2.1", key).await), Reason::CredentialInvalid);
}

pub(crate) async fn disabled_identity_ends_its_tokens_and_passports(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    add(&server, PAY).await;
    add(&server, "dns:pay.example").await;
    let (ended, kept) = (gateway.token(PAY).await.unwrap(), gateway.token("dns:pay.example").await.unwrap());
    let passport = check(&server, &ended).await.1;
    admin(&server.auth.store).disable_certificate_identity(PAY).await.unwrap();
    assert!(!server.is_active(&ended).await);
    let state = server.auth.state.current().await.unwrap();
    assert!(server.auth.verify_passport(&passport, "catalog", &state).is_err());
    assert!(server.is_active(&kept).await, "that of another identity");
    admin(&server.auth.store).enable_certificate_identity(PAY).await.unwrap();
    assert!(server.is_active(&gateway.token(PAY).await.unwrap()).await);
    assert!(!server.is_active(&ended).await);
}

pub(crate) async fn removed_identity_that_is_added_again_revives_no_token(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    add(&server, PAY).await;
    let ended = gateway.token(PAY).await.unwrap();
    admin(&server.auth.store).remove_certificate_identity(PAY).await.unwrap();
    assert_eq!(refused(gateway.token(PAY).await), Reason::CredentialInvalid);
    add(&server, PAY).await;
    assert!(server.is_active(&gateway.token(PAY).await.unwrap()).await);
    assert!(!server.is_active(&ended).await);
}

pub(crate) async fn identity_of_a_subject_that_is_disabled_or_removed_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (gateway, admin) = (Gateway::of(&server).await, admin(&server.auth.store));
    add(&server, PAY).await;
    admin.disable("ada").await.unwrap();
    assert_eq!(refused(gateway.token(PAY).await), Reason::CredentialInvalid);
    admin.enable("ada").await.unwrap();
    let ended = gateway.token(PAY).await.unwrap();
    admin.remove("ada").await.unwrap();
    assert!(!server.is_active(&ended).await);
    assert_eq!(refused(gateway.token(PAY).await), Reason::CredentialInvalid);
    assert!(admin.certificate_identity(PAY).await.is_err());
}

pub(crate) async fn use_of_an_identity_is_written_down(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    add(&server, PAY).await;
    gateway.token(PAY).await.unwrap();
    let written = async {
        while admin(&server.auth.store).certificate_identity(PAY).await.unwrap().used_at == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("the use is written down");
}

pub(crate) async fn identity_is_refused_while_the_store_is_down(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let gateway = Gateway::of(&server).await;
    add(&server, PAY).await;
    server.auth.store.close().await;
    assert_eq!(refused(gateway.token(PAY).await), Reason::AuthUnavailable);
}

/// An administrator who is at the service.
struct Administrator(AdminServiceClient<Channel>, String);

impl Administrator {
    async fn of(server: &Server) -> Self {
        Self(AdminServiceClient::new(server.channel.clone()), server.token_of("root").await)
    }

    async fn add(&mut self, identity: &str, subject: &str, key: &str) -> Result<WireCertificateIdentity, Status> {
        let request = AddCertificateIdentityRequest {
            identity: identity.to_owned(),
            subject: subject.to_owned(),
            note: "pays".to_owned(),
            idempotency_key: key.to_owned(),
        };
        let added = self.0.add_certificate_identity(authorized(request, &self.1)).await?;
        Ok(added.into_inner().certificate_identity.unwrap())
    }

    async fn get(&mut self, name: &str) -> Result<WireCertificateIdentity, Status> {
        let request = GetCertificateIdentityRequest { certificate_identity_id: name.to_owned() };
        let found = self.0.get_certificate_identity(authorized(request, &self.1)).await?;
        Ok(found.into_inner().certificate_identity.unwrap())
    }

    async fn set_standing(&mut self, name: &str, standing: Standing, version: u64) -> Result<(), Status> {
        let request = SetCertificateIdentityStandingRequest {
            certificate_identity_id: name.to_owned(),
            standing: standing.into(),
            expected_version: version,
            idempotency_key: String::new(),
        };
        self.0.set_certificate_identity_standing(authorized(request, &self.1)).await.map(drop)
    }

    async fn list(&mut self, page_size: i32, page_token: String, subject: &str) -> ListCertificateIdentitiesResponse {
        let request = ListCertificateIdentitiesRequest { page_size, page_token, subject: subject.to_owned() };
        self.0.list_certificate_identities(authorized(request, &self.1)).await.unwrap().into_inner()
    }
}

pub(crate) async fn identity_is_one_subjects_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let added = root.add(PAY, "ada", "").await.unwrap();
    let said = (&*added.identity, &*added.subject, &*added.note, added.standing(), added.version);
    assert_eq!(said, (PAY, "ada", "pays", Standing::Active, 1));
    assert_eq!(refused(root.add(PAY, "root", "").await), Reason::SubjectExists);
    assert_eq!(refused(root.add("dns:pay.example", "nobody", "").await), Reason::SubjectUnknown);
    for name in [PAY, &added.certificate_identity_id] {
        assert_eq!(root.get(name).await.unwrap(), added, "{name}");
    }
}

pub(crate) async fn identity_that_no_certificate_has_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    for identity in ["", "pay", "spiffe://prod.example", "spiffe://prod.example/a/../b", "dns:Pay", "dns:*.example"] {
        assert_eq!(refused(root.add(identity, "ada", "").await), Reason::FieldInvalid, "{identity}");
    }
}

pub(crate) async fn identity_added_again_with_its_idempotency_key_is_added_once(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let first = root.add(PAY, "ada", "k1").await.unwrap();
    assert_eq!(root.add(PAY, "ada", "k1").await.unwrap(), first);
    assert_eq!(refused(root.add(PAY, "root", "k1").await), Reason::IdempotencyKeyReused);
    assert_eq!(refused(root.add(PAY, "ada", "k2").await), Reason::SubjectExists);
}

pub(crate) async fn standing_of_an_identity_changes_at_the_version_that_was_seen(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (mut root, gateway) = (Administrator::of(&server).await, Gateway::of(&server).await);
    let id = root.add(PAY, "ada", "").await.unwrap().certificate_identity_id;
    root.set_standing(&id, Standing::Disabled, 1).await.unwrap();
    assert_eq!(refused(gateway.token(PAY).await), Reason::CredentialInvalid);
    assert_eq!(refused(root.set_standing(&id, Standing::Active, 1).await), Reason::VersionConflict);
    root.set_standing(PAY, Standing::Active, 2).await.unwrap();
    assert!(gateway.token(PAY).await.is_ok());
    assert_eq!(refused(root.set_standing(&id, Standing::Unspecified, 0).await), Reason::FieldInvalid);
    root.set_standing(&id, Standing::Removed, 0).await.unwrap();
    assert_eq!(refused(root.get(&id).await), Reason::SubjectUnknown);
}

pub(crate) async fn pages_of_identities_name_each_once_in_order(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let names = ["a", "b", "c", "d", "e"].map(|name| format!("spiffe://prod.example/{name}"));
    for name in names.iter().rev() {
        root.add(name, "ada", "").await.unwrap();
    }
    root.add("spiffe://prod.example/root", "root", "").await.unwrap();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = root.list(2, page_token, "ada").await;
        listed.extend(page.certificate_identities.into_iter().map(|known| known.identity));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, names);
    assert_eq!(root.list(0, String::new(), "").await.certificate_identities.len(), 6);
}

pub(crate) async fn changes_of_identities_are_audited(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    add(&server, PAY).await;
    let admin = admin(&server.auth.store);
    admin.disable_certificate_identity(PAY).await.unwrap();
    admin.enable_certificate_identity(PAY).await.unwrap();
    admin.remove_certificate_identity(PAY).await.unwrap();
    let (log, _) = server.auth.store.audit_log().await.unwrap();
    let of_identities = log.iter().filter_map(|entry| entry.action.strip_prefix("certificate_identity."));
    assert_eq!(of_identities.collect::<Vec<_>>(), ["add", "disable", "enable", "remove"]);
}
