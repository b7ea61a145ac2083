//! Which protocol a caller speaks.

use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use http::{HeaderMap, Method, Request, StatusCode, Version, header, request::Parts};

/// How the caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC on HTTP/2.
    Grpc,
    /// JSON by `google.api.http`, or on the method's own path.
    Json,
}

impl Protocol {
    /// Told before anything is looked at, so that a refusal can already be said in the caller's words. Who says gRPC
    /// on HTTP/1.1 can't read an answer in gRPC.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let is_grpc = request.version() == Version::HTTP_2 && grpc_flavour(request.headers()).is_some();
        if is_grpc { Self::Grpc } else { Self::Json }
    }

    /// Refuses what looks like this protocol and is another one.
    pub(crate) fn check(self, parts: &Parts) -> Result<(), Fault> {
        match grpc_flavour(&parts.headers) {
            Some(_) if self == Self::Json => {
                return Err(unsupported("gRPC needs HTTP/2; call with JSON over HTTP/1.1 instead"));
            }
            Some("" | "+proto") if parts.method == Method::POST => {}
            Some("" | "+proto") => return Err(unsupported("a gRPC call is a POST")),
            Some(_) => return Err(unsupported("gRPC is served with protobuf messages only; call with JSON otherwise")),
            None => {}
        }
        let content_type = content_type(&parts.headers);
        if ["application/grpc-web", "application/connect"].iter().any(|stranger| content_type.starts_with(stranger)) {
            return Err(unsupported("gRPC-Web and Connect are not served; call with gRPC or JSON"));
        }
        Ok(())
    }
}

/// What follows `application/grpc`, without parameters: nothing, or how messages are written.
fn grpc_flavour(headers: &HeaderMap) -> Option<&str> {
    let flavour = content_type(headers).strip_prefix("application/grpc")?.split(';').next()?.trim_end();
    (flavour.is_empty() || flavour.starts_with('+')).then_some(flavour)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn unsupported(message: &str) -> Fault {
    Fault::new(Component::Gateway, Reason::ProtocolUnsupported, message).http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}
