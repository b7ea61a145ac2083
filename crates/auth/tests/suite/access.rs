//! Who may call what, and what auth answers where it can't know.

use accord_api::accord::{
    auth::v1::{
        ChangePasswordRequest, CheckRequest, CheckResponse, ExchangeRequest, ExplainRequest, ExplainResponse,
        IntrospectRequest, IssueResponse, RefreshRequest, ResetPasswordRequest, RevokeRequest, RotateRequest,
        WatchRequest, access_service_client::AccessServiceClient, key_service_client::KeyServiceClient,
        revocation_service_client::RevocationServiceClient, revoke_request::Target,
    },
    fault::v1::Reason,
};
use accord_auth::config::Config;
use accord_runtime::fault;
use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType, skip_field},
};
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::{Code, Status, client::Grpc};

use super::{
    Database, PASSWORD, READ, Server, admin, authorized,
    exchange::{catalog_token, with_catalog},
    login, refused,
};

pub(crate) async fn store_that_is_down_denies_every_call(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let logged_in = server.log_in("ada", PASSWORD).await.unwrap();
    let tokens =
        [logged_in.access_token.clone(), server.token_of("root").await, server.mesh_token().await, "forged".to_owned()];
    server.auth.store.close().await;
    for Declared { path, .. } in declared() {
        for token in &tokens {
            let message = well_formed(&path, &logged_in);
            let status = call(&server, &path, token, message).await.expect_err(&path);
            assert_eq!(fault::reason_of(&status), Some(Reason::AuthUnavailable), "{path}: {status:?}");
            assert_eq!(status.code(), Code::Unavailable, "{path}");
        }
    }
    assert_eq!(refused(server.log_in_client("gateway", "any").await), Reason::AuthUnavailable);
}

pub(crate) async fn check_without_a_token_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let answer = AccessServiceClient::new(server.channel.clone()).check(CheckRequest::default()).await;
    assert_eq!(refused(answer), Reason::CredentialMissing);
}

pub(crate) async fn check_with_a_malformed_token_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let check = authorized(CheckRequest::default(), "not a token");
    let answer = AccessServiceClient::new(server.channel.clone()).check(check).await;
    assert_eq!(refused(answer), Reason::CredentialInvalid);
}

pub(crate) async fn person_may_neither_check_nor_explain_nor_exchange_nor_watch(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let mut access = AccessServiceClient::new(server.channel.clone());
    let missing = Reason::PermissionMissing;
    assert_eq!(refused(access.check(authorized(CheckRequest::default(), &ada)).await), missing);
    assert_eq!(refused(access.explain(authorized(ExplainRequest::default(), &ada)).await), missing);
    let (subject_token, audience) = (ada.clone(), "catalog".to_owned());
    let exchange = ExchangeRequest { subject_token, audience, ..ExchangeRequest::default() };
    assert_eq!(
        refused(server.tokens().exchange(authorized(exchange, &ada)).await),
        missing,
        "nobody lets themselves in"
    );
    let question = tokio_stream::once(WatchRequest { question: 1, ..WatchRequest::default() });
    let mut revocations = RevocationServiceClient::new(server.channel.clone());
    assert_eq!(refused(revocations.watch(authorized(question, &ada)).await), missing);
}

pub(crate) async fn introspection_without_a_credential_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let introspect = IntrospectRequest { token: server.token_of("ada").await };
    assert_eq!(refused(server.tokens().introspect(introspect).await), Reason::CredentialMissing);
}

pub(crate) async fn workload_may_not_rotate_keys(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let rotate = authorized(RotateRequest::default(), &server.mesh_token().await);
    let answer = KeyServiceClient::new(server.channel.clone()).rotate(rotate).await;
    assert_eq!(refused(answer), Reason::PermissionMissing);
}

pub(crate) async fn subject_is_revoked_by_an_admin_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let revoke = || RevokeRequest { target: Some(Target::Subject("ada".to_owned())) };
    let (mesh, root, mut tokens) = (server.mesh_token().await, server.token_of("root").await, server.tokens());
    assert_eq!(refused(tokens.revoke(revoke()).await), Reason::CredentialMissing);
    assert_eq!(refused(tokens.revoke(authorized(revoke(), &mesh)).await), Reason::PermissionMissing);
    assert!(tokens.revoke(authorized(revoke(), &root)).await.is_ok());
}

pub(crate) async fn check_of_a_malformed_token_is_an_invalid_argument(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let check = CheckRequest { token: "not a token".to_owned(), ..CheckRequest::default() };
    let check = authorized(check, &server.mesh_token().await);
    let status = AccessServiceClient::new(server.channel.clone()).check(check).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "the caller is known; its argument is not good");
}

pub(crate) async fn check_of_a_revoked_token_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let check = CheckRequest { token: server.token_of("ada").await, ..CheckRequest::default() };
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    let check = authorized(check, &server.mesh_token().await);
    assert_eq!(refused(AccessServiceClient::new(server.channel.clone()).check(check).await), Reason::TokenRevoked);
}

/// Ada's passport to the catalog, as the gateway gets it for her call, with the tokens of both workloads.
async fn called_with_a_passport(server: &Server, gateway: &str) -> String {
    let check = CheckRequest { token: server.token_of("ada").await, ..read() };
    let answer = AccessServiceClient::new(server.channel.clone()).check(authorized(check, gateway)).await;
    answer.unwrap().into_inner().passport
}

fn read() -> CheckRequest {
    CheckRequest {
        method: READ.method.to_owned(),
        permission: READ.permission.to_owned(),
        audience: READ.audience.to_owned(),
        ..CheckRequest::default()
    }
}

/// The gateway asks for a call that a workload makes with a passport.
async fn check_for(server: &Server, passport: &str, actor: &str, gateway: &str) -> Result<CheckResponse, Status> {
    let check = CheckRequest { token: passport.to_owned(), actor_token: actor.to_owned(), ..read() };
    let answer = AccessServiceClient::new(server.channel.clone()).check(authorized(check, gateway)).await;
    answer.map(tonic::Response::into_inner)
}

pub(crate) async fn check_of_a_passport_decides_for_its_principal(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let passport = called_with_a_passport(&server, &gateway).await;
    let answer = check_for(&server, &passport, &catalog, &gateway).await.unwrap();
    assert!(answer.allowed, "ada may read, and the catalog may not by itself");
    assert_eq!(answer.principal.unwrap().subject, "ada");
}

pub(crate) async fn check_of_a_passport_brings_one_whose_act_names_every_hop(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let passport = called_with_a_passport(&server, &gateway).await;
    let answer = check_for(&server, &passport, &catalog, &gateway).await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    let first = server.auth.verify_passport(&passport, "catalog", &state).unwrap().claims;
    let second = server.auth.verify_passport(&answer.passport, "catalog", &state).unwrap().claims;
    assert_eq!(second.actors().collect::<Vec<_>>(), ["catalog", "gateway"]);
    assert!(second.exp <= first.exp && second.ptj == first.ptj);
}

pub(crate) async fn check_of_a_passport_without_its_actor_is_refused(database: Database) {
    let (server, gateway, _) = with_catalog(&database).await;
    let passport = called_with_a_passport(&server, &gateway).await;
    assert_eq!(refused(check_for(&server, &passport, "", &gateway).await), Reason::CredentialInvalid);
}

pub(crate) async fn check_of_a_revoked_persons_passport_is_refused(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let passport = called_with_a_passport(&server, &gateway).await;
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(refused(check_for(&server, &passport, &catalog, &gateway).await), Reason::TokenRevoked);
}

/// Lets nobody read who does not come through the catalog.
fn only_through_catalog(config: &mut Config) {
    only_through("catalog", config);
}

fn only_through(workload: &str, config: &mut Config) {
    let file = config.policy.files[0].with_file_name("act.cedar");
    let forbid = r#"forbid (principal, action == Accord::Action::"catalog.products.read", resource)"#;
    std::fs::write(&file, format!("{forbid} unless {{ context.act.contains(\"{workload}\") }};")).unwrap();
    config.policy.files.push(file);
}

pub(crate) async fn policy_over_act_sees_the_actors_of_the_passport(database: Database) {
    let server = Server::start(&database, only_through_catalog).await;
    let (gateway, catalog) = (server.mesh_token().await, catalog_token(&server).await);
    let ada = server.token_of("ada").await;
    assert!(!check_for(&server, &ada, "", &gateway).await.unwrap().allowed, "she calls herself");
    assert!(check_for(&server, &ada, &catalog, &gateway).await.unwrap().allowed, "the catalog calls for her");
}

pub(crate) async fn policy_over_act_sees_the_way_of_a_passport_that_its_audience_asks_about(database: Database) {
    let server = Server::start(&database, |config| only_through("gateway", config)).await;
    let (gateway, catalog) = (server.mesh_token().await, catalog_token(&server).await);
    let ada = server.token_of("ada").await;
    let exchange =
        ExchangeRequest { subject_token: ada.clone(), audience: "catalog".to_owned(), ..ExchangeRequest::default() };
    let passport = server.tokens().exchange(authorized(exchange, &gateway)).await.unwrap().into_inner().passport;
    assert!(check_for(&server, &passport, "", &catalog).await.unwrap().allowed, "the gateway made her call");
    assert!(!check_for(&server, &ada, "", &gateway).await.unwrap().allowed, "nobody is on her way yet");
}

pub(crate) async fn explanation_takes_the_named_actors_into_account(database: Database) {
    let server = Server::start(&database, only_through_catalog).await;
    assert!(!explain_through(&server, "catalog", &["gateway"]).await.allowed);
    assert!(explain_through(&server, "catalog", &["catalog", "gateway"]).await.allowed);
}

async fn explain(server: &Server, audience: &str) -> ExplainResponse {
    explain_through(server, audience, &[]).await
}

async fn explain_through(server: &Server, audience: &str, act: &[&str]) -> ExplainResponse {
    let question = ExplainRequest {
        subject: "ada".to_owned(),
        permission: READ.permission.to_owned(),
        method: READ.method.to_owned(),
        audience: audience.to_owned(),
        act: act.iter().map(ToString::to_string).collect(),
        ..ExplainRequest::default()
    };
    let question = authorized(question, &server.token_of("root").await);
    AccessServiceClient::new(server.channel.clone()).explain(question).await.unwrap().into_inner()
}

pub(crate) async fn explanation_names_the_policy_that_allows(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let allowed = explain(&server, "catalog").await;
    assert!(allowed.allowed);
    assert!(matches!(&*allowed.policies, [only] if only.ends_with("catalog.cedar#1")), "{:?}", allowed.policies);
}

pub(crate) async fn explanation_of_another_upstream_is_a_denial(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    assert!(!explain(&server, "orders").await.allowed);
}

/// A method of auth, and whom its contract lets call it.
pub(super) struct Declared {
    pub(super) path: String,
    pub(super) is_public: bool,
    /// None: that it is asked for is declared nowhere, and being authenticated is enough.
    pub(super) permission: Option<String>,
}

/// Every method of every service of auth.
pub(super) fn declared() -> Vec<Declared> {
    let pool = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap();
    let [of_method, of_service] =
        ["method", "service"].map(|name| pool.get_extension_by_name(&format!("accord.policy.v1.{name}")).unwrap());
    let services = pool.services().filter(|service| service.package_name() == "accord.auth.v1");
    let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let access = |options: DynamicMessage, extension| {
        let policy = options.get_extension(extension);
        let policy = policy.as_message().filter(|policy| policy.has_field_by_name("access"))?;
        policy.get_field_by_name("access")?.as_message().cloned()
    };
    methods
        .iter()
        .map(|method| {
            let declared = access(method.options(), &of_method)
                .or_else(|| access(method.parent_service().options(), &of_service))
                .expect("every method declares who may call it");
            let is = |name| declared.get_field_by_name(name).unwrap();
            let permission = is("permission").as_str().unwrap().to_owned();
            Declared {
                path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
                is_public: is("public").as_bool().unwrap(),
                permission: (!permission.is_empty()).then_some(permission),
            }
        })
        .collect()
}

/// A message that is encoded already.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoded(Vec<u8>);

impl Encoded {
    fn new(message: &impl Message) -> Self {
        Self(message.encode_to_vec())
    }
}

impl Message for Encoded {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// A request that whoever needs no token is not refused for its form; an empty one for those that do.
pub(super) fn well_formed(path: &str, of: &IssueResponse) -> Encoded {
    let (name, password, new_password) = ("ada".to_owned(), PASSWORD.to_owned(), "another password".to_owned());
    match path.rsplit_once('/').unwrap().1 {
        "Issue" => Encoded::new(&login("ada", PASSWORD)),
        "Refresh" => Encoded::new(&RefreshRequest { refresh_token: of.refresh_token.clone() }),
        "Revoke" => Encoded::new(&RevokeRequest { target: Some(Target::Token(of.access_token.clone())) }),
        "ChangePassword" => {
            Encoded::new(&ChangePasswordRequest { name, password, new_password, ..ChangePasswordRequest::default() })
        }
        "ResetPassword" => {
            let reset_code = "a code".to_owned();
            Encoded::new(&ResetPasswordRequest { name, reset_code, new_password, ..ResetPasswordRequest::default() })
        }
        _ => Encoded::default(),
    }
}

/// Calls a method, and waits for the first of its answer, which is not read: some are streams that go on.
pub(super) async fn call(server: &Server, path: &str, token: &str, message: Encoded) -> Result<(), Status> {
    let mut client = Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Encoded, ()>::default();
    let request = authorized(message, token);
    client.server_streaming(request, path.parse().unwrap(), codec).await?.into_inner().message().await.map(drop)
}

pub(crate) async fn each_method_requires_the_permission_that_its_contract_declares(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    for Declared { path, permission, .. } in declared() {
        let missing = |answer: Result<(), Status>| {
            answer.err().and_then(|status| fault::reason_of(&status)) == Some(Reason::PermissionMissing)
        };
        assert_eq!(
            missing(call(&server, &path, &ada, Encoded::default()).await),
            permission.is_some(),
            "{path} for somebody"
        );
        let of_workloads = ["accord.auth.exchange", "accord.auth.vouch"].map(Some).contains(&permission.as_deref());
        assert_eq!(missing(call(&server, &path, &root, Encoded::default()).await), of_workloads, "{path} for an admin");
    }
}

pub(crate) async fn explanation_names_what_a_policy_in_shadow_would_decide(database: Database) {
    let file = database.directory.path().join("tried.cedar");
    std::fs::write(&file, "@id(\"frozen\") forbid(principal, action, resource);").unwrap();
    let server = Server::start(&database, |config| config.policy.shadow_files = vec![file]).await;
    let explained = explain(&server, "catalog").await;
    let shadow = explained.shadow.unwrap();
    assert_eq!((explained.allowed, shadow.allowed, shadow.policies), (true, false, vec!["frozen".to_owned()]));
}
