//! What bounds the streams of health and server reflection: nothing declares a deadline for a watch, which is meant to stay, so that
//! somebody could open ever more of them. Callers hold fair shares of the slots, by address.

use std::{
    convert::Infallible,
    future::{Future, ready},
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use accord_api::accord::fault::v1::Reason;
use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower::Service;

use crate::{
    fair_share::{FairShare, Held, Holder, Shed},
    fault::StatusBuilder,
    holding_body::HoldingBody,
    server::Peer,
};

/// Streams at a time.
const SLOTS: u64 = 1024;

/// After how long somebody without a slot may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The slots. Clones share them.
#[derive(Clone, Debug)]
pub struct InspectionSlots(FairShare);

impl InspectionSlots {
    /// As many as a listener has, all of them free; metrics show them under this name of a budget.
    pub fn new(budget: &'static str) -> Self {
        Self(FairShare::new(SLOTS, FairShare::DEFAULT).observed(budget))
    }

    /// A slot for a caller at this address.
    pub fn take(&self, address: IpAddr) -> Result<Held, Shed> {
        self.0.hold(Some(Holder::address(address, None)), 1, 0)
    }

    /// The service of health or reflection, each stream of which holds a slot. What is asked without a stream, such as a probe's
    /// check, is answered at once and needs none.
    pub(crate) fn bound<S>(&self, service: S) -> BoundedStreams<S> {
        BoundedStreams { service, slots: self.clone() }
    }
}

/// What a caller is told that found no slot.
pub fn refusal(shed: Shed) -> StatusBuilder {
    let message = match shed {
        Shed::Full => {
            "as many questions about health and server reflection are open as are answered at a time; try again shortly"
        }
        Shed::Share => {
            "this address has as many questions about health and server reflection open as it may while others ask; end some, or \
             try again shortly"
        }
    };
    StatusBuilder::new(Reason::Overloaded, message).retry_after(RETRY_AFTER)
}

/// Whether a method of health or reflection is a stream, by its path.
pub fn is_stream(path: &str) -> bool {
    path.ends_with("/Watch") || path.ends_with("/ServerReflectionInfo")
}

/// Where a request comes from.
pub fn address_of<B>(request: &Request<B>) -> IpAddr {
    request.extensions().get().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer: &Peer| peer.address.ip())
}

/// A service whose streams hold slots.
#[derive(Clone)]
pub(crate) struct BoundedStreams<S> {
    service: S,
    slots: InspectionSlots,
}

impl<S: NamedService> NamedService for BoundedStreams<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for BoundedStreams<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !is_stream(request.uri().path()) {
            return Box::pin(self.service.call(request));
        }
        let slot = match self.slots.take(address_of(&request)) {
            Ok(slot) => slot,
            Err(shed) => return Box::pin(ready(Ok(refusal(shed).build().into_http()))),
        };
        let answer = self.service.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(HoldingBody::new(body, slot)))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_address_leave_slots_to_others() {
        let slots = InspectionSlots(FairShare::new(10, FairShare::DEFAULT));
        let held: Vec<_> = std::iter::from_fn(|| slots.take([192, 0, 2, 1].into()).ok()).collect();
        assert_eq!(held.len(), 5);
        assert!(slots.take([192, 0, 2, 2].into()).is_ok());
    }
}
