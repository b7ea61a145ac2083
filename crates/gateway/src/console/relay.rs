//! Calls of the page in JSON, made as gRPC calls: to the services of this port, and to auth. Both guard themselves, so that whoever
//! lacks a permission is refused there, and nothing is decided here.

use crate::protocol::http_status;
use accord_api::{FILE_DESCRIPTOR_SET, accord::fault::v1::Reason};
use accord_mesh::{MeshClient, guard::GuardedServer};
use accord_runtime::{
    fault::{self, StatusBuilder},
    observe::code_name,
};
use accord_transcode::{Limits, Plan, Schema};
use accord_upstream::{Client, grpc};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as HttpBody;
use http_body_util::Full;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::json;
use std::{
    error::Error,
    sync::{Arc, OnceLock},
};
use tonic::{Code, Status, body::Body};
use tower::{Service, ServiceExt};

/// Where the page calls.
pub(super) const RPC: &str = "/console/rpc/";

/// Bytes of a request, and of an answer. A page of 500 policies is the largest.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
const MAX_ANSWER_BYTES: u64 = 8 << 20;

/// How long a call may take.
const TIMEOUT: HeaderValue = HeaderValue::from_static("10S");

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callee {
    /// The services of this port.
    Gateway,
    Auth,
}

/// What the page may call. Everything else that auth can do is for tools that somebody chose for it.
const METHODS: [(&str, Callee); 14] = [
    ("accord.gateway.v1.ConsoleService/GetState", Callee::Gateway),
    ("accord.gateway.v1.ConsoleService/ListCalls", Callee::Gateway),
    ("accord.gateway.v1.ConsoleService/ListPolicies", Callee::Gateway),
    ("accord.auth.v1.TokenService/Issue", Callee::Auth),
    ("accord.auth.v1.TokenService/Refresh", Callee::Auth),
    ("accord.auth.v1.TokenService/Revoke", Callee::Auth),
    ("accord.auth.v1.KeyService/ListKeys", Callee::Auth),
    ("accord.auth.v1.AdminService/ListPrincipals", Callee::Auth),
    ("accord.auth.v1.AdminService/ListSessions", Callee::Auth),
    ("accord.auth.v1.AdminService/ListApiKeys", Callee::Auth),
    ("accord.auth.v1.AdminService/ListCertificateIdentities", Callee::Auth),
    ("accord.auth.v1.AdminService/ListClientKeys", Callee::Auth),
    ("accord.auth.v1.AdminService/ListAuditEntries", Callee::Auth),
    ("accord.auth.v1.AdminService/GetPrincipal", Callee::Auth),
];

/// Makes them.
pub(super) struct Relay {
    server: GuardedServer<MeshClient>,
    auth: Client,
    /// Compiled when the first one comes: most gateways are started without anybody looking.
    contract: OnceLock<Option<(DescriptorPool, Arc<Schema>)>>,
}

impl Relay {
    /// To this port's services and to auth.
    pub(super) fn new(server: &GuardedServer<MeshClient>, mesh: &MeshClient) -> Self {
        Self { server: server.clone(), auth: mesh.auth().clone(), contract: OnceLock::new() }
    }

    /// Answers `POST /console/rpc/pkg.Service/Method`.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        let (head, body) = request.into_parts();
        let name = head.uri.path().strip_prefix(RPC).unwrap_or_default();
        let known = METHODS.into_iter().find(|(known, _)| *known == name);
        let (name, callee) = known.ok_or_else(|| {
            fault::status(Reason::MethodUnknown, "the console calls a few methods alone, and this is none of them")
        })?;
        if head.method != Method::POST || !is_json(&head.headers) {
            // A form of another page can be neither.
            return Err(malformed("a call is a POST with `content-type: application/json`"));
        }
        let plan = self.plan(name).ok_or_else(defect)?;
        let text = grpc::collect(body, MAX_REQUEST_BYTES, None).await;
        let (text, _) = text.map_err(|_| malformed("the request is broken off, or has more than 64 KiB"))?;
        let message = plan.whole_request(&text);
        let message = message.map_err(|problem| malformed(&format!("`{}`: {}", problem.field, problem.problem)))?;
        let call = call(name, head.headers.get(header::AUTHORIZATION), &message);
        let answer = match callee {
            Callee::Gateway => made(self.server.clone(), call).await?,
            Callee::Auth => made(self.auth.clone(), call).await?,
        };
        let mut text = Vec::with_capacity(2 * answer.len());
        plan.whole_response(&answer, &mut text).map_err(|_| defect())?;
        Ok(json_answer(StatusCode::OK, text))
    }

    fn plan(&self, name: &str) -> Option<Plan> {
        let compile = || {
            let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok()?;
            let schema = Arc::new(Schema::compile(&pool));
            Some((pool, schema))
        };
        let (pool, schema) = self.contract.get_or_init(compile).as_ref()?;
        Plan::compile(schema, &descriptor(pool, name)?, None, Limits::default()).ok()
    }
}

fn descriptor(pool: &DescriptorPool, name: &str) -> Option<MethodDescriptor> {
    let (service, method) = name.split_once('/')?;
    pool.get_service_by_name(service)?.methods().find(|known| known.name() == method)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The call in gRPC, with the credential of whoever looks and nothing else that came along.
fn call(name: &str, credential: Option<&HeaderValue>, message: &[u8]) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(grpc::frame(message))));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = format!("/{name}").parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", TIMEOUT);
    if let Some(credential) = credential {
        headers.insert(header::AUTHORIZATION, credential.clone());
    }
    request
}

/// Makes a call, and reads its one answer.
async fn made<S, B>(service: S, call: Request<Body>) -> Result<Bytes, Status>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let response = service.oneshot(call).await.map_err(|error| Status::from_error(error.into()))?;
    let (head, body) = response.into_parts();
    let read = grpc::read_unary(body, head.headers.get("grpc-encoding"), MAX_ANSWER_BYTES, None).await;
    let (message, trailers) = read.map_err(|error| Status::unavailable(error.to_string()))?;
    let status = trailers.as_ref().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&head.headers));
    match status {
        Some(status) if status.code() == Code::Ok => Ok(message.unwrap_or_default()),
        Some(status) => Err(status),
        None => Err(Status::unknown("the answer ended without a status")),
    }
}

/// A request that can't be read.
pub(super) fn malformed(message: &str) -> Status {
    StatusBuilder::new(Reason::RequestMalformed, message).code(Code::InvalidArgument).build()
}

fn defect() -> Status {
    StatusBuilder::new(Reason::Internal, "a defect of the console ended the call").build()
}

/// A status as the page reads it.
pub(super) fn error(status: &Status) -> Response<Body> {
    let reason = fault::reason_of(status).map(fault::name);
    let error = json!({"code": code_name(status.code()), "reason": reason, "message": status.message()});
    // The page looks at the code; HTTP's status is for whoever asks otherwise.
    json_answer(http_status::of(status.code()), error.to_string().into_bytes())
}

fn json_answer(status: StatusCode, text: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_the_page_may_call_is_unary_and_can_be_transcoded() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let schema = Arc::new(Schema::compile(&pool));
        for (name, _) in METHODS {
            let method = descriptor(&pool, name).unwrap_or_else(|| panic!("{name} does not exist"));
            assert!(!method.is_client_streaming() && !method.is_server_streaming(), "{name}");
            assert!(Plan::compile(&schema, &method, None, Limits::default()).is_ok(), "{name}");
        }
    }

    /// What changes something at auth is not for a page: but logging in and out.
    #[test]
    fn page_may_change_nothing_at_auth() {
        let changing = METHODS.iter().filter(|(name, callee)| {
            let method = name.split_once('/').map_or("", |(_, method)| method);
            *callee == Callee::Auth && !method.starts_with("List") && !method.starts_with("Get")
        });
        let changing: Vec<_> = changing.map(|(name, _)| name.rsplit('/').next().unwrap()).collect();
        assert_eq!(changing, ["Issue", "Refresh", "Revoke"]);
    }

    #[test]
    fn call_carries_the_credential_and_nothing_else() {
        let credential = HeaderValue::from_static("Bearer t");
        let request = call("a.B/C", Some(&credential), b"");
        let names: std::collections::BTreeSet<_> = request.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["authorization", "content-type", "grpc-timeout", "te"].into());
        assert_eq!(request.uri().path(), "/a.B/C");
    }
}
