//! What holds on every database that auth can have its store in.

pub(crate) mod access;
pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod admin_service;
pub(crate) mod api_keys;
pub(crate) mod backup;
pub(crate) mod certificate_identities;
pub(crate) mod client_key_service;
pub(crate) mod client_keys;
pub(crate) mod clocks;
pub(crate) mod device;
pub(crate) mod device_decisions;
pub(crate) mod encryption_key_rotation;
pub(crate) mod key_retirement;
pub(crate) mod administration_lists;
pub(crate) mod audit_stream;
pub(crate) mod exchange;
pub(crate) mod ext_authz;
pub(crate) mod issuers;
pub(crate) mod key_rotation;
pub(crate) mod kubernetes;
pub(crate) mod links;
pub(crate) mod login;
pub(crate) mod missing_tables;
pub(crate) mod oauth;
pub(crate) mod own_services;
pub(crate) mod refresh;
pub(crate) mod relations;
pub(crate) mod revocation;
pub(crate) mod verifier;

pub(crate) mod forge;
pub(crate) mod http;
pub(crate) mod provider;
pub(crate) mod proxy;
mod list;

pub(crate) use list::{administration_tests, database_tests};

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
    resource: "",
    address: None,
    protocol: "grpc",
    actor: None,
};

pub(crate) const MESH_SECRET: &str = "a secret that is long enough for a client";

impl Server {
    pub(crate) async fn start(database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at("127.0.0.1:0", database, change).await
    }

    pub(crate) async fn start_at(address: &str, database: &Database, change: impl FnOnce(&mut Config)) -> Self {
        let config = config(database, change);
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

    /// As many as these on one database, with one encryption key.
    pub(crate) async fn replicas<const COUNT: usize>(
        database: &Database,
        change: impl Fn(&mut Config),
    ) -> [Self; COUNT] {
        let key = generate_secret().unwrap();
        let with_key = |config: &mut Config| {
            config.keys.encryption_key = Secret::from(key.clone());
            change(config);
        };
        let mut replicas = Vec::new();
        for _ in 0..COUNT {
            replicas.push(Self::start(database, with_key).await);
        }
        replicas.try_into().ok().unwrap()
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
        let grant = ClientCredentialsGrant {
            client_id: id.to_owned(),
            client_secret: secret.to_owned(),
            ..ClientCredentialsGrant::default()
        };
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

/// The configuration of an auth on this database, which grants readers of the catalog what they need.
pub(crate) fn config(database: &Database, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    config.store.url = database.url.parse().unwrap();
    config.keys.encryption_key = Secret::from(generate_secret().unwrap());
    let policy = database.directory.path().join("catalog.cedar");
    let text = r#"permit(principal in Accord::Role::"catalog-reader",
        action == Accord::Action::"catalog.products.read", resource == Accord::Upstream::"catalog");"#;
    std::fs::write(&policy, text).unwrap();
    config.policy.files = vec![policy];
    change(&mut config);
    config
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
    let grant = PasswordGrant { name: name.to_owned(), password: password.to_owned(), totp_code: String::new() };
    IssueRequest { grant: Some(Grant::Password(grant)) }
}
