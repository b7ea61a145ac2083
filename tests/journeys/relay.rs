//! Relay: a service that calls its neighbour, the scripted upstream, by the gateway's internal listener.

use crate::scripted_upstream::{ReceivedCall, ScriptedUpstream};
use accord_fabric::{Builder, Fabric, binaries::workspace};
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2 as client, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tonic::{body::Body, service::Routes};

/// What a service sends on of the call that it serves; its own token stands beside it.
const SENT_ON: [&str; 8] = [
    "x-accord-passport",
    "x-accord-criticality",
    "grpc-timeout",
    "x-request-id",
    "traceparent",
    "tracestate",
    "content-type",
    "te",
];

/// A running relay.
#[derive(Clone)]
pub(crate) struct Relay(Arc<State>);

struct State {
    /// The internal listener, and the relay's own token; known once the gateway is there.
    gateway: OnceLock<(SocketAddr, String)>,
    received: Mutex<Vec<ReceivedCall>>,
    barrier: Mutex<Option<Arc<Notify>>>,
    reflection: Routes,
}

impl Relay {
    /// A relay before a scripted upstream, and a fabric with both behind the gateway.
    pub(crate) async fn before_scripted_upstream() -> Result<(Self, ScriptedUpstream, Fabric)> {
        Self::with(|builder| builder).await
    }

    /// The same with a fabric that is otherwise.
    pub(crate) async fn with(change: impl FnOnce(Builder) -> Builder) -> Result<(Self, ScriptedUpstream, Fabric)> {
        let (echo, listener) = (ScriptedUpstream::start().await?, TcpListener::bind("127.0.0.1:0").await?);
        let relay = Self(Arc::new(State {
            gateway: OnceLock::new(),
            received: Mutex::default(),
            barrier: Mutex::default(),
            reflection: reflection()?,
        }));
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(relay.clone().serve(listener));
        let builder = echo.behind()?.upstream("relay", &url).overlay("tests/journeys/echo/relay.toml");
        let fabric = change(builder.policy("tests/journeys/echo/relay.cedar")).start().await?;
        fabric.manage(&["principal", "add", "relay", "--kind", "service"]).await?;
        let token = fabric.token("relay").await?;
        relay.0.gateway.get_or_init(|| (fabric.internal, token));
        Ok((relay, echo, fabric))
    }

    /// The calls received since it was last asked.
    pub(crate) fn take_received(&self) -> Vec<ReceivedCall> {
        std::mem::take(&mut *self.0.received.lock().expect("no panic"))
    }

    /// Holds the calls that it receives from now on until the barrier is told.
    pub(crate) fn hold(&self) -> Arc<Notify> {
        Arc::clone(self.0.barrier.lock().expect("no panic").insert(Arc::default()))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let relay = self.clone();
            let service = service_fn(move |request| relay.clone().call(request));
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn call(self, request: Request<Incoming>) -> Result<Response<Body>> {
        let Some(method) = request.uri().path().strip_prefix("/relay.v1.RelayService/").map(str::to_owned) else {
            return Ok(tower::ServiceExt::oneshot(self.0.reflection.clone(), request)
                .await
                .unwrap_or_else(|never| match never {}));
        };
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let received = ReceivedCall { headers: parts.headers.clone(), body: body.clone() };
        self.0.received.lock().expect("no panic").push(received);
        let barrier = self.0.barrier.lock().expect("no panic").clone();
        if let Some(barrier) = barrier {
            barrier.notified().await;
        }
        let answer = self.neighbour(&method, &parts.headers, body).await?;
        // As it comes, status and trailers included; where its caller leaves, this is dropped, and the call with it.
        Ok(answer.map(Body::new))
    }

    /// Calls the method of this name of the echo, as the service that it is, for whoever it was called for.
    async fn neighbour(&self, method: &str, headers: &HeaderMap, body: Bytes) -> Result<Response<Incoming>> {
        let (address, token) = self.0.gateway.get().context("the gateway is not there yet")?;
        let uri = format!("http://{address}/echo.v1.EchoService/{method}");
        let mut request = Request::post(uri).header("authorization", format!("Bearer {token}"));
        for name in SENT_ON {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request.body(Full::new(body))?).await?)
    }
}

/// The passport of a call as it was received.
pub(crate) fn passport(call: &ReceivedCall) -> &str {
    call.headers["x-accord-passport"].to_str().expect("text")
}

/// What a call's passport says.
pub(crate) fn claims(call: &ReceivedCall) -> Value {
    let payload = passport(call).split('.').nth(1).expect("three segments");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// What the service is, told by server reflection.
fn reflection() -> Result<Routes> {
    let mut compiler = protox::Compiler::new([workspace().join("tests/journeys/echo")])?;
    let files = compiler.include_imports(true).open_file("relay.proto")?.encode_file_descriptor_set();
    let builder = tonic_reflection::server::Builder::configure();
    Ok(Routes::new(builder.register_encoded_file_descriptor_set(&files).build_v1()?).prepare())
}
