//! The service behind a listener, the public or the internal one: answers health and reflection itself, routes everything else.

use crate::{
    admit::ListenerKind,
    call::{AnswerBody, Gateway, travel},
    cors::{Cors, PageCall},
    explain_call::Explanation,
    fault::{Fault, Faults},
    inspect::{self, Inspection},
    protocol::{Coding, WireProtocol},
};
use accord_runtime::{
    call_record::CallRecord, deadline::Deadline, holding_body::HoldingBody, write_deadline::write_by,
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use std::{
    convert::Infallible,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tonic::body::Body;
use tower::Service;

/// How long the caller may take to read why its call was refused.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Answers every request, whatever becomes of it.
#[derive(Clone)]
pub(crate) struct ListenerService {
    listener: ListenerKind,
    gateway: Arc<Gateway>,
    inspection: Arc<Inspection>,
    faults: Faults,
}

impl ListenerService {
    /// Behind a listener of this kind, in front of the gateway.
    pub(crate) fn new(listener: ListenerKind, gateway: &Arc<Gateway>, inspection: &Arc<Inspection>) -> Self {
        let (gateway, inspection) = (Arc::clone(gateway), Arc::clone(inspection));
        Self { listener, gateway, inspection, faults: Faults::new() }
    }
}

impl Service<Request<Incoming>> for ListenerService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A request that can't be taken is answered as such, which says more than waiting.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let protocol = WireProtocol::detect(&request, &self.gateway.tables);
        let record = request.extensions().get::<CallRecord>().cloned().unwrap_or_default();
        record.set_protocol(protocol.name());
        self.gateway.samples.follow(&record);
        // In gRPC alone: whoever asks with HTTP would take the 200 of any answer for a good one.
        if protocol.is_answered_by_grpc_servers() && Inspection::serves(request.uri().path()) {
            let inspection = Arc::clone(&self.inspection);
            return Box::pin(async move { Ok(without_slot(inspect::answer(inspection, request).await)) });
        }
        let cors = self.gateway.live.cors.load_full().filter(|_| self.listener == ListenerKind::Public);
        if let Some(answer) = cors.as_ref().and_then(|cors| cors.preflight(&request)) {
            write_by(Deadline::after(REFUSAL_TIME));
            return Box::pin(ready(Ok(without_slot(answer))));
        }
        // Its answer gets its headers by what held when it came.
        let page = cors.map(|cors| (cors.page(request.headers()), cors));
        if self.listener == ListenerKind::Public && self.inspection.is_asked_for_openapi(&request) {
            let coding = self.gateway.compression.accepted(request.headers());
            return Box::pin(describe(Arc::clone(&self.inspection), protocol, coding, page, request));
        }
        let (listener, gateway, faults) = (self.listener, Arc::clone(&self.gateway), self.faults.clone());
        // There is a place for it before it is made: it is large, and would be copied there whole.
        let answered = Box::write(Box::new_uninit(), async move {
            let is_head = request.method() == Method::HEAD;
            let has_body = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
            let mut explanation = Explanation::none(&record);
            let travel = travel(&gateway, listener, protocol, request, &mut explanation);
            // Caught here already, where the caller's protocol is known: a defect is answered in it as well.
            let travelled = AssertUnwindSafe(pin!(travel)).catch_unwind().await;
            let mut response = travelled.unwrap_or_else(|_panic| Err(Fault::defect())).unwrap_or_else(|mut fault| {
                faults.count(&fault);
                record.set_reason(|| fault.reason());
                record.request_id().inspect(|id| fault.tell(id));
                let response = gateway.compression.refusal(protocol.coding(), protocol.fault(&fault));
                without_slot(refusal(response, has_body && record.request_bytes() == 0))
            });
            explanation.add_header(response.headers_mut());
            if let Some((page, cors)) = page {
                cors.add_headers(page, response.headers_mut());
            }
            Ok(if is_head { head_alone(response) } else { response })
        });
        Box::into_pin(answered)
    }
}

/// Answers with the document of what may be called.
async fn describe(
    inspection: Arc<Inspection>,
    protocol: WireProtocol,
    coding: Option<Coding>,
    page: Option<(PageCall, Arc<Cors>)>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let mut response = without_slot(inspection.openapi(protocol, coding, &request).await);
    if let Some((page, cors)) = page {
        cors.add_headers(page, response.headers_mut());
    }
    Ok(if request.method() == Method::HEAD { head_alone(response) } else { response })
}

/// The answer to a call that ends here. It has a time to be read in, as every answer. Where the body of its request was not read,
/// the connection can't be used for another one in HTTP/1, and the client has to know (RFC 9112, 9.6).
fn refusal(mut response: Response<Body>, leaves_body: bool) -> Response<Body> {
    write_by(Deadline::after(REFUSAL_TIME));
    if leaves_body {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer to a HEAD: that to a GET without its body.
fn head_alone(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    // That of the answer to a GET, which a 304 has none of.
    if response.status() != StatusCode::NOT_MODIFIED
        && let Some(length) = response.body().size_hint().exact()
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    without_slot(response.map(|_| Body::empty()))
}

fn without_slot(response: Response<Body>) -> Response<AnswerBody> {
    response.map(|body| HoldingBody::new(body, None))
}
