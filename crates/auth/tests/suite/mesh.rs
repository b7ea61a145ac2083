//! Verifiers, and how soon they refuse.

use std::time::{Duration, Instant};

use accord_api::accord::{
    auth::v1::{
        CheckRequest, ExchangeRequest, ExplainRequest, IntrospectRequest, ListKeysRequest, RefreshRequest,
        RevokeRequest, RotateRequest, WatchRequest, access_service_client::AccessServiceClient,
        key_service_client::KeyServiceClient, revocation_service_client::RevocationServiceClient,
        revoke_request::Target,
    },
    fault::v1::Reason,
};
use accord_auth::{config::Config, domain::encryption_key::generate_secret, store::Store};
use accord_mesh::Question;
use accord_runtime::{config::Secret, deadline::Deadline, fault, request::RequestId};
use accord_token::{Kind, Refusal, verify};
use prost_reflect::{DescriptorPool, DynamicMessage};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tonic::client::Grpc;

use super::{PASSWORD, Place, Running, admin, authorized, eventually, mesh_client, principal, refused, wire::Wire};

const BOUND: Duration = Duration::from_secs(2);

const READ: Question<'_> = Question {
    method: "catalog.v1.ProductService/GetProduct",
    permission: "catalog.products.read",
    audience: "catalog",
    address: None,
};

pub(crate) async fn mesh_client_verifies_decides_and_refuses_once_revoked(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let client = running.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    let token = running.log_in("ada", PASSWORD).await.unwrap().access_token;
    let ada = client.verify(&token).unwrap();
    assert_eq!((ada.claims.sub.as_str(), ada.claims.tenant.as_str()), ("ada", "north"));

    let (deadline, id) = (Deadline::after(Duration::from_secs(10)), RequestId::new());
    let decision = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
    let passport = decision.passport.as_ref().unwrap();
    assert!(passport.is_sensitive());
    let passport = passport.to_str().unwrap();
    let accepted = client.verify_passport(passport, "catalog").unwrap();
    assert_eq!(accepted.claims.ptj.as_deref(), Some(ada.claims.jti.as_str()));
    assert!(matches!(client.verify_passport(passport, "orders"), Err(Refusal::Invalid(_))));
    assert!(matches!(client.verify(passport), Err(Refusal::Invalid(_))), "a passport is no access token");
    let again = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
    assert_eq!(again.passport, decision.passport, "the second answer comes from memory");
    let write = Question { permission: "catalog.products.write", ..READ };
    assert_eq!(client.decide(&token, &ada, &write, deadline, &id).await.unwrap_err(), Refusal::PermissionMissing);

    let target = Some(Target::Token(token.clone()));
    running.tokens().revoke(RevokeRequest { target }).await.unwrap();
    eventually("the token is refused", || matches!(client.verify(&token), Err(Refusal::Revoked))).await;
    assert_eq!(client.verify_passport(passport, "catalog").unwrap_err(), Refusal::Revoked);
}

pub(crate) async fn a_caller_waits_for_a_decision_no_longer_than_its_deadline(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    // Far beyond the deadline, so that it can't be the bound that ends the wait.
    let (wire, bound) = (Wire::to(running.address).await, Duration::from_secs(30));
    let client = mesh_client(wire.address, bound);
    eventually("the mesh client is ready", || client.ready()).await;
    let token = running.token_of("ada").await;
    let ada = client.verify(&token).unwrap();

    wire.fall_silent();
    let (deadline, id) = (Deadline::after(Duration::from_millis(100)), RequestId::new());
    let refused = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap_err();
    assert_eq!(refused, Refusal::DeadlineExceeded);
}

pub(crate) async fn mesh_client_refuses_everything_once_a_silent_wire_makes_it_stale(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (wire, bound) = (Wire::to(running.address).await, Duration::from_secs(1));
    let client = mesh_client(wire.address, bound);
    eventually("the mesh client is ready", || client.ready()).await;
    let token = running.token_of("ada").await;
    assert!(client.verify(&token).is_ok());

    wire.fall_silent();
    let silent = Instant::now();
    admin(&running.auth.store).revoke_subject("ada").await.unwrap();
    eventually("the mesh client refuses", || {
        let asked = Instant::now();
        let refusal = client.verify(&token).err();
        assert!(refusal.is_some() || asked <= silent + bound, "accepted beyond the bound");
        // A question that was under way when the silence began keeps what it brings for a bound of its own.
        refusal == Some(Refusal::Stale) && asked > silent + bound
    })
    .await;
    // The answers that waited on the wire are as old as their questions, and none of them makes the token good again.
    wire.speak_again();
    eventually("the mesh client has heard of it", || {
        let refusal = client.verify(&token).err();
        assert!(refusal.is_some(), "accepted after it was revoked");
        refusal == Some(Refusal::Revoked)
    })
    .await;
}

pub(crate) async fn a_watcher_whose_own_token_is_revoked_is_let_go(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let mesh = running.mesh_token().await;
    let (questions, asked) = tokio::sync::mpsc::channel(2);
    let ask = async |question| questions.send(WatchRequest { question, revision: 0 }).await.unwrap();
    ask(1).await;
    let request = authorized(tokio_stream::wrappers::ReceiverStream::new(asked), &mesh);
    let mut answers = RevocationServiceClient::new(running.channel.clone()).watch(request).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().question, 1);
    admin(&running.auth.store).revoke_subject("gateway").await.unwrap();
    ask(2).await;
    assert_eq!(refused(answers.message().await), Reason::TokenRevoked);
}

pub(crate) async fn what_another_process_revokes_is_in_force_too(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let client = running.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    let (hers, his) = (running.token_of("ada").await, running.token_of("root").await);
    assert!(client.verify(&hers).is_ok());
    let other = Store::open(&place.url).await.unwrap();
    admin(&other).revoke_subject("ada").await.unwrap();
    eventually("her token is refused", || matches!(client.verify(&hers), Err(Refusal::Revoked))).await;
    assert!(client.verify(&his).is_ok());
    admin(&other).revoke_everything().await.unwrap();
    eventually("his token is refused", || matches!(client.verify(&his), Err(Refusal::Revoked))).await;
    // The mesh client's own token fell as well; it logs in again by itself.
    let new = running.token_of("ada").await;
    eventually("the mesh client is ready again", || client.verify(&new).is_ok() && client.ready()).await;
}

pub(crate) async fn a_hundred_thousand_revocations_reach_a_mesh_client(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let token = running.token_of("ada").await;
    let now = verify::now();
    let mut connection = sqlx::AnyConnection::connect(&place.url).await.unwrap();
    // Half of them ended long enough ago for every clock.
    let revoked = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
         INSERT INTO revoked (jti, expires_at, revision)
         SELECT '0123456789abcdef0123456789abcdef' || i, {now} - 60 + 900 * (i % 2), value + 1 FROM n, meta
         WHERE name = 'revision'"
    );
    connection.execute(AssertSqlSafe(revoked)).await.unwrap();
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'").await.unwrap();
    let state = running.auth.state.current().await.unwrap();
    assert_eq!(state.update_since(0).tokens.len(), 100_000);
    let client = running.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    assert!(client.verify(&token).is_ok());
}

pub(crate) async fn what_is_new_is_added_and_a_store_put_back_is_read_anew(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (ada, root) = (running.token_of("ada").await, running.token_of("root").await);
    let accepted = async |token: &str| {
        let state = running.auth.state.current().await.unwrap();
        (running.auth.verify_access_token(token, &state).is_ok(), state.update_since(u64::MAX).full)
    };
    admin(&running.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(accepted(&ada).await, (false, true));
    running.tokens().revoke(RevokeRequest { target: Some(Target::Token(root.clone())) }).await.unwrap();
    assert_eq!((accepted(&ada).await.0, accepted(&root).await.0), (false, false), "what was known stays known");

    let mut connection = sqlx::AnyConnection::connect(&place.url).await.unwrap();
    for step in [
        "DELETE FROM revoked",
        "UPDATE principals SET epoch = 0, epoch_at = 0, epoch_revision = 0",
        "UPDATE meta SET value = 1 WHERE name = 'revision'",
    ] {
        connection.execute(step).await.unwrap();
    }
    assert_eq!(accepted(&ada).await, (true, true), "nothing of the other store is left");
    assert!(accepted(&root).await.0);
}

pub(crate) async fn a_restart_of_auth_goes_unnoticed(place: Place) {
    let key = generate_secret().unwrap();
    let with_key = |config: &mut Config| config.keys.encryption_key = Secret::from(key.clone());
    let running = Running::start(&place, with_key).await;
    let client = running.mesh_client(Duration::from_secs(5));
    eventually("the mesh client is ready", || client.ready()).await;
    let token = running.token_of("ada").await;
    let address = running.address.to_string();
    running.stop().await;
    assert!(client.verify(&token).is_ok(), "what is known is fresh enough for a while");

    let running = Running::start_at(&address, &place, with_key).await;
    admin(&running.auth.store).revoke_subject("ada").await.unwrap();
    eventually("the mesh client hears of it from the new process", || {
        let refusal = client.verify(&token).err();
        assert_ne!(refusal, Some(Refusal::Stale), "the gap was shorter than the bound");
        refusal == Some(Refusal::Revoked)
    })
    .await;
}

pub(crate) async fn a_store_that_is_down_denies_everything(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let client = running.mesh_client(Duration::from_millis(500));
    eventually("the mesh client is ready", || client.ready()).await;
    let logged_in = running.log_in("ada", PASSWORD).await.unwrap();
    let (token, mesh) = (logged_in.access_token.clone(), running.mesh_token().await);
    assert!(client.verify(&token).is_ok());

    running.auth.store.close().await;
    let down = Reason::AuthUnavailable;
    let (mut tokens, channel) = (running.tokens(), running.channel.clone());
    assert_eq!(refused(running.log_in("ada", PASSWORD).await), down);
    assert_eq!(refused(running.log_in_client("gateway", "any").await), down);
    let refresh_token = logged_in.refresh_token;
    assert_eq!(refused(tokens.refresh(RefreshRequest { refresh_token }).await), down);
    let exchange = ExchangeRequest { subject_token: token.clone(), audience: "catalog".to_owned() };
    assert_eq!(refused(tokens.exchange(authorized(exchange, &mesh)).await), down);
    let target = Some(Target::Token(token.clone()));
    assert_eq!(refused(tokens.revoke(RevokeRequest { target }).await), down);
    assert_eq!(refused(tokens.introspect(IntrospectRequest { token: token.clone() }).await), down);
    let mut access = AccessServiceClient::new(channel.clone());
    let check = CheckRequest { token: token.clone(), ..CheckRequest::default() };
    assert_eq!(refused(access.check(authorized(check, &mesh)).await), down);
    assert_eq!(refused(access.explain(authorized(ExplainRequest::default(), &mesh)).await), down);
    let mut keys = KeyServiceClient::new(channel.clone());
    assert_eq!(refused(keys.list_keys(ListKeysRequest {}).await), down);
    assert_eq!(refused(keys.rotate(authorized(RotateRequest {}, &mesh)).await), down);
    let question = tokio_stream::once(WatchRequest { question: 1, revision: 0 });
    assert_eq!(refused(RevocationServiceClient::new(channel).watch(authorized(question, &mesh)).await), down);

    eventually("the mesh client accepts nothing", || matches!(client.verify(&token), Err(Refusal::Stale))).await;
    eventually("the mesh client is not ready", || !client.ready()).await;
}

pub(crate) async fn callers_without_the_permission_are_refused(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let ada = running.token_of("ada").await;
    let mut access = AccessServiceClient::new(running.channel.clone());
    let check = || CheckRequest { token: ada.clone(), ..CheckRequest::default() };
    assert_eq!(refused(access.check(check()).await), Reason::CredentialMissing);
    assert_eq!(refused(access.check(authorized(check(), "not a token")).await), Reason::CredentialInvalid);
    assert_eq!(refused(access.check(authorized(check(), &ada)).await), Reason::PermissionMissing);
    assert_eq!(refused(access.explain(authorized(ExplainRequest::default(), &ada)).await), Reason::PermissionMissing);
    let mut keys = KeyServiceClient::new(running.channel.clone());
    let mesh = running.mesh_token().await;
    assert_eq!(refused(keys.rotate(authorized(RotateRequest {}, &mesh)).await), Reason::PermissionMissing);
    let exchange = ExchangeRequest { subject_token: ada.clone(), audience: "catalog".to_owned() };
    let passport = running.tokens().exchange(authorized(exchange, &ada)).await;
    assert_eq!(refused(passport), Reason::PermissionMissing, "nobody lets themselves in");
    let revoke = || RevokeRequest { target: Some(Target::Subject("ada".to_owned())) };
    assert_eq!(refused(running.tokens().revoke(revoke()).await), Reason::CredentialMissing);
    assert_eq!(refused(running.tokens().revoke(authorized(revoke(), &mesh)).await), Reason::PermissionMissing);
    let question = tokio_stream::once(WatchRequest { question: 1, revision: 0 });
    let mut revocations = RevocationServiceClient::new(running.channel.clone());
    assert_eq!(refused(revocations.watch(authorized(question, &ada)).await), Reason::PermissionMissing);

    let root = running.token_of("root").await;
    assert!(running.tokens().revoke(authorized(revoke(), &root)).await.is_ok());
    let wrong = CheckRequest { token: "not a token".to_owned(), ..CheckRequest::default() };
    let status = access.check(authorized(wrong, &mesh)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "the caller is known; its argument is not good");
    assert_eq!(refused(access.check(authorized(check(), &mesh)).await), Reason::TokenRevoked);
}

/// The permission of every method of auth, as its contract declares it; None for the public ones.
fn declared() -> Vec<(String, Option<String>)> {
    let pool = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap();
    let [of_method, of_service] =
        ["method", "service"].map(|name| pool.get_extension_by_name(&format!("accord.policy.v1.{name}")).unwrap());
    let services = pool.services().filter(|service| service.package_name() == "accord.auth.v1");
    let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let access = |options: DynamicMessage, extension| {
        let policy = options.get_extension(extension);
        let policy = policy.as_message().filter(|policy| policy.has_field_by_name("access"))?;
        Some(policy.get_field_by_name("access")?.as_message()?.get_field_by_name("permission")?.as_str()?.to_owned())
    };
    methods
        .iter()
        .map(|method| {
            let declared = access(method.options(), &of_method)
                .or_else(|| access(method.parent_service().options(), &of_service))
                .expect("every method declares who may call it");
            let name = format!("/{}/{}", method.parent_service().full_name(), method.name());
            (name, (!declared.is_empty()).then_some(declared))
        })
        .collect()
}

pub(crate) async fn every_method_asks_for_the_permission_that_its_contract_declares(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (ada, root) = (running.token_of("ada").await, running.token_of("root").await);
    let call = async |path: &str, token: &str| {
        let mut client = Grpc::new(running.channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        client.unary(authorized((), token), path.parse().unwrap(), codec).await.err()
    };
    for (path, permission) in declared() {
        let missing = |status: Option<tonic::Status>| {
            status.and_then(|status| fault::reason_of(&status)) == Some(Reason::PermissionMissing)
        };
        assert_eq!(missing(call(&path, &ada).await), permission.is_some(), "{path} for somebody");
        let of_workloads = permission.as_deref() == Some("accord.auth.exchange");
        assert_eq!(missing(call(&path, &root).await), of_workloads, "{path} for an admin");
    }
}

pub(crate) async fn an_exchange_says_what_is_wrong_with_the_token(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (ada, gateway) = (running.token_of("ada").await, running.mesh_token().await);
    let exchange = async |token: &str, audience: &str| {
        let message = ExchangeRequest { subject_token: token.to_owned(), audience: audience.to_owned() };
        running.tokens().exchange(authorized(message, &gateway)).await
    };
    for audience in ["", "two words", &"x".repeat(257)] {
        assert_eq!(refused(exchange(&ada, audience).await), Reason::FieldInvalid, "{audience}");
    }
    admin(&running.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(refused(exchange(&ada, "catalog").await), Reason::TokenRevoked);
}

pub(crate) async fn the_explanation_is_the_decision(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let root = running.token_of("root").await;
    let explain = async |audience: &str| {
        let question = ExplainRequest {
            subject: "ada".to_owned(),
            permission: READ.permission.to_owned(),
            method: READ.method.to_owned(),
            audience: audience.to_owned(),
        };
        let mut access = AccessServiceClient::new(running.channel.clone());
        access.explain(authorized(question, &root)).await.unwrap().into_inner()
    };
    let allowed = explain("catalog").await;
    assert!(allowed.allowed, "as a check for the catalog says");
    assert!(matches!(&*allowed.policies, [only] if only.ends_with("catalog.cedar#1")), "{:?}", allowed.policies);
    assert!(!explain("orders").await.allowed);
}

pub(crate) async fn a_passport_names_every_hand_and_dies_with_its_parent(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let catalog = principal("catalog", Kind::Service, &["accord-mesh"]);
    admin(&running.auth.store).add_principal(&catalog, None).await.unwrap();
    let client = running.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    let ada = running.auth.issue_token("ada", Duration::from_mins(1), "test").await.unwrap();
    let (gateway, catalog) = (running.mesh_token().await, running.token_of("catalog").await);
    let mut tokens = running.tokens();

    let exchange = |token: &str, audience: &str| ExchangeRequest {
        subject_token: token.to_owned(),
        audience: audience.to_owned(),
    };
    let first = tokens.exchange(authorized(exchange(&ada, "catalog"), &gateway)).await.unwrap().into_inner();
    assert!(first.expires_in.unwrap().seconds <= 60, "never past the parent");
    let second = exchange(&first.passport, "orders");
    assert!(tokens.exchange(authorized(second.clone(), &gateway)).await.is_err(), "it was made for the catalog");
    let second = tokens.exchange(authorized(second, &catalog)).await.unwrap().into_inner();

    let accepted = client.verify_passport(&second.passport, "orders").unwrap();
    assert_eq!(accepted.claims.ptj, Some(client.verify(&ada).unwrap().claims.jti.clone()));
    let newest = accepted.claims.act.as_ref().unwrap();
    assert_eq!((newest.sub.as_str(), newest.act.as_ref().unwrap().sub.as_str()), ("catalog", "gateway"));

    tokens.revoke(RevokeRequest { target: Some(Target::Token(ada)) }).await.unwrap();
    let refused = || matches!(client.verify_passport(&second.passport, "orders"), Err(Refusal::Revoked));
    eventually("the passport of the passport is refused", refused).await;
}
