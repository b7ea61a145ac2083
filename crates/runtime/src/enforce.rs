//! Deadline enforcement of a server: a malformed or expired timeout is refused, every call ends at its deadline.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use accord_api::accord::fault::v1::Reason;
use http::{HeaderMap, Request, Response};
use tonic::Status;
use tower::Service;

use crate::{
    call_record::CallRecord,
    deadline::{Deadline, DeadlineBody, Elapsed, parse_grpc_timeout, within},
    fault,
    write_deadline::write_by,
};

/// How long calls may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The time of a call whose caller named none; `None` leaves it unbounded.
    pub default: Option<Duration>,
    /// The longest time that a caller may ask for; more is cut to it.
    pub max: Option<Duration>,
}

/// Tells the bounds of the calls of a request path.
pub type Bounding = Arc<dyn Fn(&str) -> Bounds + Send + Sync>;

impl From<(Option<Duration>, Option<Duration>)> for Bounds {
    fn from((default, max): (Option<Duration>, Option<Duration>)) -> Self {
        Self { default, max }
    }
}

impl Bounds {
    /// These, and others where these say nothing.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self { default: self.default.or(others.default), max: self.max.or(others.max) }
    }

    /// The deadline of a call with these headers, `None` where nobody set one.
    fn deadline(&self, headers: &HeaderMap) -> Result<Option<Deadline>, Status> {
        let mut values = headers.get_all("grpc-timeout").iter();
        let asked = match (values.next(), values.next()) {
            (None, _) => self.default,
            (Some(value), None) => {
                Some(value.to_str().ok().and_then(|text| parse_grpc_timeout(text).ok()).ok_or_else(malformed)?)
            }
            // Two could be read differently by different hops.
            (Some(_), Some(_)) => return Err(malformed()),
        };
        let bounded = asked.map(|asked| self.max.map_or(asked, |max| asked.min(max)));
        Ok(bounded.map(Deadline::after))
    }
}

fn malformed() -> Status {
    let message = "grpc-timeout must come once and be one to eight digits followed by one of H, M, S, m, u, n";
    fault::status(Reason::TimeoutMalformed, message)
}

/// Gives every call a [`Deadline`] in the request's extensions, ends head and body by it, and tells it to the connection in
/// the answer's extensions.
#[derive(Clone)]
pub struct Enforce<S> {
    inner: S,
    bounding: Bounding,
}

impl<S> Enforce<S> {
    /// Wraps a service.
    pub fn new(inner: S, bounding: Bounding) -> Self {
        Self { inner, bounding }
    }
}

impl<S, Q, B> Service<Request<Q>> for Enforce<S>
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let deadline = match (self.bounding)(request.uri().path()).deadline(request.headers()) {
            Ok(Some(deadline)) if deadline.expired() => {
                return Box::pin(async { Ok(answer_with(Deadline::exceeded())) });
            }
            Ok(Some(deadline)) => deadline,
            Ok(None) => {
                let answer = self.inner.call(request);
                return Box::pin(async move { Ok(answer.await?.map(DeadlineBody::unbounded)) });
            }
            Err(status) => return Box::pin(async { Ok(answer_with(status)) }),
        };
        request.extensions_mut().insert(deadline);
        if let Some(record) = request.extensions().get::<CallRecord>() {
            record.set_timeout(deadline.remaining());
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            match within(deadline, answer).await {
                Ok(response) => {
                    // The connection holds its peer to it as well.
                    write_by(deadline);
                    Ok(response?.map(|body| DeadlineBody::new(body, deadline)))
                }
                Err(Elapsed) => Ok(answer_with(Deadline::exceeded())),
            }
        })
    }
}

fn answer_with<B>(status: Status) -> Response<DeadlineBody<B>> {
    status.into_http::<()>().map(|()| DeadlineBody::over())
}
