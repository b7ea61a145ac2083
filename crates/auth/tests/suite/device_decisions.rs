//! Devices that people and administrators see and decide about by gRPC.

use std::net::IpAddr;

use accord_api::accord::{
    auth::v1::{
        ApproveDeviceRequest, CancelDeviceRequest, ClaimDeviceRequest, DenyDeviceRequest, Device as Shown,
        ListDevicesRequest, ListOwnDevicesRequest, account_service_client::AccountServiceClient,
    },
    fault::v1::Reason,
};
use accord_token::Kind;
use tonic::{Request, Status, transport::Channel};

use super::{
    Database, PASSWORD, Server, admin,
    admin_service::Administrator,
    authorized,
    device::{Device, error, impatient, ticket},
    principal, refused,
};

/// Somebody with a token.
struct Person {
    service: AccountServiceClient<Channel>,
    token: String,
}

impl Person {
    async fn of(server: &Server, name: &str) -> Self {
        Self { service: AccountServiceClient::new(server.channel.clone()), token: server.token_of(name).await }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        authorized(message, &self.token)
    }

    async fn claim(&mut self, user_code: &str) -> Result<Shown, Status> {
        let request = self.ask(ClaimDeviceRequest { user_code: user_code.to_owned() });
        Ok(self.service.claim_device(request).await?.into_inner().device.unwrap())
    }

    async fn approve(&mut self, user_code: &str, password: &str) -> Result<Shown, Status> {
        let (user_code, password) = (user_code.to_owned(), password.to_owned());
        let request = self.ask(ApproveDeviceRequest { user_code, password, totp_code: String::new() });
        Ok(self.service.approve_device(request).await?.into_inner().device.unwrap())
    }

    async fn deny(&mut self, user_code: &str) -> Result<(), Status> {
        let request = self.ask(DenyDeviceRequest { user_code: user_code.to_owned() });
        self.service.deny_device(request).await.map(drop)
    }

    /// Their own, by code, and whether they have approved them.
    async fn own(&mut self) -> Vec<(String, bool)> {
        let request = self.ask(ListOwnDevicesRequest {});
        let devices = self.service.list_own_devices(request).await.unwrap().into_inner().devices;
        devices.into_iter().map(|device| (device.user_code, device.approved)).collect()
    }
}

impl Administrator {
    async fn cancel(&mut self, user_code: &str, key: &str) -> Result<(), Status> {
        let request = CancelDeviceRequest { user_code: user_code.to_owned(), idempotency_key: key.to_owned() };
        let request = self.ask(request);
        self.service.cancel_device(request).await.map(drop)
    }

    /// All devices, two on a page.
    async fn devices(&mut self, subject: &str) -> Vec<Shown> {
        let (mut devices, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = self.ask(ListDevicesRequest { page_size: 2, page_token, subject: subject.to_owned() });
            let page = self.service.list_devices(request).await.unwrap().into_inner();
            devices.extend(page.devices);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return devices;
            }
        }
    }
}

pub(crate) async fn device_is_claimed_by_token_and_approved_with_the_password(database: Database) {
    let server = Server::start(&database, impatient).await;
    let (device, mut ada) = (Device::start(&server).await, Person::of(&server, "ada").await);
    let shown = ada.claim(&device.user_code.to_lowercase()).await.unwrap();
    let seen = (&*shown.user_code, &*shown.client_id, &*shown.network, &*shown.subject, shown.approved);
    assert_eq!(seen, (&*device.user_code, "shop-cli", "127.0.0.1", "ada", false));
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
    assert!(ada.approve(&device.user_code, PASSWORD).await.unwrap().approved);
    let given = device.poll().await;
    assert!(server.is_active(&given.text("access_token")).await);
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert!(entries.iter().any(|entry| entry.action == "device.approve" && entry.target == "ada shop-cli"));
}

pub(crate) async fn device_is_approved_by_no_token_without_the_password(database: Database) {
    let server = Server::start(&database, impatient).await;
    let (device, mut ada) = (Device::start(&server).await, Person::of(&server, "ada").await);
    assert_eq!(refused(ada.approve(&device.user_code, "").await), Reason::CredentialInvalid);
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
}

pub(crate) async fn administrator_approves_no_device_in_another_persons_name(database: Database) {
    let server = Server::start(&database, impatient).await;
    let grace = principal("grace", Kind::User, &["accord-admin"]);
    admin(&server.auth.store).add_principal(&grace, Some("grace's password")).await.unwrap();
    let (device, mut ada) = (Device::start(&server).await, Person::of(&server, "ada").await);
    ada.claim(&device.user_code).await.unwrap();
    let mut grace = Person::of(&server, "grace").await;
    assert_eq!(refused(grace.approve(&device.user_code, PASSWORD).await), Reason::CredentialInvalid, "ada's password");
    assert_eq!(grace.approve(&device.user_code, "grace's password").await.unwrap().subject, "grace");
    let token = device.poll().await.text("access_token");
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(server.auth.verify_access_token(&token, &state).unwrap().claims.sub, "grace", "and nobody else");
}

pub(crate) async fn device_that_a_person_denies_gets_nothing_even_where_they_had_approved_it(database: Database) {
    let server = Server::start(&database, impatient).await;
    let mut ada = Person::of(&server, "ada").await;
    for is_approved in [false, true] {
        let device = Device::start(&server).await;
        if is_approved {
            ada.approve(&device.user_code, PASSWORD).await.unwrap();
        }
        ada.deny(&device.user_code).await.unwrap();
        assert_eq!(device.poll().await.error(), error(400, "access_denied"), "{is_approved}");
        assert_eq!(refused(ada.approve(&device.user_code, PASSWORD).await), Reason::FieldInvalid, "it is over");
    }
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.action == "device.deny" && entry.actor == "ada").count(), 2);
}

pub(crate) async fn device_that_another_person_has_approved_is_not_denied(database: Database) {
    let server = Server::start(&database, impatient).await;
    let (device, mut root) = (Device::start(&server).await, Person::of(&server, "root").await);
    Person::of(&server, "ada").await.approve(&device.user_code, PASSWORD).await.unwrap();
    assert_eq!(refused(root.deny(&device.user_code).await), Reason::FieldInvalid);
    assert_eq!(device.poll().await.status, 200);
}

pub(crate) async fn person_lists_the_devices_that_they_have_claimed_or_approved_alone(database: Database) {
    let server = Server::start(&database, impatient).await;
    let (claimed, approved, other) =
        (Device::start(&server).await, Device::start(&server).await, Device::start(&server).await);
    let (mut ada, mut root) = (Person::of(&server, "ada").await, Person::of(&server, "root").await);
    ada.claim(&claimed.user_code).await.unwrap();
    ada.approve(&approved.user_code, PASSWORD).await.unwrap();
    root.claim(&other.user_code).await.unwrap();
    let mut expected = vec![(claimed.user_code.clone(), false), (approved.user_code.clone(), true)];
    expected.sort();
    assert_eq!(ada.own().await, expected);
    assert_eq!(approved.poll().await.status, 200);
    assert_eq!(ada.own().await, [(claimed.user_code.clone(), false)], "what has its tokens is a login");
    root.claim(&claimed.user_code).await.unwrap();
    assert_eq!(ada.own().await, [], "somebody else has claimed it");
}

pub(crate) async fn claim_by_token_ends_the_page_that_was_open(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    let ticket = ticket(&device.prove("ada", PASSWORD).await);
    Person::of(&server, "root").await.claim(&device.user_code).await.unwrap();
    assert_eq!(device.decide(&ticket, "allow").await.status, 400);
    assert_eq!(device.poll().await.error(), error(400, "authorization_pending"));
}

pub(crate) async fn guesses_of_user_codes_by_token_are_throttled(database: Database) {
    let server = Server::start(&database, impatient).await;
    let (device, mut ada) = (Device::start(&server).await, Person::of(&server, "ada").await);
    let home: IpAddr = [127, 0, 0, 1].into();
    for _ in 0..4 {
        server.auth.throttle.count_attempt("ada (device codes)", home).unwrap();
    }
    ada.claim(&device.user_code).await.unwrap();
    assert_eq!(refused(ada.deny("BCDF-GHJK").await), Reason::FieldInvalid);
    for refusal in [ada.claim(&device.user_code).await.map(drop), ada.deny(&device.user_code).await] {
        assert_eq!(refused(refusal), Reason::LoginThrottled);
    }
}

pub(crate) async fn program_and_stranger_decide_about_no_device(database: Database) {
    let server = Server::start(&database, impatient).await;
    let device = Device::start(&server).await;
    let mut program = Person::of(&server, "gateway").await;
    assert_eq!(refused(program.claim(&device.user_code).await), Reason::PrincipalKindRefused);
    assert_eq!(refused(program.deny(&device.user_code).await), Reason::PrincipalKindRefused);
    let ada = Person::of(&server, "ada").await;
    let listed = ada.ask(ListDevicesRequest::default());
    let mut service = Administrator::of(&server).await.service;
    assert_eq!(refused(service.list_devices(listed).await), Reason::PermissionMissing);
}

pub(crate) async fn administrator_lists_open_devices_in_pages_and_cancels_them(database: Database) {
    let server = Server::start(&database, impatient).await;
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(Device::start(&server).await);
    }
    devices.sort_by(|one, other| one.user_code.cmp(&other.user_code));
    let (mut root, mut ada) = (Administrator::of(&server).await, Person::of(&server, "ada").await);
    ada.approve(&devices[0].user_code, PASSWORD).await.unwrap();
    let listed = root.devices("").await;
    let codes: Vec<_> = listed.iter().map(|device| &device.user_code).collect();
    assert_eq!(codes, devices.iter().map(|device| &device.user_code).collect::<Vec<_>>());
    assert_eq!(listed[0].subject, "ada");
    assert_eq!(root.devices("ada").await.len(), 1);
    for device in &devices[..2] {
        root.cancel(&device.user_code, "").await.unwrap();
        assert_eq!(device.poll().await.error(), error(400, "access_denied"), "approved or not");
        assert_eq!(refused(root.cancel(&device.user_code, "").await), Reason::FieldInvalid);
    }
    assert_eq!(root.devices("").await.len(), 3);
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.action == "device.deny" && entry.actor == "root").count(), 2);
}

pub(crate) async fn cancellation_repeated_with_its_idempotency_key_is_no_error(database: Database) {
    let server = Server::start(&database, impatient).await;
    let (device, mut root) = (Device::start(&server).await, Administrator::of(&server).await);
    for _ in 0..2 {
        root.cancel(&device.user_code, "k1").await.unwrap();
    }
    assert_eq!(refused(root.cancel("BCDF-GHJK", "k1").await), Reason::IdempotencyKeyReused);
}

pub(crate) async fn ended_device_is_neither_listed_nor_decided_about(database: Database) {
    let server = Server::start(&database, |config| {
        impatient(config);
        config.oauth.device.lifetime = std::time::Duration::ZERO;
    })
    .await;
    let device = Device::start(&server).await;
    let (mut ada, mut root) = (Person::of(&server, "ada").await, Administrator::of(&server).await);
    assert_eq!(root.devices("").await, []);
    let refusals = [
        ada.claim(&device.user_code).await.map(drop),
        ada.approve(&device.user_code, PASSWORD).await.map(drop),
        ada.deny(&device.user_code).await,
        root.cancel(&device.user_code, "").await,
    ];
    for refusal in refusals {
        assert_eq!(refused(refusal), Reason::FieldInvalid);
    }
}
