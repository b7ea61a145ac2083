//! The console: a page on the admin port that shows the gateway at work, and what it asks for.
//!
//! The page is public and says nothing; all that it shows it asks for with the token of whoever looks. `/console/rpc/` takes calls of
//! a few methods in JSON and makes them as gRPC calls to the services that guard themselves, those of this port and auth's.
//! `/console/call/` leads to the public listener's own code, so that a call that is tried meets what any other call meets.

mod assets;
mod relay;
mod service;

use crate::{config::ConsoleConfig, listener_service::ListenerService, protocol::WebSockets};
use accord_api::accord::fault::v1::Reason;
use accord_mesh::{
    MeshClient, Question,
    guard::{GuardedServer, bearer},
    refusal,
};
use accord_runtime::{
    deadline::{self, Deadline, Elapsed},
    fault,
    observe::Observe,
    panic::Catch,
    request::RequestId,
    write_deadline::write_by,
};
use accord_token::Refusal;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};

use assets::PAGE;
use relay::{RPC, Relay, malformed};
pub(crate) use service::ConsoleServer;

/// Whoever holds it sees the console.
const PERMISSION: &str = "accord.gateway.console";

/// How long auth may take to say whether the caller may try calls.
const DECISION: Duration = Duration::from_secs(2);

/// How long a call of the page may take, its request and auth's answer included, and how long its caller to read the answer.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// What is behind it is called as the public listener has it.
const CALL: &str = "/console/call/";

/// What a browser says of the page that a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The public listener, as it is without its connections.
type PublicListener = WebSockets<Observe<Catch<ListenerService>>>;

/// The admin port with the console before it.
#[derive(Clone)]
pub(crate) struct WithConsole {
    server: GuardedServer<MeshClient>,
    console: Option<Arc<Console>>,
}

struct Console {
    mesh: MeshClient,
    relay: Relay,
    public: PublicListener,
}

impl WithConsole {
    /// What the admin port serves, with the console where it is enabled.
    pub(crate) fn new(
        server: GuardedServer<MeshClient>,
        config: &ConsoleConfig,
        mesh: &MeshClient,
        public: impl FnOnce() -> PublicListener,
    ) -> Self {
        let console = || Console { mesh: mesh.clone(), relay: Relay::new(&server, mesh), public: public() };
        let console = config.enabled.then(|| Arc::new(console()));
        Self { server, console }
    }
}

impl Service<Request<Incoming>> for WithConsole {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each request takes a clone of what answers it, and waits for that.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        match &self.console {
            Some(console) if path == PAGE.trim_end_matches('/') || path.starts_with(PAGE) => {
                let console = Arc::clone(console);
                Box::pin(async move { Ok(assets::secured(console.answer(request).await)) })
            }
            _ => {
                let answer = self.server.clone().oneshot(request);
                Box::pin(async move { answer.await.map(|response| response.map(Body::new)) })
            }
        }
    }
}

impl Console {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let is_tried = path.starts_with(CALL);
        let answered = if is_tried {
            self.try_call(request).await
        } else if path.starts_with(RPC) {
            self.relayed(request).await
        } else {
            Ok(assets::answer(request.method(), path))
        };
        // A call that is tried has the deadline of its method.
        if !is_tried || answered.is_err() {
            write_by(Deadline::after(LONGEST_CALL));
        }
        answered.unwrap_or_else(|status| relay::error(&status))
    }

    async fn relayed(&self, request: Request<Incoming>) -> Result<Response<Body>, Status> {
        own_page(request.headers())?;
        let answered = deadline::within(Deadline::after(LONGEST_CALL), self.relay.answer(request)).await;
        answered.unwrap_or_else(|Elapsed| {
            Err(fault::status(Reason::DeadlineExceeded, "the request did not come, or was not answered, in time"))
        })
    }

    /// Makes a call as the public listener would, for whoever may see the console.
    async fn try_call(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Status> {
        own_page(request.headers())?;
        self.may_look(request.headers()).await?;
        *request.uri_mut() = beyond(request.uri(), CALL)?;
        for name in FORWARDING {
            request.headers_mut().remove(name);
        }
        let Ok(response) = self.public.clone().oneshot(request).await;
        Ok(response.map(Body::new))
    }

    async fn may_look(&self, headers: &HeaderMap) -> Result<(), Status> {
        let allowed = async {
            let token = bearer(headers)?;
            let verified = self.mesh.verify(token)?;
            let question = Question {
                method: CALL,
                permission: PERMISSION,
                audience: "",
                resource: "",
                address: None,
                protocol: "json",
                actor: None,
            };
            let deadline = Deadline::after(DECISION);
            self.mesh.decide(token, &verified, &question, deadline, &RequestId::new()).await
        };
        allowed.await.map(drop).map_err(|refused| match refused {
            Refusal::PermissionMissing => {
                fault::status(Reason::PermissionMissing, refusal::permission_missing("the caller", PERMISSION, ""))
            }
            other => refusal::status(other),
        })
    }
}

/// What a proxy in front of the public listener would say of a caller. Here there is none, and nobody is believed.
const FORWARDING: [HeaderName; 4] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// The same URI without what of its path leads here.
fn beyond(uri: &Uri, prefix: &str) -> Result<Uri, Status> {
    let line = uri.path_and_query().map_or("/", |line| line.as_str());
    // The slash at the end is the first of what is called.
    let line = line.get(prefix.len() - 1..).unwrap_or("/");
    Uri::try_from(line).map_err(|_| malformed("this is no path that could be called"))
}

/// Refuses requests of pages that are not this one. They could not read an answer; but they shall not ask either.
fn own_page(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => {
            Err(fault::status(Reason::HeaderRefused, "the console answers its own page alone: open it at /console/"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_beyond_the_prefix_keeps_its_query_and_its_slash() {
        let beyond = |uri: &'static str| beyond(&Uri::from_static(uri), CALL).unwrap().to_string();
        assert_eq!(beyond("/console/call/v1/products/a%2Fb?view=full"), "/v1/products/a%2Fb?view=full");
        assert_eq!(beyond("/console/call/"), "/");
        assert_eq!(beyond("/console/call//v1"), "//v1");
    }

    #[test]
    fn request_of_another_site_is_refused() {
        let site = |value: &'static str| HeaderMap::from_iter([(FETCH_SITE, HeaderValue::from_static(value))]);
        for own in [HeaderMap::new(), site("same-origin"), site("none")] {
            assert!(own_page(&own).is_ok(), "{own:?}");
        }
        for other in ["cross-site", "same-site", ""] {
            assert_eq!(fault::reason_of(&own_page(&site(other)).unwrap_err()), Some(Reason::HeaderRefused), "{other}");
        }
    }
}
