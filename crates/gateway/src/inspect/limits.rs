//! What bounds health and reflection: a deadline, slots and a rate of their own, so that they are answered however many calls are
//! in flight, and nobody holds them for ever.

use super::Inspection;
use crate::table::{Counting, Rate, RateLimitKey};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{RateLimit, RateLimitBy};
use accord_runtime::{
    enforce::{Bounding, Bounds, Enforce},
    fair_share::{Held, network_of},
    fault::StatusBuilder,
    holding_body::HoldingBody,
    inspection::{InspectionSlots, address_of, is_stream, refusal},
};
use http::{Request, Response};
use hyper::body::Incoming;
use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};
use tonic::{Status, body::Body};
use tower::Service;

/// Calls of one address. A client asks once, and again when its connection breaks.
const RATE: RateLimit =
    RateLimit { requests: 100, per: Duration::from_secs(1), burst: 200, by: RateLimitBy::Address, plans: Vec::new() };

/// How long a stream may last: a watch of health, or reflection beside the calls that are made by it. Its client asks again.
const LONGEST_STREAM: Duration = Duration::from_hours(1);

/// How long a question may take that has one answer.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// The slots and the rate.
pub(crate) struct InspectionLimits {
    slots: InspectionSlots,
    rate: Rate,
}

impl InspectionLimits {
    /// All of them free.
    pub(crate) fn new() -> Self {
        Self { slots: InspectionSlots::new("inspection"), rate: Rate::new(&RATE) }
    }

    /// A slot for a call of this address, or why it gets none.
    pub(super) fn take(&self, address: IpAddr) -> Result<Held, Status> {
        let refused = |status: StatusBuilder| status.metadata("component", "gateway").build();
        let rate = self.rate.quota(&[]).count(Counting::Take, &RateLimitKey::Address(network_of(address)));
        rate.map_err(|wait| refused(too_often(wait)))?;
        self.slots.take(address).map_err(|shed| refused(refusal(shed)))
    }
}

fn too_often(wait: Duration) -> StatusBuilder {
    let message = "health and reflection are asked too often from this address; ask again later";
    StatusBuilder::new(Reason::Overloaded, message).retry_after(wait)
}

/// Answers within the bounds a gRPC request for which [`Inspection::serves`] said yes.
pub(crate) async fn answer(inspection: Arc<Inspection>, request: Request<Incoming>) -> Response<Body> {
    let slot = match inspection.limits.take(address_of(&request)) {
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
    let longest = Some(if is_stream(path) { LONGEST_STREAM } else { LONGEST_CALL });
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
}
