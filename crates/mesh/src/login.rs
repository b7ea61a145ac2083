//! The binary's own identity: logs in, and again before the token ends.

use std::{sync::Arc, time::Duration};

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IssueRequest, issue_request::Grant, token_service_client::TokenServiceClient,
};
use accord_runtime::{
    backoff::Backoff,
    config::Secret,
    deadline::Deadline,
    fault,
    observe::code_name,
    reload::Reloading,
    request::{self, RequestId},
    shutdown::Shutdown,
};
use accord_token::Refusal;
use accord_upstream::Client;
use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tonic::{Code, Status, metadata::AsciiMetadataValue};

use crate::config::MeshConfig;

/// How long one attempt to log in may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Waits between attempts. The last is short against any sensible bound on staleness, so that a restart of auth goes
/// unnoticed.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
const JITTER: f64 = 0.5;

pub(crate) struct Login {
    auth: Client,
    config: MeshConfig,
    /// Its file is followed, so that a rotated secret takes no restart.
    secret: Arc<Reloading<Secret>>,
    held: ArcSwapOption<Held>,
    /// Changes at each login, for those who wait for the first.
    logins: watch::Sender<u64>,
    /// A call learned that the token is not good any more.
    rejected: Notify,
}

struct Held {
    /// As it stands in `authorization`, made once.
    bearer: AsciiMetadataValue,
    ends: Instant,
}

impl Login {
    pub(crate) fn new(auth: Client, config: &MeshConfig, secret: Arc<Reloading<Secret>>) -> Self {
        let (logins, _) = watch::channel(0);
        let config = config.clone();
        Self { auth, config, secret, held: ArcSwapOption::empty(), logins, rejected: Notify::new() }
    }

    /// Somebody whom auth need not know.
    #[cfg(test)]
    pub(crate) fn stranger(auth: Client) -> Self {
        let (client_id, client_secret) = ("stranger".to_owned(), Secret::from("secret"));
        let config = MeshConfig { client_id, client_secret, ..MeshConfig::default() };
        Self::new(auth, &config, config.followed_identity().expect("a secret"))
    }

    /// The token held as a bearer credential, where it has not ended.
    pub(crate) fn bearer(&self) -> Result<AsciiMetadataValue, Refusal> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| Instant::now() < held.ends);
        held.map(|held| held.bearer.clone()).ok_or(Refusal::Unavailable)
    }

    /// How much longer the held token lasts; None where none is held or it has ended.
    pub(crate) fn lasts_for(&self) -> Option<Duration> {
        let left = self.held.load().as_ref()?.ends.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }

    /// Waits until a token is held.
    pub(crate) async fn first_bearer(&self) -> AsciiMetadataValue {
        let mut logins = self.logins.subscribe();
        loop {
            logins.mark_unchanged();
            if let Ok(bearer) = self.bearer() {
                return bearer;
            }
            // The sender lives in `self`, so it can't have gone.
            let _ = logins.changed().await;
        }
    }

    /// Changes with each login.
    pub(crate) fn logins(&self) -> watch::Receiver<u64> {
        self.logins.subscribe()
    }

    /// The token was refused although it had not ended: its subject was revoked, or auth's keys were replaced.
    pub(crate) fn reject(&self) {
        self.rejected.notify_one();
    }

    /// Holds the token of a login until it ends or the next one takes its place.
    pub(crate) fn hold(&self, bearer: AsciiMetadataValue, ends: Instant) {
        self.held.store(Some(Arc::new(Held { bearer, ends })));
        self.logins.send_modify(|logins| *logins += 1);
    }

    /// Logs in again and again until shutdown.
    pub(crate) async fn keep(self: Arc<Self>, shutdown: Shutdown) {
        let mut backoff = backoff();
        let mut logged = None;
        let mut secrets = self.secret.versions();
        loop {
            let (wait, is_in) = match self.attempt().await {
                Ok(life) => {
                    logged = None;
                    // At two thirds of its life, so that a third is left for auth to be down in.
                    (life * 2 / 3, true)
                }
                Err(status) => {
                    // Once for each kind of failure: an auth that is down for a night must not fill a disk.
                    if logged.replace(status.code()) != Some(status.code()) {
                        self.log_failure(&status);
                    }
                    (backoff.next_wait(), false)
                }
            };
            tokio::select! {
                // Only a token that lasted is a success: auth may give out what it then refuses.
                () = sleep(wait) => if is_in { backoff.reset() },
                // A rejected token is renewed early, but not in a tight loop.
                () = async { self.rejected.notified().await; sleep(backoff.next_wait()).await } => {}
                // Whether another secret is good is better known while the token that it follows still lasts.
                Ok(()) = secrets.changed() => logged = None,
                () = shutdown.begun() => return,
            }
        }
    }

    fn log_failure(&self, status: &Status) {
        let (url, client_id) = (&*self.config.url, &*self.config.client_id);
        let reason = fault::reason_of(status).map(fault::name);
        match status.code() {
            Code::Unauthenticated => tracing::error!(
                client_id,
                reason,
                "auth does not accept this binary's client id and secret: give it those that `accord-auth client add` \
                 made; it keeps trying"
            ),
            Code::Unimplemented => tracing::error!(
                url,
                reason,
                "what answers there is not auth: give `auth.url` the address on which auth serves; it keeps trying"
            ),
            code => {
                let cause = fault::cause(status);
                tracing::warn!(
                    url,
                    client_id,
                    code = code_name(code),
                    reason,
                    cause,
                    "this binary could not log in yet; it keeps trying"
                );
            }
        }
    }

    async fn attempt(&self) -> Result<Duration, Status> {
        let grant = ClientCredentialsGrant {
            client_id: self.config.client_id.clone(),
            client_secret: self.secret.get().expose().to_owned(),
            ..ClientCredentialsGrant::default()
        };
        let message = IssueRequest { grant: Some(Grant::ClientCredentials(grant)) };
        let deadline = Deadline::after(ATTEMPT);
        let request = request::outbound(message, deadline, &RequestId::new());
        // The life counts from before the question: an answer that took long has used some of it up.
        let asked = Instant::now();
        let mut client = TokenServiceClient::new(self.auth.clone());
        let answer = tokio::time::timeout_at(deadline.at(), client.issue(request))
            .await
            .map_err(|_| Status::deadline_exceeded("auth did not answer in time"))??
            .into_inner();
        let life = answer.expires_in.and_then(|life| Duration::try_from(life).ok()).unwrap_or_default();
        let bearer = request::bearer(&answer.access_token);
        let bearer = bearer.ok_or_else(|| Status::internal("auth's token can't stand in a header"))?;
        self.hold(bearer, asked + life);
        Ok(life.max(FIRST_BACKOFF))
    }
}

/// The waits between attempts to reach auth.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use accord_api::accord::auth::v1::{
        ExchangeRequest, ExchangeResponse, IntrospectRequest, IntrospectResponse, IssueForRequest, IssueForResponse,
        IssueResponse, RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse,
        token_service_server::{TokenService, TokenServiceServer},
    };
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Request, Response, transport::Server};

    use super::*;

    /// Gives everybody a token for an hour.
    struct Generous;

    #[tonic::async_trait]
    impl TokenService for Generous {
        async fn issue(&self, _: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
            let expires_in = Duration::from_hours(1).try_into().ok();
            Ok(Response::new(IssueResponse { access_token: "token".into(), expires_in, ..IssueResponse::default() }))
        }

        async fn issue_for(&self, _: Request<IssueForRequest>) -> Result<Response<IssueForResponse>, Status> {
            Err(Status::unimplemented("not called here"))
        }

        async fn refresh(&self, _: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
            Err(Status::unimplemented("not called here"))
        }

        async fn exchange(&self, _: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
            Err(Status::unimplemented("not called here"))
        }

        async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
            Err(Status::unimplemented("not called here"))
        }

        async fn introspect(&self, _: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
            Err(Status::unimplemented("not called here"))
        }
    }

    async fn generous_auth() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Server::builder().add_service(TokenServiceServer::new(Generous));
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    #[tokio::test]
    async fn secret_file_that_changes_is_followed_by_a_login() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "first").unwrap();
        let client_id = "shop".to_owned();
        let config = MeshConfig { client_id, client_secret_file: Some(file.clone()), ..MeshConfig::default() };
        let auth = Client::lazy(&format!("http://{}", generous_auth().await)).unwrap();
        let login = Arc::new(Login::new(auth, &config, config.followed_identity().unwrap()));
        let mut logins = login.logins();
        let keeping = tokio::spawn(Arc::clone(&login).keep(Shutdown::new(Duration::ZERO)));
        logins.changed().await.unwrap();
        std::fs::write(&file, "second\n").unwrap();
        tokio::time::timeout(Duration::from_secs(20), logins.changed()).await.expect("another login").unwrap();
        assert_eq!(login.secret.get().expose(), "second");
        keeping.abort();
    }

    #[tokio::test]
    async fn login_that_is_refused_is_retried_with_backoff() {
        let auth = Client::lazy(&format!("http://{}", generous_auth().await)).unwrap();
        let login = Arc::new(Login::stranger(auth));
        let mut logins = login.logins();
        let keeping = tokio::spawn(Arc::clone(&login).keep(Shutdown::new(Duration::ZERO)));
        let begun = Instant::now();
        for _ in 0..6 {
            logins.changed().await.unwrap();
            login.reject();
        }
        // The shortest that five waits can be which double from the first on.
        assert!(begun.elapsed() >= FIRST_BACKOFF / 2 * (1 + 2 + 4 + 8 + 16), "{:?}", begun.elapsed());
        keeping.abort();
    }
}
