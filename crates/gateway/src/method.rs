//! Which method is called: one canonical name, whatever the caller spoke, used by everything after it.

use crate::{
    admit::Arrival,
    fault::{Component, Fault},
    protocol::Protocol,
    table::{Entry, MethodTable, Variables},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::MethodKind;
use accord_transcode::{NoMatch, Plan};
use http::{HeaderValue, Method, StatusCode, header};
use std::{sync::Arc, time::Duration};

/// A method, and how it was called.
pub(crate) struct Called {
    /// The method.
    pub entry: Arc<Entry>,
    /// How its request and answer are written.
    pub spoken: Spoken,
}

/// How a request and its answer are written.
pub(crate) enum Spoken {
    /// As protobuf in gRPC frames.
    Grpc,
    /// As JSON, by the plan of the binding that matched, with what the path says.
    Json(Arc<Plan>, Variables),
}

/// What of the body the gateway has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing: bytes in, bytes out.
    Bytes,
    /// One message in, one out.
    Message,
    /// One message in, a stream of them out as JSON.
    Events,
}

impl Called {
    /// Bytes that nobody has to look at are not looked at.
    pub(crate) fn way(&self) -> Result<Way, Fault> {
        match (&self.spoken, self.entry.method.kind) {
            (Spoken::Grpc, MethodKind::Unary) if self.entry.needs_message => Ok(Way::Message),
            (Spoken::Grpc, _) => Ok(Way::Bytes),
            (Spoken::Json(..), MethodKind::Unary) => Ok(Way::Message),
            (Spoken::Json(..), MethodKind::ServerStreaming) => Ok(Way::Events),
            (Spoken::Json(..), MethodKind::ClientStreaming | MethodKind::BidiStreaming) => {
                let message = format!(
                    "{} takes a stream of requests, which JSON can't; call it with gRPC",
                    self.entry.method.name
                );
                Err(Fault::new(Component::Gateway, Reason::ProtocolUnsupported, message))
            }
        }
    }
}

/// Finds the called method.
pub(crate) fn find(table: &MethodTable, arrival: &Arrival) -> Result<Called, Fault> {
    let path = arrival.parts.uri.path();
    if arrival.protocol == Protocol::Grpc {
        let entry = table.grpc(path).cloned().ok_or_else(|| unknown(table, path))?;
        return Ok(Called { entry, spoken: Spoken::Grpc });
    }
    match table.http(&arrival.parts.method, path) {
        Ok(found) => Ok(Called { entry: found.entry, spoken: Spoken::Json(found.plan, found.variables) }),
        Err(no_match) => by_own_path(table, arrival, path).ok_or_else(|| no_binding(table, path, no_match)),
    }
}

/// `POST /pkg.Service/Method` with JSON reaches every method, whether or not it has a binding.
fn by_own_path(table: &MethodTable, arrival: &Arrival, path: &str) -> Option<Called> {
    let entry = table.grpc(path).filter(|_| arrival.parts.method == Method::POST)?;
    Some(Called { entry: Arc::clone(entry), spoken: Spoken::Json(Arc::clone(&entry.plan), Variables::default()) })
}

fn no_binding(table: &MethodTable, path: &str, no_match: NoMatch) -> Fault {
    match no_match {
        NoMatch::NotFound => unknown(table, path),
        NoMatch::NotCanonical(problem) => {
            Fault::violation(Reason::RequestMalformed, "", &format!("the path {problem}"))
        }
        NoMatch::MethodNotAllowed { allowed } => {
            let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("this path answers to {allowed}");
            let fault = Fault::new(Component::Gateway, Reason::MethodUnknown, message);
            let allow = HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(""));
            fault.http(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allow)
        }
    }
}

fn unknown(table: &MethodTable, path: &str) -> Fault {
    if table.is_pending() {
        let message = "no such method is known yet: the descriptors of an upstream that is down have not been read";
        let after = Duration::from_secs(1);
        return Fault::retry(Component::Upstream, Reason::ContractPending, message, after);
    }
    let message = format!("no method is served at {}", shown(path));
    Fault::new(Component::Gateway, Reason::MethodUnknown, message).http(StatusCode::NOT_FOUND)
}

/// A stranger's path is repeated only as far as it is short and plain.
fn shown(path: &str) -> &str {
    if path.len() <= 256 && path.bytes().all(|byte| byte.is_ascii_graphic()) { path } else { "this path" }
}
