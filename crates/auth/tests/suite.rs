//! What holds on every database that auth can have its store in.

pub(crate) mod access;
pub(crate) mod admin;
<<<<<<< HEAD
=======
pub(crate) mod admin_service;
pub(crate) mod backup;
>>>>>>> c9ff6eb0 (auth: administer by gRPC, and as JSON through the gateway)
pub(crate) mod exchange;
pub(crate) mod ext_authz;
pub(crate) mod key_rotation;
pub(crate) mod login;
pub(crate) mod revocation;
pub(crate) mod verifier;

pub(crate) mod proxy;
mod list;

pub(crate) use list::database_tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use accord_api::accord::{
    auth::v1::{
        ClientCredentialsGrant, IntrospectRequest, IssueRequest, IssueResponse, PasswordGrant, issue_request::Grant,
        token_service_client::TokenServiceClient,
    },
    fault::v1::Reason,
};
use accord_auth::{
    config::Config,
    domain::{
        admin::{Admin, AdminError},
        auth::Auth,
        encryption_key::generate_secret,
    },
    maintenance,
    serve::grpc_server,
    store::{Store, principals::Principal},
};
use accord_mesh::{MeshClient, MeshConfig, Question};
use accord_runtime::{
    config::Secret, fault, health::Health, request, server::ListenConfig, server::Listener, shutdown::Shutdown,
};
use accord_token::{Kind, Type, verify};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

<<<<<<< HEAD
/// Declares each of them as a test on the database that `database()` makes.
macro_rules! database_tests {
    () => {
        suite::database_tests!(@ login:
            refreshed_and_earlier_access_tokens_are_active,
            reused_refresh_token_ends_the_newest_one,
            reused_refresh_token_revokes_the_access_tokens_of_its_family,
            reused_refresh_token_is_audited,
            concurrent_refreshes_within_the_grace_have_one_successor,
            concurrent_refreshes_without_grace_have_at_most_one_answer,
            concurrent_refreshes_without_grace_end_the_family,
            wrong_credentials_are_unauthenticated_with_one_message,
            right_password_is_throttled_after_five_failures,
            account_throttled_at_one_address_can_log_in_from_another,
            flood_of_logins_from_one_address_leaves_room_for_a_login_from_another,
            login_of_an_address_that_has_its_share_of_checks_costs_the_store_nothing,
            login_that_could_not_be_checked_does_not_count_as_failed,
            refresh_token_of_a_revoked_subject_is_refused,
            revoked_subject_can_log_in_again,
            refresh_token_revoked_again_changes_nothing,
            expired_family_is_purged_after_its_last_second,
            refresh_token_of_a_purged_family_is_refused,
            expired_family_is_kept_until_its_access_tokens_expire,
        );
        suite::database_tests!(@ verifier:
            access_token_verifies_with_its_subject_and_tenant,
            allowed_question_brings_a_passport_for_its_upstream_alone,
            decision_asked_again_is_answered_from_memory,
            question_without_the_permission_is_refused,
            revoked_token_and_its_passport_are_refused,
            decision_that_does_not_come_ends_with_the_callers_deadline,
            stalled_connection_makes_a_verifier_refuse_within_the_bound,
            subject_revoked_by_another_process_is_refused,
            everything_revoked_by_another_process_is_refused,
            hundred_thousand_revocations_reach_a_verifier,
            restart_of_auth_is_shorter_than_the_bound,
            store_that_is_down_makes_a_verifier_stale,
        );
        suite::database_tests!(@ revocation:
            revoked_token_is_not_active,
            revocation_of_a_passport_is_refused,
            revocation_of_what_is_no_token_changes_nothing,
            later_revocation_is_added_to_earlier_ones,
            verifier_ahead_of_the_store_is_sent_everything,
            restored_store_replaces_what_was_known,
            stream_of_a_verifier_whose_own_token_is_revoked_ends,
        );
        suite::database_tests!(@ exchange:
            malformed_audience_is_refused,
            exchange_of_a_revoked_token_is_refused_as_revoked,
            passport_of_a_token_within_its_leeway_is_refused_as_expired,
            passport_ends_no_later_than_its_parent,
            passport_is_exchanged_only_by_its_own_audience,
            decision_about_a_passport_is_for_its_own_audience_alone,
            passport_names_its_parent_and_every_actor,
            passport_of_a_passport_is_revoked_with_the_first_parent,
            passport_names_the_holder_of_the_actor_token_and_not_the_caller,
            passport_is_refused_with_the_actor_token_of_another_audience,
            actor_token_of_a_person_is_refused,
            actor_token_of_a_revoked_workload_is_refused_as_revoked,
            passport_names_eight_actors_at_most,
            actor_chain_too_long_names_the_chain_and_no_person,
        );
        suite::database_tests!(@ access:
            store_that_is_down_denies_every_call,
            check_without_a_token_is_refused,
            check_with_a_malformed_token_is_refused,
            person_may_neither_check_nor_explain_nor_exchange_nor_watch,
            introspection_without_a_credential_is_refused,
            workload_may_not_rotate_keys,
            subject_is_revoked_by_an_admin_alone,
            check_of_a_malformed_token_is_an_invalid_argument,
            check_of_a_revoked_token_is_refused,
            check_of_a_passport_decides_for_its_principal,
            check_of_a_passport_brings_one_whose_act_names_every_hop,
            check_of_a_passport_without_its_actor_is_refused,
            check_of_a_revoked_persons_passport_is_refused,
            policy_over_act_sees_the_actors_of_the_passport,
            policy_over_act_sees_the_way_of_a_passport_that_its_audience_asks_about,
            explanation_takes_the_named_actors_into_account,
            explanation_names_the_policy_that_allows,
            explanation_of_another_upstream_is_a_denial,
            explanation_names_what_a_policy_in_shadow_would_decide,
            each_method_requires_the_permission_that_its_contract_declares,
        );
        suite::database_tests!(@ ext_authz:
            request_with_the_permission_passes_with_passport_and_identity,
            passport_of_an_admitted_request_names_the_proxy_as_its_actor,
            request_without_a_credential_is_unauthorized_with_a_challenge,
            request_without_the_permission_is_forbidden,
            request_with_a_passport_as_its_credential_is_unauthorized,
            revoked_token_is_unauthorized,
            unknown_method_is_not_found,
            question_without_anything_in_it_is_denied,
            permission_of_the_route_is_asked_for_in_place_of_the_contracts,
            permission_of_the_route_without_an_upstream_is_denied,
            public_method_passes_without_a_credential_and_loses_forged_identities,
            public_method_with_a_bad_credential_is_unauthorized,
            store_that_is_down_denies_requests_of_proxies,
            http_question_is_answered_with_status_and_headers,
        );
        suite::database_tests!(@ key_rotation:
            rotated_key_is_published_before_it_signs,
            rotated_key_signs_once_it_was_published_long_enough,
            tokens_of_the_key_before_still_verify,
            retired_key_loses_its_private_half_and_then_its_public_one,
            concurrent_rotations_leave_one_signing_key_at_any_moment,
            retired_key_is_neither_published_nor_accepted,
            first_key_signs_on_a_replica_whose_clock_is_behind,
            key_encrypted_with_another_encryption_key_fails_the_start,
        );
        suite::database_tests!(@ admin:
            client_that_exists_keeps_its_secret,
            rotated_client_logs_in_with_either_secret_during_the_overlap,
            earlier_client_secret_is_refused_after_the_overlap,
            client_has_two_valid_secrets_at_most,
            rotation_to_the_same_secret_is_refused,
            disabled_principal_can_neither_log_in_nor_use_its_tokens,
            enabled_principal_can_log_in_again,
            name_of_a_removed_principal_is_free_and_its_tokens_stay_revoked,
            removed_client_can_be_added_again_with_another_secret,
            list_names_principals_with_their_roles_and_clients_apart,
            principal_that_exists_keeps_its_password,
            password_too_short_or_too_long_is_refused,
            granted_role_shows_in_the_next_token,
            granted_role_revokes_tokens_that_do_not_show_it,
            removed_role_revokes_tokens_that_show_it,
            removing_a_role_that_is_not_held_is_refused,
            client_under_a_principals_name_is_refused,
            client_secret_too_short_is_refused,
            malformed_name_is_refused,
            principal_with_more_roles_than_a_token_holds_is_refused,
            roles_are_granted_only_as_long_as_a_token_holds_them,
            token_lifetime_out_of_bounds_is_refused,
            changed_or_deleted_audit_row_breaks_the_chain,
            change_that_cannot_be_audited_does_not_happen,
            truncated_audit_log_breaks_the_chain,
            client_added_by_two_replicas_at_once_is_added_once,
            new_store_can_be_opened_by_two_processes_at_once,
            store_of_the_previous_build_is_migrated_with_its_data,
        );
    };
    (@ $module:ident: $($test:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $test() {
            suite::$module::$test(database().await).await;
        }
    )* };
}
pub(crate) use database_tests;

=======
>>>>>>> c9ff6eb0 (auth: administer by gRPC, and as JSON through the gateway)
/// An empty database, and a directory beside it.
pub(crate) struct Database {
    pub url: String,
    pub directory: TempDir,
}

/// Auth as it serves, with a client of the mesh, a person and an administrator.
pub(crate) struct Server {
    pub auth: Arc<Auth>,
    pub channel: Channel,
    pub address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

pub(crate) const PASSWORD: &str = "correct horse";

/// How old a verifier's knowledge may be.
pub(crate) const BOUND: Duration = Duration::from_secs(2);

/// What the policies of these tests grant to `catalog-reader`.
pub(crate) const READ: Question<'_> = Question {
    method: "catalog.v1.ProductService/GetProduct",
    permission: "catalog.products.read",
    audience: "catalog",
    address: None,
    actor: None,
};

const MESH_SECRET: &str = "a secret that is long enough for a client";

impl Server {
    pub(crate) async fn start(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at("127.0.0.1:0", database, change).await
    }

    pub(crate) async fn start_at(address: &str, database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.store.url = database.url.parse().unwrap();
        config.keys.encryption_key = Secret::from(generate_secret().unwrap());
        let policy = database.directory.path().join("catalog.cedar");
        let text = r#"permit(principal in Accord::Role::"catalog-reader",
            action == Accord::Action::"catalog.products.read", resource == Accord::Upstream::"catalog");"#;
        std::fs::write(&policy, text).unwrap();
        config.policy.files = vec![policy];
        change(&mut config);
        let auth = Arc::new(Auth::open(&config).await.unwrap());
        add_principals(&auth.store).await;
        let (shutdown, health) = (Shutdown::new(Duration::from_secs(1)), Health::new());
        let listen = ListenConfig { address: address.parse().unwrap(), ..ListenConfig::default() };
        let listener = Listener::bind(&listen).await.unwrap();
        let address = listener.address();
        tokio::spawn(maintenance::run(Arc::clone(&auth), health.clone(), shutdown.clone()));
        let serving = tokio::spawn(listener.serve(grpc_server(&auth, &health, &shutdown).unwrap(), shutdown.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { auth, channel, address, shutdown, serving }
    }

    pub(crate) fn mesh_client(&self, bound: Duration) -> MeshClient {
        mesh_client(self.address, bound)
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Result<IssueResponse, Status> {
        self.tokens().issue(login(name, password)).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn log_in_client(&self, id: &str, secret: &str) -> Result<IssueResponse, Status> {
        let grant = ClientCredentialsGrant { client_id: id.to_owned(), client_secret: secret.to_owned() };
        let request = IssueRequest { grant: Some(Grant::ClientCredentials(grant)) };
        self.tokens().issue(request).await.map(tonic::Response::into_inner)
    }

    /// Drains, as after SIGTERM.
    pub(crate) async fn stop(mut self) {
        self.shutdown.begin();
        (&mut self.serving).await.unwrap();
    }

    /// The access token of the mesh's client.
    pub(crate) async fn mesh_token(&self) -> String {
        self.log_in_client("gateway", MESH_SECRET).await.unwrap().access_token
    }

    pub(crate) async fn token_of(&self, subject: &str) -> String {
        self.auth.issue_token(subject, Duration::from_mins(10), "test").await.unwrap()
    }

    /// Whether introspection finds the token good.
    pub(crate) async fn is_active(&self, token: &str) -> bool {
        let request = IntrospectRequest { token: token.to_owned() };
        let request = authorized(request, &self.mesh_token().await);
        self.tokens().introspect(request).await.unwrap().into_inner().active
    }

    /// The key that signed the token.
    pub(crate) async fn kid_of(&self, token: &str) -> String {
        let state = self.auth.state.current().await.unwrap();
        verify::signed(token, Type::Access, &state.snapshot.keys).unwrap().kid
    }
}

/// A mesh client of the auth at this address.
pub(crate) fn mesh_client(address: SocketAddr, bound: Duration) -> MeshClient {
    let config = MeshConfig {
        url: format!("http://{address}"),
        client_id: "gateway".to_owned(),
        client_secret: Secret::from(MESH_SECRET.to_owned()),
        staleness_bound: bound,
        ..MeshConfig::default()
    };
    // It lives as long as the test, so longer than this auth.
    MeshClient::join(&config, Shutdown::new(Duration::ZERO)).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// An administrator at work.
pub(crate) fn admin(store: &Store) -> Admin<'_> {
    Admin::new(store, "test")
}

pub(crate) fn principal(subject: &str, kind: Kind, roles: &[&str]) -> Principal {
    let roles = roles.iter().map(ToString::to_string).collect();
    Principal::new(subject.to_owned(), kind, "north".to_owned(), roles)
}

pub(crate) fn authorized<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", request::bearer(token).unwrap());
    request
}

#[track_caller]
pub(crate) fn refused<T>(answer: Result<T, Status>) -> Reason {
    let Err(status) = answer else { panic!("this should have been refused") };
    fault::reason_of(&status).unwrap_or_else(|| panic!("no reason in {status:?}"))
}

/// Waits until the condition holds; the test fails where that takes longer than any bound in these tests.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A client of the mesh, a person and an administrator; a restart finds them.
async fn add_principals(store: &Store) {
    let admin = admin(store);
    let gateway = principal("gateway", Kind::Service, &["accord-mesh"]);
    let added = [
        admin.add_client(&gateway, || Ok(MESH_SECRET.to_owned())).await,
        admin.add_principal(&principal("ada", Kind::User, &["catalog-reader"]), Some(PASSWORD)).await,
        admin.add_principal(&principal("root", Kind::User, &["accord-admin"]), None).await,
    ];
    for added in added {
        assert!(matches!(added, Ok(()) | Err(AdminError::Exists(_))), "{added:?}");
    }
}

/// A login with a password.
fn login(name: &str, password: &str) -> IssueRequest {
    let grant = PasswordGrant { name: name.to_owned(), password: password.to_owned() };
    IssueRequest { grant: Some(Grant::Password(grant)) }
}
