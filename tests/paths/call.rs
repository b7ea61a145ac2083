//! Calls of the gateway in each protocol, and what came back, in one form for all.

use accord_fabric::{
    Fabric,
    http::HttpResponse,
    web::{WebAnswer, WebProtocol},
    websocket::{Format, WebSocketAnswer, WebSocketCall},
};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, Method, Request};
use prost::Message;
use serde_json::{Value, json};
use std::{fmt, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::pb;

/// The longest that a call may take, so that a test that hangs says where.
const BOUND: Duration = Duration::from_secs(30);

/// How a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Grpc,
    GrpcWeb,
    Connect,
    Json,
    WebSocket,
}

impl Protocol {
    pub(crate) const ALL: [Self; 5] = [Self::Grpc, Self::GrpcWeb, Self::Connect, Self::Json, Self::WebSocket];

    /// Whether the HTTP status follows from the code.
    pub(crate) fn has_http_status(self) -> bool {
        matches!(self, Self::Connect | Self::Json)
    }

    /// Whether an answer has metadata. A WebSocket has its only head before the call.
    pub(crate) fn has_metadata(self) -> bool {
        self != Self::WebSocket
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Connect => "connect",
            Self::Json => "json",
            Self::WebSocket => "websocket",
        })
    }
}

/// A call of a row's service.
#[derive(Clone)]
pub(crate) struct RowCall {
    /// `pkg.Service/Method`.
    pub method: String,
    /// The text of the request.
    pub text: String,
    /// What the caller sends beside it.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The caller's own deadline.
    pub timeout: Option<Duration>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct CallResult {
    /// The code; in words where the answer is not one of its protocol.
    pub code: Result<Code, String>,
    /// The HTTP status of a JSON answer.
    pub http: u16,
    /// The message of an error.
    pub message: String,
    /// Its details.
    pub details: Vec<Detail>,
    /// The text of an answer that went well.
    pub text: String,
    /// The initial metadata; all metadata of a JSON answer.
    pub head: HeaderMap,
    /// The trailing metadata, also where it stands in the head because there is nothing else.
    pub trailers: HeaderMap,
}

/// What is compared of a detail of an error, in either protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detail {
    /// The last name of its type.
    pub name: String,
    /// The reason of an `ErrorInfo`.
    pub reason: String,
    /// Which part of the mesh an `ErrorInfo` of Accord names.
    pub component: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
}

/// A word in its gRPC frame.
pub(crate) fn word(text: &str) -> Bytes {
    let message = Word { text: text.to_owned() }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a message below 4 GiB");
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

/// `google.rpc.Status` as it stands in `grpc-status-details-bin`.
pub(crate) fn rpc_status(code: Code, message: &str, details: Vec<prost_types::Any>) -> Bytes {
    pb::Status { code: code as i32, message: message.to_owned(), details }.encode_to_vec().into()
}

impl RowCall {
    /// Sends it, and reads the whole answer.
    pub(crate) async fn send(&self, fabric: &Fabric, protocol: Protocol) -> Result<CallResult> {
        let exchange = async {
            match protocol {
                Protocol::Grpc => self.send_grpc(fabric).await,
                Protocol::GrpcWeb => self.send_web(fabric, WebProtocol::GrpcWeb).await,
                Protocol::Connect => self.send_web(fabric, WebProtocol::ConnectJson).await,
                Protocol::Json => self.send_json(fabric).await,
                Protocol::WebSocket => self.send_websocket(fabric).await,
            }
        };
        timeout(BOUND, exchange).await.with_context(|| format!("no whole answer to {} in {BOUND:?}", self.method))?
    }

    async fn send_grpc(&self, fabric: &Fabric) -> Result<CallResult> {
        let mut request = Request::post(format!("{}/{}", fabric.gateway.url(), self.method))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(timeout) = self.timeout {
            request = request.header("grpc-timeout", format!("{}m", timeout.as_millis()));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(())?;
        let stream = TcpStream::connect(fabric.gateway.listen).await?;
        // Whatever the gateway may pass on fits: its bounds are tested, not this client's.
        let mut client = h2::client::Builder::new();
        client.max_header_list_size(1 << 20).initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
        let (client, connection) = client.handshake(stream).await?;
        tokio::select! {
            // First, so that head and message leave in one piece: what the gateway may send again must not depend on when
            // the one comes after the other.
            biased;
            answer = exchange(client, request, word(&self.text)) => answer,
            ended = connection => bail!("the connection ended amid the call: {ended:?}"),
        }
    }

    async fn send_web(&self, fabric: &Fabric, protocol: WebProtocol) -> Result<CallResult> {
        let mut call = protocol.call(fabric.call(Method::POST, &format!("/{}", self.method)), &[&self.text]);
        if let Some(time) = self.timeout {
            call = protocol.timeout(call, time.as_millis());
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        Ok(CallResult::of_web(protocol.send(call).await?))
    }

    async fn send_json(&self, fabric: &Fabric) -> Result<CallResult> {
        let mut call = fabric.call(Method::POST, &format!("/{}", self.method));
        // Said to be JSON, it would be Connect.
        call = call.body("text/plain", json!({ "text": self.text }).to_string());
        if let Some(timeout) = self.timeout {
            call = call.header("request-timeout", &timeout.as_secs_f64().to_string());
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        Ok(CallResult::of_json(&call.send().await?))
    }

    async fn send_websocket(&self, fabric: &Fabric) -> Result<CallResult> {
        let mut call = WebSocketCall::new(fabric.gateway.listen, &format!("/{}", self.method), Format::Json);
        if let Some(timeout) = self.timeout {
            call = call.header("request-timeout", &timeout.as_secs_f64().to_string())?;
        }
        for (name, value) in &self.headers {
            call = call.header(name, value)?;
        }
        Ok(CallResult::of_websocket(call.send(&[&self.text]).await?))
    }
}

async fn exchange(client: SendRequest<Bytes>, request: Request<()>, message: Bytes) -> Result<CallResult> {
    let (response, mut sending) = client.ready().await?.send_request(request, false)?;
    sending.send_data(message, true)?;
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let (head, trailers) = match stream.trailers().await? {
        Some(trailers) => (parts.headers, trailers),
        None => (HeaderMap::new(), parts.headers),
    };
    Ok(CallResult::of_grpc(head, &body, trailers))
}

impl CallResult {
    fn of_grpc(head: HeaderMap, body: &[u8], trailers: HeaderMap) -> Self {
        let metadata = MetadataMap::from_headers(trailers.clone());
        // Not by tonic, which panics over details that are no base64.
        let details = metadata.get_bin("grpc-status-details-bin").map(MetadataValue::to_bytes);
        let mut plain = trailers.clone();
        plain.remove("grpc-status-details-bin");
        let status = Status::from_header_map(&plain);
        let text = body.get(5..).and_then(|message| Word::decode(message).ok()).unwrap_or_default().text;
        Self {
            code: status.as_ref().map(Status::code).ok_or_else(|| "none".to_owned()),
            http: 200,
            message: status.map(|status| status.message().to_owned()).unwrap_or_default(),
            details: match details {
                None => Vec::new(),
                Some(Ok(bytes)) => pb::Status::decode(bytes).map(|status| details_of(&status)).unwrap_or_default(),
                Some(Err(_)) => vec![Detail { name: "not base64".to_owned(), ..Detail::default() }],
            },
            text,
            head,
            trailers,
        }
    }

    fn of_web(answer: WebAnswer) -> Self {
        let any = |(name, value): &(String, Vec<u8>)| {
            Detail::of_any(&prost_types::Any { type_url: name.clone(), value: value.clone() })
        };
        // Where a status is all of an answer, its metadata is trailing.
        let is_alone = answer.head.contains_key("grpc-status");
        let none = HeaderMap::new();
        let (head, trailers) = if is_alone { (none, answer.head) } else { (answer.head, answer.trailers) };
        Self {
            code: Ok(answer.code),
            http: answer.http,
            message: answer.message,
            details: answer.details.iter().map(any).collect(),
            text: answer.texts.into_iter().next().unwrap_or_default(),
            head,
            trailers,
        }
    }

    fn of_json(answer: &HttpResponse) -> Self {
        let body = answer.json().ok();
        let error = body.as_ref().and_then(|body| body["code"].as_i64());
        let code = match (answer.status.is_success(), &body, error) {
            (true, Some(_), None) => Ok(Code::Ok),
            (false, _, Some(code)) => Ok(Code::from_i32(i32::try_from(code).unwrap_or(-1))),
            _ => Err(format!("HTTP {} without JSON", answer.status.as_u16())),
        };
        let body = body.unwrap_or_default();
        let said = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let details = body["details"].as_array().into_iter().flatten();
        let (head, trailers) = told_apart(&answer.headers);
        Self {
            code,
            http: answer.status.as_u16(),
            message: said("message"),
            details: details.map(Detail::of_json).collect(),
            text: said("text"),
            head,
            trailers,
        }
    }

    fn of_websocket(answer: WebSocketAnswer) -> Self {
        Self {
            code: answer.close.map(|_| answer.code).ok_or_else(|| "no close".to_owned()),
            http: 101,
            message: answer.message,
            details: answer.details.iter().map(Detail::of_json).collect(),
            text: answer.texts.into_iter().next().unwrap_or_default(),
            head: HeaderMap::new(),
            trailers: HeaderMap::new(),
        }
    }

    /// The answer's header of this name, wherever it stands.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name).or_else(|| self.trailers.get(name))?.to_str().ok()
    }
}

fn details_of(status: &pb::Status) -> Vec<Detail> {
    status.details.iter().map(Detail::of_any).collect()
}

impl Detail {
    fn of_any(any: &prost_types::Any) -> Self {
        let detail = Self { name: last(&any.type_url), ..Self::default() };
        if detail.name != "ErrorInfo" {
            return detail;
        }
        let info = pb::ErrorInfo::decode(&*any.value).unwrap_or_default();
        let component = info.metadata.get("component").filter(|_| info.domain == "accord").cloned();
        Self { reason: info.reason, component, ..detail }
    }

    fn of_json(detail: &Value) -> Self {
        let said = |value: &Value| value.as_str().map(ToOwned::to_owned);
        Self {
            name: last(detail["@type"].as_str().unwrap_or_default()),
            reason: said(&detail["reason"]).unwrap_or_default(),
            component: said(&detail["metadata"]["component"]).filter(|_| detail["domain"] == "accord"),
        }
    }
}

/// The metadata of an answer in JSON, whose trailing part stands in the head under names of its own.
fn told_apart(headers: &HeaderMap) -> (HeaderMap, HeaderMap) {
    let (mut head, mut trailers) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in headers {
        let trailing = name.as_str().strip_prefix("trailer-").and_then(|name| HeaderName::try_from(name).ok());
        match trailing {
            Some(name) => trailers.append(name, value.clone()),
            None => head.append(name, value.clone()),
        };
    }
    (head, trailers)
}

fn last(type_url: &str) -> String {
    type_url.rsplit(['/', '.']).next().unwrap_or_default().to_owned()
}
