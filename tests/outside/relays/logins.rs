//! Auth as the relay sees it: the real one, by a counter of logins.

use accord_api::accord::auth::v1::{
    ExchangeRequest, ExchangeResponse, IntrospectRequest, IntrospectResponse, IssueRequest, IssueResponse,
    RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse,
    token_service_client::TokenServiceClient,
    token_service_server::{TokenService, TokenServiceServer},
};
use anyhow::Result;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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
    count: Arc<AtomicUsize>,
}

impl Logins {
    /// Serves before auth.
    pub(super) async fn before(auth: Channel) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (listen, count) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let counter = Counter { auth: TokenServiceClient::new(auth), count: Arc::clone(&count) };
        let server = Server::builder().add_service(TokenServiceServer::new(counter));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { listen, count })
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

struct Counter {
    auth: TokenServiceClient<Channel>,
    count: Arc<AtomicUsize>,
}

fn not_counted<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("logins alone are counted"))
}

#[tonic::async_trait]
impl TokenService for Counter {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let is_first = self.count.fetch_add(1, Ordering::Relaxed) == 0;
        let mut answer = self.auth.clone().issue(request.into_inner()).await?;
        if is_first {
            answer.get_mut().expires_in = FIRST_LIFE.try_into().ok();
        }
        Ok(answer)
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
