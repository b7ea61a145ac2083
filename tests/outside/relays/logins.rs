//! Auth as the relay sees it: the real one, by a counter of logins.

use accord_api::accord::auth::v1::{
    ExchangeRequest, ExchangeResponse, IntrospectRequest, IntrospectResponse, IssueForRequest, IssueForResponse,
    IssueRequest, IssueResponse, RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse,
    issue_request::Grant,
    token_service_client::TokenServiceClient,
    token_service_server::{TokenService, TokenServiceServer},
};
use anyhow::Result;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};

/// What is said of the first token's life; the others live as long as they do.
const FIRST_LIFE: Duration = Duration::from_secs(1);

/// Counts logins.
pub(super) struct Logins {
    /// Where it serves.
    pub(super) listen: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Whether a login reaches auth with the secret that it came with.
    accepts: AtomicBool,
    accepted: AtomicUsize,
}

impl Logins {
    /// Serves before auth. Until [`Logins::accept`], every login reaches auth with a wrong secret.
    pub(super) async fn before(auth: Channel) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (listen, counts) = (listener.local_addr()?, Arc::<Counts>::default());
        let counter = Counter { auth: TokenServiceClient::new(auth), counts: Arc::clone(&counts) };
        let server = Server::builder().add_service(TokenServiceServer::new(counter));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { listen, counts })
    }

    /// Passes logins on to auth as they come from now on.
    pub(super) fn accept(&self) {
        self.counts.accepts.store(true, Ordering::Relaxed);
    }

    /// How many were passed on so.
    pub(super) fn count(&self) -> usize {
        self.counts.accepted.load(Ordering::Relaxed)
    }
}

struct Counter {
    auth: TokenServiceClient<Channel>,
    counts: Arc<Counts>,
}

/// A login with a secret that is none.
fn with_wrong_secret(mut request: IssueRequest) -> IssueRequest {
    if let Some(Grant::ClientCredentials(grant)) = &mut request.grant {
        grant.client_secret.push_str("-wrong");
    }
    request
}

fn not_counted<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("logins alone are counted"))
}

#[tonic::async_trait]
impl TokenService for Counter {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        if !self.counts.accepts.load(Ordering::Relaxed) {
            return self.auth.clone().issue(with_wrong_secret(request.into_inner())).await;
        }
        let is_first = self.counts.accepted.fetch_add(1, Ordering::Relaxed) == 0;
        let mut answer = self.auth.clone().issue(request.into_inner()).await?;
        if is_first {
            answer.get_mut().expires_in = FIRST_LIFE.try_into().ok();
        }
        Ok(answer)
    }

    async fn issue_for(&self, _: Request<IssueForRequest>) -> Result<Response<IssueForResponse>, Status> {
        not_counted()
    }

    async fn refresh(&self, _: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        not_counted()
    }

    async fn exchange(&self, _: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
        not_counted()
    }

    async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        not_counted()
    }

    async fn introspect(&self, _: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        not_counted()
    }
}
