//! A gRPC client that sends and shows everything as it stands on the wire.

use accord_fabric::Fabric;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpSocket, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The longest that a call may take, so that a test that hangs says where.
const BOUND: Duration = Duration::from_secs(20);

/// A call, of one of the echo's methods where nothing else is said.
#[derive(Clone)]
#[must_use]
pub(crate) struct GrpcCall {
    address: SocketAddr,
    from: IpAddr,
    method: http::Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct GrpcResponse {
    /// The initial metadata.
    pub head: HeaderMap,
    /// The frames.
    pub body: Bytes,
    /// The trailing metadata; that of the head where there is nothing else.
    pub trailers: HeaderMap,
}

/// A word in its gRPC frame.
pub(crate) fn word(text: &str) -> Bytes {
    frame(0, &Word { text: text.to_owned() }.encode_to_vec())
}

/// A message in a gRPC frame with this flag.
pub(crate) fn frame(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[flag], &length.to_be_bytes()[..], message].concat().into()
}

#[derive(Clone, PartialEq, Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
}

impl GrpcCall {
    /// A call of `echo.v1.EchoService/METHOD` with a word.
    pub(crate) fn new(fabric: &Fabric, method: &str, text: &str) -> Self {
        Self::to(fabric.gateway.listen, &format!("/echo.v1.EchoService/{method}")).body(word(text))
    }

    /// A call of any server on a path, with nothing in its body.
    pub(crate) fn to(address: SocketAddr, path: &str) -> Self {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Self {
            address,
            from: Ipv4Addr::LOCALHOST.into(),
            method: http::Method::POST,
            path: path.to_owned(),
            headers: headers.into_iter().collect(),
            body: Bytes::new(),
        }
    }

    /// From another address of this machine, which is another caller.
    pub(crate) fn from(mut self, address: Ipv4Addr) -> Self {
        self.from = address.into();
        self
    }

    /// By another HTTP method.
    pub(crate) fn method(mut self, method: http::Method) -> Self {
        self.method = method;
        self
    }

    /// On another path.
    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// With another body.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With a header more; one that is there already is replaced.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    /// Under a key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sends it, and reads the whole answer.
    pub(crate) async fn send(self) -> Result<GrpcResponse> {
        timeout(BOUND, self.exchange()).await.with_context(|| format!("no whole answer within {BOUND:?}"))?
    }

    /// Sends it, and reads no more than the head of the answer, which is OK where it has no status.
    pub(crate) async fn send_for_head(self) -> Result<GrpcResponse> {
        let head = async { Ok::<_, anyhow::Error>(self.request().await?.into_parts().0.headers) };
        let head = timeout(BOUND, head).await.with_context(|| format!("no head within {BOUND:?}"))??;
        let mut trailers = head.clone();
        trailers.entry("grpc-status").or_insert(HeaderValue::from_static("0"));
        Ok(GrpcResponse { head, body: Bytes::new(), trailers })
    }

    /// Sends it, and leaves as soon as `moment` has come.
    pub(crate) async fn leave_after(self, moment: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            answer = self.send() => anyhow::bail!("an answer came before the caller left: {answer:?}"),
            came = moment => came,
        }
    }

    async fn exchange(self) -> Result<GrpcResponse> {
        let (parts, body) = self.request().await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_else(|| parts.headers.clone());
        Ok(GrpcResponse { head: parts.headers, body: body.to_bytes(), trailers })
    }

    async fn request(self) -> Result<Response<Incoming>> {
        let uri = format!("http://{}{}", self.address, self.path);
        let mut request = Request::builder().method(self.method).uri(uri).body(Full::new(self.body))?;
        *request.headers_mut() = self.headers;
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

impl GrpcResponse {
    /// The status.
    pub(crate) fn status(&self) -> Status {
        Status::from_header_map(&self.trailers).unwrap_or_else(|| Status::unknown(format!("no status: {self:?}")))
    }

    /// The status' code.
    pub(crate) fn code(&self) -> Code {
        self.status().code()
    }

    /// The code and the stable reason.
    pub(crate) fn refusal(&self) -> (Code, String) {
        let status = self.status();
        (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
    }

    /// The frames of an answer that went well.
    pub(crate) fn ok(self) -> Result<Bytes> {
        ensure!(self.code() == Code::Ok, "{:?}", self.status());
        Ok(self.body)
    }
}
