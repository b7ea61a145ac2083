//! gRPC-Web and Connect on HTTP/1.1, for methods whose messages hold a text: what a browser's library sends, with nothing hidden.

use anyhow::{Context, Result, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::http::{HttpCall, HttpResponse};

/// How a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WebProtocol {
    /// gRPC-Web.
    GrpcWeb,
    /// The same in base64.
    GrpcWebText,
    /// A unary call of Connect in protobuf.
    ConnectProto,
    /// The same in JSON.
    ConnectJson,
    /// A stream of Connect in protobuf.
    ConnectProtoStream,
    /// The same in JSON.
    ConnectJsonStream,
}

/// A message of the tests' services.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Word {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct WebAnswer {
    /// The code.
    pub code: Code,
    /// The HTTP status.
    pub http: u16,
    /// The message of an error.
    pub message: String,
    /// The types of its details, and their bytes.
    pub details: Vec<(String, Vec<u8>)>,
    /// The messages.
    pub texts: Vec<String>,
    /// The initial metadata.
    pub head: HeaderMap,
    /// The trailing metadata; empty where all of it stands in the head.
    pub trailers: HeaderMap,
}

impl WebProtocol {
    /// The protocols of unary calls.
    pub const UNARY: [Self; 4] = [Self::GrpcWeb, Self::GrpcWebText, Self::ConnectProto, Self::ConnectJson];
    /// The protocols of streams.
    pub const STREAMS: [Self; 4] =
        [Self::GrpcWeb, Self::GrpcWebText, Self::ConnectProtoStream, Self::ConnectJsonStream];

    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::GrpcWebText => "application/grpc-web-text+proto",
            Self::ConnectProto => "application/proto",
            Self::ConnectJson => "application/json",
            Self::ConnectProtoStream => "application/connect+proto",
            Self::ConnectJsonStream => "application/connect+json",
        }
    }

    /// Whether it is Connect.
    pub fn is_connect(self) -> bool {
        !matches!(self, Self::GrpcWeb | Self::GrpcWebText)
    }

    fn is_json(self) -> bool {
        matches!(self, Self::ConnectJson | Self::ConnectJsonStream)
    }

    /// A call with these messages in its body.
    pub fn call(self, call: HttpCall, texts: &[&str]) -> HttpCall {
        let call = if self.is_connect() { call.header("connect-protocol-version", "1") } else { call };
        call.body(self.content_type(), self.body(texts))
    }

    /// A timeout in its form.
    pub fn timeout(self, call: HttpCall, milliseconds: u128) -> HttpCall {
        if self.is_connect() {
            call.header("connect-timeout-ms", &milliseconds.to_string())
        } else {
            call.header("grpc-timeout", &format!("{milliseconds}m"))
        }
    }

    /// The body of a request.
    pub fn body(self, texts: &[&str]) -> Bytes {
        let message = |text: &&str| {
            if self.is_json() {
                json!({ "text": text }).to_string().into_bytes()
            } else {
                Word { text: (*text).to_owned() }.encode_to_vec()
            }
        };
        let frames = || texts.iter().map(|text| frame(0, &message(text)));
        match self {
            Self::ConnectProto | Self::ConnectJson => texts.iter().flat_map(message).collect(),
            // In pieces of their own, each with its padding.
            Self::GrpcWebText => frames().map(|frame| STANDARD.encode(frame)).collect::<String>().into(),
            _ => frames().flatten().collect(),
        }
    }

    /// Sends it, and reads the whole answer.
    pub async fn send(self, call: HttpCall) -> Result<WebAnswer> {
        let answer = call.send().await?;
        self.read(&answer).with_context(|| format!("{self:?}: {answer:?}"))
    }

    /// Reads an answer.
    pub fn read(self, answer: &HttpResponse) -> Result<WebAnswer> {
        match self {
            Self::ConnectProto | Self::ConnectJson => self.unary(answer),
            _ => self.stream(answer),
        }
    }

    fn empty(answer: &HttpResponse) -> WebAnswer {
        WebAnswer {
            code: Code::Ok,
            http: answer.status.as_u16(),
            message: String::new(),
            details: Vec::new(),
            texts: Vec::new(),
            head: answer.headers.clone(),
            trailers: HeaderMap::new(),
        }
    }

    fn unary(self, response: &HttpResponse) -> Result<WebAnswer> {
        let mut answer = Self::empty(response);
        let names: Vec<_> = answer.head.keys().filter(|name| name.as_str().starts_with("trailer-")).cloned().collect();
        for name in names {
            let values = response.headers.get_all(&name).iter().cloned();
            let plain = HeaderName::try_from(&name.as_str()["trailer-".len()..])?;
            values.for_each(|value| _ = answer.trailers.append(&plain, value));
            answer.head.remove(name);
        }
        let content_type = response.header("content-type");
        if response.status != 200 {
            ensure!(content_type == Some("application/json"), "an error is JSON");
            answer.fail(&response.json()?)?;
            return Ok(answer);
        }
        ensure!(content_type == Some(self.content_type()), "another content type than it was asked in");
        answer.texts.push(self.text(&response.body)?);
        Ok(answer)
    }

    fn stream(self, response: &HttpResponse) -> Result<WebAnswer> {
        let mut answer = Self::empty(response);
        ensure!(response.header("content-type") == Some(self.content_type()), "another content type");
        let mut body = if self == Self::GrpcWebText { pieces(&response.body)? } else { response.body.clone() };
        if let Some(status) = Status::from_header_map(&response.headers) {
            ensure!(body.is_empty() && !self.is_connect(), "a status in the head is all of an answer");
            answer.status(&status);
            return Ok(answer);
        }
        loop {
            ensure!(body.len() >= 5, "the body ends without a status");
            let (flag, length) = (body.get_u8(), body.get_u32() as usize);
            ensure!(body.len() >= length, "the body ends amid a frame");
            let frame = body.split_to(length);
            match flag {
                0 => answer.texts.push(self.text(&frame)?),
                0x80 if !self.is_connect() => answer.end_web(&frame)?,
                2 if self.is_connect() => answer.end_connect(&frame)?,
                other => anyhow::bail!("a frame with the flag {other}"),
            }
            if flag != 0 {
                ensure!(body.is_empty(), "something after the end");
                return Ok(answer);
            }
        }
    }

    fn text(self, message: &[u8]) -> Result<String> {
        if self.is_json() {
            let message: Value = serde_json::from_slice(message)?;
            return Ok(message["text"].as_str().unwrap_or_default().to_owned());
        }
        Ok(Word::decode(message)?.text)
    }
}

/// A message in a frame with this flag.
pub fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

/// Base64 in pieces, each of which may end with padding.
fn pieces(text: &[u8]) -> Result<Bytes> {
    let groups = text.chunks(4).map(|group| STANDARD.decode(group));
    Ok(groups.collect::<Result<Vec<_>, _>>()?.concat().into())
}

impl WebAnswer {
    /// The reason of an `ErrorInfo`.
    pub fn reason(&self) -> String {
        let info = self.details.iter().find(|(name, _)| name == "google.rpc.ErrorInfo");
        let info = info.and_then(|(_, value)| tonic_types::pb::ErrorInfo::decode(&**value).ok());
        info.unwrap_or_default().reason
    }

    fn status(&mut self, status: &Status) {
        let details = tonic_types::pb::Status::decode(status.details()).unwrap_or_default().details;
        let named =
            details.into_iter().map(|it| (it.type_url.rsplit('/').next().unwrap_or_default().to_owned(), it.value));
        (self.code, self.message, self.details) = (status.code(), status.message().to_owned(), named.collect());
    }

    fn end_web(&mut self, block: &[u8]) -> Result<()> {
        for line in std::str::from_utf8(block)?.split_terminator("\r\n") {
            let (name, value) = line.split_once(':').context("a line without a name")?;
            self.trailers.append(HeaderName::try_from(name)?, HeaderValue::from_str(value.trim())?);
        }
        let status = Status::from_header_map(&self.trailers).context("trailers without a status")?;
        self.status(&status);
        Ok(())
    }

    fn end_connect(&mut self, end: &[u8]) -> Result<()> {
        let end: Value = serde_json::from_slice(end)?;
        for (name, values) in end["metadata"].as_object().into_iter().flatten() {
            for value in values.as_array().context("values are a list")? {
                let value = HeaderValue::from_str(value.as_str().context("a value is text")?)?;
                self.trailers.append(HeaderName::try_from(name)?, value);
            }
        }
        if end["error"].is_null() { Ok(()) } else { self.fail(&end["error"]) }
    }

    fn fail(&mut self, error: &Value) -> Result<()> {
        let name = error["code"].as_str().context("an error has a code")?;
        self.code = code(name).with_context(|| format!("no code is called {name}"))?;
        error["message"].as_str().unwrap_or_default().clone_into(&mut self.message);
        for detail in error["details"].as_array().into_iter().flatten() {
            let text = |member: &str| detail[member].as_str().context("a detail has a type and a value");
            self.details.push((text("type")?.to_owned(), STANDARD_NO_PAD.decode(text("value")?)?));
        }
        Ok(())
    }
}

/// The code that Connect calls so.
fn code(name: &str) -> Option<Code> {
    Some(match name {
        "canceled" => Code::Cancelled,
        "unknown" => Code::Unknown,
        "invalid_argument" => Code::InvalidArgument,
        "deadline_exceeded" => Code::DeadlineExceeded,
        "not_found" => Code::NotFound,
        "already_exists" => Code::AlreadyExists,
        "permission_denied" => Code::PermissionDenied,
        "resource_exhausted" => Code::ResourceExhausted,
        "failed_precondition" => Code::FailedPrecondition,
        "aborted" => Code::Aborted,
        "out_of_range" => Code::OutOfRange,
        "unimplemented" => Code::Unimplemented,
        "internal" => Code::Internal,
        "unavailable" => Code::Unavailable,
        "data_loss" => Code::DataLoss,
        "unauthenticated" => Code::Unauthenticated,
        _ => return None,
    })
}
