//! A part of the store is gone, so that questions fail in the middle of what is done: whoever would be refused with it is refused
//! without it, and whoever needs it is told that auth can't answer.

use std::net::Ipv4Addr;

use accord_api::accord::{
    auth::v1::{
        AddPrincipalRequest, CheckRequest, CheckResponse, CreateResetCodeRequest, ExchangeRequest,
        ListAuditEntriesRequest, ListCertificateIdentitiesRequest, ListClientKeysRequest, ListDevicesRequest,
        ListLinksRequest, ListRelationsRequest, ListSessionsRequest, Principal as WirePrincipal, Relation,
        RevokeRequest, WriteRelationsRequest, access_service_client::AccessServiceClient,
        admin_service_client::AdminServiceClient, relation_service_client::RelationServiceClient,
        revoke_request::Target,
    },
    policy::v1::PrincipalKind,
};
use accord_auth::{
    config::{Config, ObjectConfig},
    store::schema::TABLES,
};
use accord_token::Kind;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use super::{
    access::{Declared, Encoded, call, declared},
    account::{accounts, log_in_with, reset, with_second_factor},
    api_keys, certificate_identities, client_keys,
    forge::Forge,
    login::refresh,
    *,
};

/// Readers may write what does not block them: nobody may think that nothing does where that can't be read.
const BLOCKED: &str = r#"
    permit(principal in Accord::Role::"catalog-reader", action == Accord::Action::"catalog.products.write", resource);
    forbid(principal, action == Accord::Action::"catalog.products.write", resource is Accord::Product)
    when { principal in resource.blocked };"#;

fn with_blocked(database: &Database) -> impl FnOnce(&mut Config) + use<> {
    let policy = database.directory.path().join("blocked.cedar");
    std::fs::write(&policy, BLOCKED).unwrap();
    move |config| {
        config.policy.files.push(policy);
        let (name, relations) = ("Product".to_owned(), vec!["blocked".to_owned()]);
        config.policy.object = vec![ObjectConfig { name, relations, ..ObjectConfig::default() }];
    }
}

/// What everybody has who tries.
struct Tried {
    server: Server,
    mesh: String,
    root: String,
    /// Of ada, who has a second factor and may not write Product/42.
    ada: String,
    /// Of eve, whose tokens were all revoked.
    eve: String,
    /// That was used, and so is good no more; its successor is not asked for.
    used_refresh_token: String,
    disabled_key: String,
    good_key: String,
    /// Of the client `mill`.
    mill: Forge,
    used_assertion: String,
    disabled_certificate: &'static str,
    gateway: String,
}

impl Tried {
    async fn start(database: &Database) -> Self {
        let (server, mill) = client_keys::with_mill_and(database, with_blocked(database)).await;
        let (mesh, root) = (server.mesh_token().await, server.token_of("root").await);
        let store = &server.auth.store;
        let (ada, eve) = (server.token_of("ada").await, principal("eve", Kind::User, &["accord-admin"]));
        admin(store).add_principal(&eve, Some(PASSWORD)).await.unwrap();
        let eve = server.token_of("eve").await;
        admin(store).revoke_subject("eve").await.unwrap();
        let used_refresh_token = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
        refresh(&server, &used_refresh_token).await.unwrap();
        with_second_factor(&server).await;
        let (disabled, disabled_key) = api_keys::add(&server, "", None).await;
        admin(store).disable_api_key(&disabled.id).await.unwrap();
        let (_, good_key) = api_keys::add(&server, "", None).await;
        let used_assertion = client_keys::good(&mill);
        assert_eq!(client_keys::show(&server, &used_assertion).await.status, 200);
        let disabled_certificate = certificate_identities::add_disabled(&server).await;
        let gateway = api_keys::gateway_token(&server).await;
        let mut relations = RelationServiceClient::new(server.channel.clone());
        relations.write_relations(authorized(relation("Product/42"), &root)).await.unwrap();
        Self {
            server,
            mesh,
            root,
            ada,
            eve,
            used_refresh_token,
            disabled_key,
            good_key,
            mill,
            used_assertion,
            disabled_certificate,
            gateway,
        }
    }

    async fn check(&self, token: &str, permission: &str, resource: &str) -> Result<CheckResponse, Status> {
        let check = CheckRequest {
            token: token.to_owned(),
            permission: permission.to_owned(),
            audience: "catalog".to_owned(),
            resource: resource.to_owned(),
            ..CheckRequest::default()
        };
        let check = authorized(check, &self.mesh);
        Ok(AccessServiceClient::new(self.server.channel.clone()).check(check).await?.into_inner())
    }

    /// Everything that is refused while the store is whole: by name, whether it was let in.
    async fn let_in(&self) -> Vec<&'static str> {
        let server = &self.server;
        // Each guess is to reach the store.
        server.auth.throttle.reset("eve", Ipv4Addr::LOCALHOST.into());
        let may_write = self.check(&self.ada, "catalog.products.write", "Product/42").await;
        let may_nothing = self.check(&self.mesh, READ.permission, "").await;
        let revoked = self.check(&self.eve, "", "").await;
        let tried = [
            ("a policy that forbids by a relation", may_write.is_ok_and(|answer| answer.allowed)),
            ("somebody without the permission", may_nothing.is_ok_and(|answer| answer.allowed)),
            ("a revoked token", revoked.is_ok()),
            ("a password without its second factor", log_in_with(server, "").await.is_ok()),
            ("a wrong password", server.log_in("eve", "a guess").await.is_ok()),
            ("an unknown name", server.log_in("nobody", PASSWORD).await.is_ok()),
            ("a wrong secret", server.log_in_client("gateway", "a guess").await.is_ok()),
            ("a used refresh token", refresh(server, &self.used_refresh_token).await.is_ok()),
            ("a disabled API key", api_keys::log_in(server, &self.disabled_key).await.is_ok()),
            ("a used assertion", client_keys::show(server, &self.used_assertion).await.status == 200),
            ("an assertion of another key", {
                let other = Forge::ed25519("first");
                client_keys::show(server, &client_keys::good(&other)).await.status == 200
            }),
            ("a disabled certificate", {
                let gateway = certificate_identities::Gateway(server, self.gateway.clone());
                gateway.token(self.disabled_certificate).await.is_ok()
            }),
            ("a guessed code to reset a password", { accounts(server).reset_password(reset("a guess")).await.is_ok() }),
        ];
        tried.into_iter().filter(|(_, let_in)| *let_in).map(|(name, _)| name).collect()
    }

    /// Methods that let in somebody who may not call them.
    async fn methods_that_let_in(&self) -> Vec<String> {
        let forged = format!("{}AAAA", &self.root[..self.root.len() - 4]);
        let mut let_in = Vec::new();
        for Declared { path, permission, .. } in declared().into_iter().filter(|declared| !declared.is_public) {
            // Whoever is authenticated may call what asks for no permission.
            let ada = permission.is_some().then_some(&self.ada);
            for token in [&forged, &self.eve].into_iter().chain(ada) {
                if call(&self.server, &path, token, Encoded::default()).await.is_ok() {
                    let_in.push(path.clone());
                }
            }
        }
        let_in
    }

    /// What everybody may who tries it, by name.
    async fn allowed(&self) -> Vec<(&'static str, Result<(), Status>)> {
        let (server, root, mesh) = (&self.server, &self.root, &self.mesh);
        let mut admin = AdminServiceClient::new(server.channel.clone());
        let mut relations = RelationServiceClient::new(server.channel.clone());
        let (subject_token, audience) = (self.ada.clone(), "catalog".to_owned());
        let exchange = ExchangeRequest { subject_token, audience, ..ExchangeRequest::default() };
        let key = uuid::Uuid::new_v4().to_string();
        let (subject, kind) = (format!("user-{key}"), PrincipalKind::User.into());
        let new = Some(WirePrincipal { subject, kind, ..WirePrincipal::default() });
        let add = AddPrincipalRequest { principal: new, idempotency_key: key, ..AddPrincipalRequest::default() };
        let of_ada = ListSessionsRequest { subject: "ada".to_owned(), ..ListSessionsRequest::default() };
        let of_mill = ListClientKeysRequest { client_id: "mill".to_owned() };
        let of_type = ListRelationsRequest { r#type: "Product".to_owned(), ..ListRelationsRequest::default() };
        vec![
            ("check", self.check(&self.ada, READ.permission, "").await.map(drop)),
            ("check of an object", self.check(&self.ada, "catalog.products.write", "Product/7").await.map(drop)),
            ("exchange", server.tokens().exchange(authorized(exchange, mesh)).await.map(drop)),
            ("login of a client", server.log_in_client("gateway", MESH_SECRET).await.map(drop)),
            ("login with an API key", api_keys::log_in(server, &self.good_key).await.map(drop)),
            ("login of a person, whose token is revoked", self.log_in_and_revoke().await),
            ("login with an assertion", {
                let answer = client_keys::show(server, &client_keys::good(&self.mill)).await;
                if answer.status == 200 { Ok(()) } else { Err(oauth_refusal(answer.status)) }
            }),
            ("adding a person", admin.add_principal(authorized(add, root)).await.map(drop)),
            ("sessions", admin.list_sessions(authorized(of_ada, root)).await.map(drop)),
            ("keys of a client", admin.list_client_keys(authorized(of_mill, root)).await.map(drop)),
            ("links", admin.list_links(authorized(ListLinksRequest::default(), root)).await.map(drop)),
            ("devices", admin.list_devices(authorized(ListDevicesRequest::default(), root)).await.map(drop)),
            ("certificates", {
                let all = ListCertificateIdentitiesRequest::default();
                admin.list_certificate_identities(authorized(all, root)).await.map(drop)
            }),
            (
                "audit log",
                admin.list_audit_entries(authorized(ListAuditEntriesRequest::default(), root)).await.map(drop),
            ),
            ("relations", relations.list_relations(authorized(of_type, root)).await.map(drop)),
            ("adding a relation", {
                let owner = relation(&format!("Product/{}", uuid::Uuid::new_v4()));
                relations.write_relations(authorized(owner, root)).await.map(drop)
            }),
            ("a code to reset a password", {
                let request = CreateResetCodeRequest { subject: "ada".to_owned(), ..CreateResetCodeRequest::default() };
                admin.create_reset_code(authorized(request, root)).await.map(drop)
            }),
        ]
    }

    async fn log_in_and_revoke(&self) -> Result<(), Status> {
        let target = Some(Target::Token(self.server.log_in("eve", PASSWORD).await?.access_token));
        self.server.tokens().revoke(RevokeRequest { target }).await.map(drop)
    }
}

/// That ada is blocked there.
fn relation(object: &str) -> WriteRelationsRequest {
    let [object, relation, subject] = [object, "blocked", "User/ada"].map(ToOwned::to_owned);
    WriteRelationsRequest { add: vec![Relation { object, relation, subject }], ..WriteRelationsRequest::default() }
}

/// A store that failed is 503 there.
fn oauth_refusal(status: u16) -> Status {
    let reason = if status == 503 { Reason::AuthUnavailable } else { Reason::CredentialInvalid };
    fault::status(reason, format!("{status}"))
}

async fn rename(connection: &mut AnyConnection, from: &str, to: &str) {
    // The names are those of the schema.
    connection.execute(AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"))).await.unwrap();
}

pub(crate) async fn store_without_one_of_its_tables_lets_nobody_in_and_says_so(database: Database) {
    let tried = Tried::start(&database).await;
    assert_eq!(tried.let_in().await, Vec::<&str>::new(), "with all tables");
    for (name, answer) in tried.allowed().await {
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
    let mut connection = AnyConnection::connect(&database.url).await.unwrap();
    for table in TABLES {
        rename(&mut connection, table, "missing").await;
        assert_eq!(tried.let_in().await, Vec::<&str>::new(), "without {table}");
        assert_eq!(tried.methods_that_let_in().await, Vec::<String>::new(), "without {table}");
        let mut unanswered = 0;
        for (name, answer) in tried.allowed().await {
            if answer.is_err() {
                assert_eq!(refused(answer), Reason::AuthUnavailable, "{name} without {table}");
                unanswered += 1;
            }
        }
        assert!(unanswered > 0, "nothing that is tried needs {table}");
        rename(&mut connection, "missing", table).await;
    }
    for (name, answer) in tried.allowed().await {
        assert!(answer.is_ok(), "{name} with all tables again: {answer:?}");
    }
}
