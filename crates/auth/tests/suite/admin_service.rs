//! What administrators see and change by gRPC.

use accord_api::accord::{
    auth::v1::{
        AddClientRequest, AddPrincipalRequest, ChangeRolesRequest, EndOwnSessionRequest, EndSessionRequest,
        ExchangeRequest, ExplainRequest, ListAuditEntriesRequest, ListOwnSessionsRequest, ListPrincipalsRequest,
        ListSessionsRequest, ManagedPrincipal, Principal as WirePrincipal, RefreshRequest, RotateClientRequest,
        SetStandingRequest, Standing, access_service_client::AccessServiceClient,
        account_service_client::AccountServiceClient, admin_service_client::AdminServiceClient,
    },
    policy::v1::PrincipalKind,
};

use super::*;

pub(super) struct Administrator {
    pub(super) service: AdminServiceClient<Channel>,
    token: String,
}

impl Administrator {
    pub(super) async fn of(server: &Server) -> Self {
        Self { service: AdminServiceClient::new(server.channel.clone()), token: server.token_of("root").await }
    }

    pub(super) fn ask<T>(&self, message: T) -> Request<T> {
        authorized(message, &self.token)
    }

    async fn add_client(&mut self, id: &str, roles: &[&str], key: &str) -> Result<String, Status> {
        let request = AddClientRequest {
            client_id: id.to_owned(),
            roles: roles.iter().map(ToString::to_string).collect(),
            idempotency_key: key.to_owned(),
            ..AddClientRequest::default()
        };
        let request = self.ask(request);
        Ok(self.service.add_client(request).await?.into_inner().client_secret)
    }

    async fn set_standing(&mut self, subject: &str, standing: Standing, version: u64) -> Result<(), Status> {
        let request = SetStandingRequest {
            subject: subject.to_owned(),
            standing: standing.into(),
            expected_version: version,
            ..SetStandingRequest::default()
        };
        let request = self.ask(request);
        self.service.set_standing(request).await.map(drop)
    }

    async fn grant(&mut self, subject: &str, role: &str, version: u64) -> Result<ManagedPrincipal, Status> {
        let request = ChangeRolesRequest {
            subject: subject.to_owned(),
            grant: vec![role.to_owned()],
            expected_version: version,
            ..ChangeRolesRequest::default()
        };
        let request = self.ask(request);
        Ok(self.service.change_roles(request).await?.into_inner().principal.unwrap())
    }
}

pub(crate) async fn person_without_the_role_administers_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut service = AdminServiceClient::new(server.channel.clone());
    let request = authorized(ListPrincipalsRequest::default(), &server.token_of("ada").await);
    assert_eq!(refused(service.list_principals(request).await), Reason::PermissionMissing);
}

pub(crate) async fn pages_of_principals_name_each_once_in_order(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    for number in 0..5 {
        let person = principal(&format!("person-{number}"), Kind::User, &[]);
        admin(&server.auth.store).add_principal(&person, None).await.unwrap();
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = root.ask(ListPrincipalsRequest { page_size: 3, page_token, clients_only: false });
        let page = root.service.list_principals(request).await.unwrap().into_inner();
        names.extend(page.principals.into_iter().map(|managed| managed.principal.unwrap().subject));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected = ["ada", "gateway", "person-0", "person-1", "person-2", "person-3", "person-4", "root"];
    assert_eq!(names, expected);
}

pub(crate) async fn page_token_that_was_not_given_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    for (page_size, page_token) in [(0, "?"), (501, ""), (-1, "")] {
        let request = ListPrincipalsRequest { page_size, page_token: page_token.to_owned(), clients_only: false };
        let request = root.ask(request);
        assert_eq!(refused(root.service.list_principals(request).await), Reason::FieldInvalid, "{page_size}");
    }
}

pub(crate) async fn added_person_can_log_in_with_the_password(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let bob = WirePrincipal {
        subject: "bob".to_owned(),
        kind: PrincipalKind::User.into(),
        tenant: "north".to_owned(),
        roles: vec!["catalog-reader".to_owned()],
    };
    let request = AddPrincipalRequest {
        principal: Some(bob.clone()),
        password: "a long password".to_owned(),
        idempotency_key: String::new(),
    };
    let added = root.service.add_principal(root.ask(request.clone())).await.unwrap().into_inner();
    assert_eq!(added.principal.unwrap().principal, Some(bob));
    assert!(server.log_in("bob", "a long password").await.is_ok());
    let again = root.ask(request);
    assert_eq!(refused(root.service.add_principal(again).await), Reason::SubjectExists);
}

pub(crate) async fn client_added_again_with_its_key_has_the_same_secret(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let secret = root.add_client("orders", &["accord-mesh"], "k1").await.unwrap();
    assert_eq!(root.add_client("orders", &["accord-mesh"], "k1").await.unwrap(), secret);
    assert!(server.log_in_client("orders", &secret).await.is_ok());
}

pub(crate) async fn key_of_another_request_is_refused_and_changes_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    root.add_client("orders", &[], "k1").await.unwrap();
    assert_eq!(refused(root.add_client("stock", &[], "k1").await), Reason::IdempotencyKeyReused);
    assert_eq!(refused(root.grant("stock", "a", 0).await), Reason::SubjectUnknown);
    assert_eq!(refused(root.add_client("stock", &[], "not visible\n").await), Reason::FieldInvalid);
}

pub(crate) async fn client_added_without_a_key_is_not_added_twice(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    root.add_client("orders", &[], "").await.unwrap();
    assert_eq!(refused(root.add_client("orders", &[], "").await), Reason::SubjectExists);
}

pub(crate) async fn rotated_client_has_a_new_secret_and_the_one_before_for_a_while(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let first = root.add_client("orders", &[], "").await.unwrap();
    let request = RotateClientRequest {
        client_id: "orders".to_owned(),
        idempotency_key: "k1".to_owned(),
        ..RotateClientRequest::default()
    };
    let rotated = root.service.rotate_client(root.ask(request.clone())).await.unwrap().into_inner();
    let again = root.service.rotate_client(root.ask(request)).await.unwrap().into_inner();
    assert_eq!(again, rotated);
    for secret in [first, rotated.client_secret] {
        assert!(server.log_in_client("orders", &secret).await.is_ok());
    }
}

pub(crate) async fn change_of_a_principal_that_changed_meanwhile_is_aborted(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let seen = root.grant("ada", "writer", 0).await.unwrap().version;
    root.grant("ada", "editor", seen).await.unwrap();
    assert_eq!(refused(root.grant("ada", "auditor", seen).await), Reason::VersionConflict);
    assert_eq!(refused(root.set_standing("ada", Standing::Disabled, seen).await), Reason::VersionConflict);
    let roles = server.auth.store.principal("ada").await.unwrap().unwrap().roles;
    assert_eq!(roles, ["catalog-reader", "editor", "writer"]);
}

pub(crate) async fn disabled_principal_is_locked_out_until_it_is_enabled(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let token = server.token_of("ada").await;
    root.set_standing("ada", Standing::Disabled, 0).await.unwrap();
    assert!(!server.is_active(&token).await && server.log_in("ada", PASSWORD).await.is_err());
    root.set_standing("ada", Standing::Active, 0).await.unwrap();
    assert!(!server.is_active(&token).await && server.log_in("ada", PASSWORD).await.is_ok());
    assert_eq!(refused(root.set_standing("nobody", Standing::Active, 0).await), Reason::SubjectUnknown);
}

pub(crate) async fn ended_session_is_renewed_no_more_and_others_are(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let [one, two] = [server.log_in("ada", PASSWORD).await.unwrap(), server.log_in("ada", PASSWORD).await.unwrap()];
    let list = ListSessionsRequest { subject: "ada".to_owned(), ..ListSessionsRequest::default() };
    let sessions = root.service.list_sessions(root.ask(list.clone())).await.unwrap().into_inner().sessions;
    assert_eq!(sessions.len(), 2);
    // The name of a login stands in its refresh tokens.
    let first = sessions.iter().find(|session| one.refresh_token.contains(&session.session)).unwrap();
    let end = EndSessionRequest { session: first.session.clone(), ..EndSessionRequest::default() };
    root.service.end_session(root.ask(end.clone())).await.unwrap();
    assert!(!server.is_active(&one.access_token).await && server.is_active(&two.access_token).await);
    let renew = |token: &str| RefreshRequest { refresh_token: token.to_owned() };
    assert!(server.tokens().refresh(renew(&one.refresh_token)).await.is_err());
    assert!(server.tokens().refresh(renew(&two.refresh_token)).await.is_ok());
    assert_eq!(root.service.list_sessions(root.ask(list)).await.unwrap().into_inner().sessions.len(), 1);
    let again = root.ask(end);
    assert_eq!(refused(root.service.end_session(again).await), Reason::SubjectUnknown);
}

pub(crate) async fn revoked_subject_has_no_session(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    server.log_in("ada", PASSWORD).await.unwrap();
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    let list = root.ask(ListSessionsRequest { subject: "ada".to_owned(), ..ListSessionsRequest::default() });
    assert_eq!(root.service.list_sessions(list).await.unwrap().into_inner().sessions, []);
}

pub(crate) async fn audit_entries_name_the_administrator_who_called(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    root.grant("ada", "writer", 0).await.unwrap();
    let list = root.ask(ListAuditEntriesRequest::default());
    let entries = root.service.list_audit_entries(list).await.unwrap().into_inner().entries;
    let newest = entries.last().unwrap();
    assert_eq!([&*newest.actor, &*newest.action, &*newest.target], ["root", "role.grant", "ada writer"]);
    let list = root.ask(ListAuditEntriesRequest { after: newest.seq });
    assert_eq!(root.service.list_audit_entries(list).await.unwrap().into_inner().entries, []);
}

pub(crate) async fn administrator_may_call_through_the_gateway_and_through_no_other_service(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let root = Administrator::of(&server).await;
    let orders = principal("orders", Kind::Service, &["accord-mesh"]);
    admin(&server.auth.store)
        .add_client(&orders, || Ok("a secret that orders has for itself".to_owned()))
        .await
        .unwrap();
    let by_orders = server.log_in_client("orders", "a secret that orders has for itself").await.unwrap().access_token;
    let by_gateway = server.mesh_token().await;
    for (caller, allowed) in [(by_gateway, true), (by_orders, false)] {
        let exchange = ExchangeRequest {
            subject_token: root.token.clone(),
            audience: "auth".to_owned(),
            ..ExchangeRequest::default()
        };
        let passport = server.tokens().exchange(authorized(exchange, &caller)).await.unwrap().into_inner().passport;
        let mut request = Request::new(ListPrincipalsRequest::default());
        request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
        let listed = AdminServiceClient::new(server.channel.clone()).list_principals(request).await;
        assert_eq!(listed.is_ok(), allowed, "{listed:?}");
    }
}

pub(crate) async fn person_added_again_with_its_key_is_added_once_and_their_password_is_not_kept(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let bob = WirePrincipal { subject: "bob".to_owned(), kind: PrincipalKind::User.into(), ..WirePrincipal::default() };
    let request = |password: &str| AddPrincipalRequest {
        principal: Some(bob.clone()),
        password: password.to_owned(),
        idempotency_key: "add-bob".to_owned(),
    };
    for _ in 0..2 {
        root.service.add_principal(root.ask(request("a long password"))).await.unwrap();
    }
    let other = root.ask(request("another password"));
    assert_eq!(refused(root.service.add_principal(other).await), Reason::IdempotencyKeyReused);
}

pub(crate) async fn forgotten_key_brings_another_secret(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    let first = root.add_client("orders", &[], "k1").await.unwrap();
    server.auth.store.purge_admin_requests(i64::MAX).await.unwrap();
    root.set_standing("orders", Standing::Removed, 0).await.unwrap();
    assert_ne!(root.add_client("orders", &[], "k1").await.unwrap(), first);
}

pub(crate) async fn rotation_that_another_one_followed_is_not_repeated(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut root = Administrator::of(&server).await;
    root.add_client("orders", &[], "").await.unwrap();
    let rotate = |key: &str| RotateClientRequest {
        client_id: "orders".to_owned(),
        idempotency_key: key.to_owned(),
        ..RotateClientRequest::default()
    };
    for key in ["k1", "k2"] {
        root.service.rotate_client(root.ask(rotate(key))).await.unwrap();
    }
    let again = root.ask(rotate("k1"));
    assert_eq!(refused(root.service.rotate_client(again).await), Reason::FieldInvalid);
}

pub(crate) async fn changes_at_the_same_time_leave_connections_to_readers(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let login = server.log_in("ada", PASSWORD).await.unwrap();
    let ends = (0..40).map(|_| {
        let mut accounts = AccountServiceClient::new(server.channel.clone());
        let end = EndOwnSessionRequest { session: "nobody's".to_owned() };
        let request = authorized(end, &login.access_token);
        tokio::spawn(async move { accounts.end_own_session(request).await })
    });
    for end in ends.collect::<Vec<_>>() {
        assert_eq!(refused(end.await.unwrap()), Reason::SubjectUnknown);
    }
}

pub(crate) async fn passport_counts_at_what_a_gateway_fronts_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let root = Administrator::of(&server).await;
    let exchange = ExchangeRequest {
        subject_token: root.token.clone(),
        audience: "auth".to_owned(),
        ..ExchangeRequest::default()
    };
    let exchange = authorized(exchange, &server.mesh_token().await);
    let passport = server.tokens().exchange(exchange).await.unwrap().into_inner().passport;
    let mut explain = Request::new(ExplainRequest::default());
    explain.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    let explained = AccessServiceClient::new(server.channel.clone()).explain(explain).await;
    assert_eq!(refused(explained), Reason::CredentialMissing);
    let mut list = Request::new(ListOwnSessionsRequest {});
    list.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    let listed = AccountServiceClient::new(server.channel.clone()).list_own_sessions(list).await;
    assert_eq!(refused(listed), Reason::CredentialMissing);
}
