//! What bounds health and reflection: a deadline, slots and a rate of their own, so that they are answered however many calls are
//! in flight, and nobody holds them for ever.

use super::Inspection;
use crate::{
    concurrency_limit::HoldingBody,
    table::{Rate, RateLimitKey},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{RateLimit, RateLimitBy};
use accord_runtime::{
    enforce::{Bounding, Bounds, Enforce},
    fair_share::{FairShare, Held, Holder, network_of},
    fault::StatusBuilder,
    server::Peer,
};
use http::{Request, Response};
use hyper::body::Incoming;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tonic::{Status, body::Body};
use tower::Service;

/// Calls and streams at a time.
const SLOTS: u64 = 1024;

/// Calls of one address. A client asks once, and again when its connection breaks.
const RATE: RateLimit = RateLimit { requests: 100, per: Duration::from_secs(1), burst: 200, by: RateLimitBy::Address };

/// How long a stream may last: a watch of health, or reflection beside the calls that are made by it. Its client asks again.
const LONGEST_STREAM: Duration = Duration::from_hours(1);

/// How long a question may take that has one answer.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// The slots and the rate.
pub(crate) struct InspectionLimits {
    slots: FairShare,
    rate: Rate,
}

impl InspectionLimits {
    /// All of them free.
    pub(crate) fn new() -> Self {
        Self { slots: FairShare::new(SLOTS, FairShare::DEFAULT).observed("inspection"), rate: Rate::new(&RATE) }
    }

    fn take(&self, address: IpAddr) -> Result<Held, Status> {
        let refused = |message: &str, after| {
            StatusBuilder::new(Reason::Overloaded, message).metadata("component", "gateway").retry_after(after).build()
        };
        let rate = self.rate.take(&RateLimitKey::Address(network_of(address)));
        rate.map_err(|wait| refused("health and reflection are asked too often from this address", wait))?;
        let slot = self.slots.hold(Some(Holder::address(address, None)), 1, 0);
        slot.map_err(|_| refused("too many questions about health and reflection are open", Duration::from_secs(1)))
    }
}

/// Answers within the bounds a gRPC request for which [`Inspection::serves`] said yes.
pub(crate) async fn answer(inspection: Arc<Inspection>, request: Request<Incoming>) -> Response<Body> {
    let peer = request.extensions().get::<Peer>();
    let slot = match inspection.limits.take(peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip())) {
        Ok(slot) => slot,
        Err(status) => return status.into_http(),
    };
    let bounding: Bounding = Arc::new(bounds);
    let answering = tower::service_fn(move |request| {
        let inspection = Arc::clone(&inspection);
        async move { Ok::<_, Infallible>(inspection.call(request).await) }
    });
    let Ok(response) = Enforce::new(answering, bounding).call(request).await;
    response.map(|body| Body::new(HoldingBody::new(Box::pin(body), slot)))
}

fn bounds(path: &str) -> Bounds {
    let is_stream = path.ends_with("/Watch") || path.ends_with("/ServerReflectionInfo");
    let longest = Some(if is_stream { LONGEST_STREAM } else { LONGEST_CALL });
    Bounds { default: longest, max: longest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_asks_too_often_is_told_when_to_come_back() {
        let limits = InspectionLimits::new();
        let from = |address: [u8; 4]| limits.take(address.into());
        let refused = (0..1000).find_map(|_| from([192, 0, 2, 1]).err()).expect("a refusal");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(from([192, 0, 2, 2]).is_ok(), "others are answered");
    }

    #[test]
    fn open_questions_of_one_address_leave_slots_to_others() {
        let limits = InspectionLimits { slots: FairShare::new(10, FairShare::DEFAULT), rate: Rate::new(&RATE) };
        let held: Vec<_> = std::iter::from_fn(|| limits.take([192, 0, 2, 1].into()).ok()).collect();
        assert_eq!(held.len(), 5);
        assert!(limits.take([192, 0, 2, 2].into()).is_ok());
    }
}
