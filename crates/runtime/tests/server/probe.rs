//! The service that the tests call, and the port it stands on.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use accord_runtime::{
    enforce::Enforce,
    grpc_server::{BOUNDS, GrpcServer, GrpcService, Unguarded},
    health::Health,
    server::{ListenConfig, Listener},
    shutdown::Shutdown,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tokio::{sync::Notify, task::JoinHandle};
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::{Service, ServiceExt};

/// Answers by the name of the called method.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    calls: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
    release: Arc<Notify>,
    let_go: Arc<Notify>,
}

impl Probe {
    /// How many calls reached the service.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Ends when a call has arrived.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets one `Wait` answer.
    pub(crate) fn release(&self) {
        self.release.notify_one();
    }

    /// Ends when the body of a `Flood` has been let go.
    pub(crate) async fn let_go(&self) {
        self.let_go.notified().await;
    }

    /// The service on a gRPC server of its own.
    pub(crate) fn grpc_server(&self) -> GrpcService<Routes> {
        GrpcServer::new(&Health::new(), Unguarded::new()).service(self.clone()).into_service().unwrap()
    }
}

impl NamedService for Probe {
    const NAME: &'static str = "probe.v1.Probe";
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let probe = self.clone();
        Box::pin(async move {
            probe.calls.fetch_add(1, Ordering::SeqCst);
            probe.arrived.notify_one();
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            Ok(match method {
                "Wait" => {
                    probe.release.notified().await;
                    ended()
                }
                "Take" => {
                    let _ = request.into_body().collect().await;
                    ended()
                }
                "Never" => std::future::pending().await,
                "Panic" => panic!("boom"),
                "Endless" => endless(),
                "Flood" => flood(LetGo(Arc::clone(&probe.let_go))),
                _ => ended(),
            })
        })
    }
}

fn grpc(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn ended() -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
    grpc(Body::new(StreamBody::new(stream::iter(frames))))
}

/// One message, then silence.
fn endless() -> Response<Body> {
    let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 5])))]);
    grpc(Body::new(StreamBody::new(futures_util::StreamExt::chain(first, stream::pending()))))
}

/// More bytes whenever somebody reads.
fn flood(guard: LetGo) -> Response<Body> {
    let bytes = move |_: &mut Context<'_>| {
        let _held = &guard;
        Poll::Ready(Some(Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 10_000])))))
    };
    grpc(Body::new(StreamBody::new(stream::poll_fn(bytes))))
}

/// Says when it is gone.
struct LetGo(Arc<Notify>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A port with a probe on it.
pub(crate) struct Port {
    pub address: SocketAddr,
    pub probe: Probe,
    pub shutdown: Shutdown,
    pub served: JoinHandle<()>,
}

/// Serves a probe without a gRPC server around it, which would refuse calls over HTTP/1.1.
pub(crate) async fn serve_http(config: &ListenConfig, grace: Duration) -> Port {
    let probe = Probe::default();
    let service = Enforce::new(
        probe.clone().map_request(|request: Request<Incoming>| request.map(Body::new)),
        Arc::new(|_| BOUNDS),
    );
    let listener = Listener::bind(config).await.unwrap();
    let (address, shutdown) = (listener.address(), Shutdown::new(grace));
    let served = tokio::spawn(listener.serve(service, shutdown.clone()));
    Port { address, probe, shutdown, served }
}

/// Serves a probe as `config` says, with `grace` to drain.
pub(crate) async fn serve(config: &ListenConfig, grace: Duration) -> Port {
    let probe = Probe::default();
    let listener = Listener::bind(config).await.unwrap();
    let (address, shutdown) = (listener.address(), Shutdown::new(grace));
    let served = tokio::spawn(listener.serve(probe.grpc_server(), shutdown.clone()));
    Port { address, probe, shutdown, served }
}
