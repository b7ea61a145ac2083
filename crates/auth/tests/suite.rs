//! What every engine of the store must be able to tell.

pub(crate) mod keys;
pub(crate) mod logins;
pub(crate) mod mesh;
pub(crate) mod operators;
pub(crate) mod wire;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use accord_api::accord::{
    auth::v1::{
        ClientCredentialsGrant, IssueRequest, IssueResponse, PasswordGrant, issue_request::Grant,
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
    serve::surface,
    store::{Store, principals::Principal},
};
use accord_mesh::{MeshClient, MeshConfig};
use accord_runtime::{
    config::Secret, fault, health::Health, request, server::ListenConfig, server::Listener, shutdown::Shutdown,
};
use accord_token::Kind;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// Declares each story as a test on the engine that `place()` stands for.
macro_rules! stories {
    () => {
        suite::stories!(@ logins: a_person_logs_in_refreshes_and_a_stolen_refresh_token_ends_the_family,
            many_refreshes_with_one_token_have_one_successor, without_grace_only_one_of_many_refreshes_is_answered,
            wrong_credentials_tell_nothing_and_guessing_is_slowed_down, a_family_ends_with_its_subjects_epoch,
            ending_a_family_again_changes_nothing, a_family_whose_time_is_over_is_forgotten,
            a_family_is_not_forgotten_before_its_tokens, guessing_from_elsewhere_locks_nobody_out,
            what_could_not_be_checked_is_held_against_nobody,
            a_token_in_its_last_leeway_brings_no_passport);
        suite::stories!(@ mesh: mesh_client_verifies_decides_and_refuses_once_revoked,
            a_caller_waits_for_a_decision_no_longer_than_its_deadline,
            mesh_client_refuses_everything_once_a_silent_wire_makes_it_stale,
            what_is_new_is_added_and_a_store_put_back_is_read_anew, a_hundred_thousand_revocations_reach_a_mesh_client,
            what_another_process_revokes_is_in_force_too, a_watcher_whose_own_token_is_revoked_is_let_go, a_restart_of_auth_goes_unnoticed,
            a_store_that_is_down_denies_everything,
            callers_without_the_permission_are_refused,
            every_method_asks_for_the_permission_that_its_contract_declares,
            a_passport_names_every_hand_and_dies_with_its_parent, an_exchange_says_what_is_wrong_with_the_token,
            the_explanation_is_the_decision);
        suite::stories!(@ keys: a_rotated_key_is_known_before_it_signs_and_the_old_one_still_verifies,
            a_key_that_signs_no_more_loses_its_private_half,
            whoever_rotates_when_one_key_may_sign_at_any_moment, a_retired_key_is_published_no_more,
            a_replica_whose_clock_is_behind_can_sign_too, a_key_that_was_sealed_elsewhere_stops_the_start);
        suite::stories!(@ operators: client_that_exists_keeps_its_secret, principal_that_exists_keeps_its_password,
            password_too_short_or_too_long_is_refused, granted_role_shows_in_the_next_token,
            granted_role_revokes_tokens_that_do_not_show_it, removed_role_revokes_tokens_that_show_it,
            removing_a_role_that_is_not_held_is_refused, client_under_a_principals_name_is_refused,
            client_secret_too_short_is_refused, malformed_name_is_refused,
            principal_with_more_roles_than_a_token_holds_is_refused,
            roles_are_granted_only_as_long_as_a_token_holds_them, token_lifetime_out_of_bounds_is_refused,
            changed_or_deleted_audit_row_breaks_the_chain, truncated_audit_log_breaks_the_chain,
            change_that_cannot_be_audited_does_not_happen, new_store_can_be_opened_by_two_processes_at_once,
            store_of_the_previous_build_is_migrated_with_its_data,
            client_added_by_two_replicas_at_once_is_added_once);
    };
    (@ $module:ident: $($story:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $story() {
            suite::$module::$story(place().await).await;
        }
    )* };
}
pub(crate) use stories;

/// A store of one's own.
pub(crate) struct Place {
    pub url: String,
    pub directory: TempDir,
}

/// A running auth, with a client of the mesh and a person.
pub(crate) struct Running {
    pub auth: Arc<Auth>,
    pub channel: Channel,
    pub address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

pub(crate) const PASSWORD: &str = "correct horse";
const MESH_SECRET: &str = "a secret that is long enough for a client";

impl Running {
    pub(crate) async fn start(place: &Place, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at("127.0.0.1:0", place, change).await
    }

    pub(crate) async fn start_at(address: &str, place: &Place, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.store.url = Secret::from(place.url.clone());
        config.keys.encryption_key = Secret::from(generate_secret().unwrap());
        let policy = place.directory.path().join("catalog.cedar");
        let text = r#"permit(principal in Accord::Role::"catalog-reader",
            action == Accord::Action::"catalog.products.read", resource == Accord::Upstream::"catalog");"#;
        std::fs::write(&policy, text).unwrap();
        config.policy.files = vec![policy];
        change(&mut config);
        let auth = Arc::new(Auth::open(&config).await.unwrap());
        add_principals(&auth.store).await;
        let (shutdown, health) = (Shutdown::new(Duration::from_secs(1)), Health::new());
        let listen = ListenConfig { address: address.parse().unwrap(), ..ListenConfig::default() };
        let door = Listener::bind(&listen).await.unwrap();
        let address = door.address();
        tokio::spawn(maintenance::run(Arc::clone(&auth), health.clone(), shutdown.clone()));
        let serving = tokio::spawn(door.serve(surface(&auth, &health, &shutdown).unwrap(), shutdown.clone()));
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
        let grant = PasswordGrant { name: name.to_owned(), password: password.to_owned() };
        let request = IssueRequest { grant: Some(Grant::Password(grant)) };
        self.tokens().issue(request).await.map(tonic::Response::into_inner)
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

impl Drop for Running {
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

/// Waits until the condition holds; the test fails where that takes longer than any bound in these stories.
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
