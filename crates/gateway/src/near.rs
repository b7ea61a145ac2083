//! The near cache: answers of declared reads from the gateway's own memory, under leases of the cache (`accord_readthrough`).
//!
//! It is asked after authorization and rate limit, right before answering. What it holds is a finished response: gRPC's framed
//! bytes, the JSON of one binding and so on, each under a key of its own.

mod key;

use crate::{
    consistency_token::PassedTokens,
    declared_metrics::NEAR_TWO_CACHES,
    fault::Fault,
    memory::HeldBytes,
    message::{self, RequestBody},
    protocol::{CacheControl, Consistency, Keep, RouteMatch, Written, WrittenAs},
    upstream::Call,
};
use accord_api::accord::cache::v1::ReadResponse;
use accord_contract::{CachePolicy, limits::MAX_LEASE};
use accord_readthrough::{Asked, ConsistencyRequirement, Hit, Lease, Live, Near, NearLimits, Sighting, Tag};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header, request::Parts};
use key::{NearKey, NearQuery};
use opentelemetry::metrics::Counter;
use std::{sync::Arc, time::Duration};
use tonic::{Code, body::Body};
use uuid::Uuid;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Bytes of the largest answer: what is larger is copied for longer than the way to the cache takes.
const MAX_ENTRY_BYTES: usize = 16 << 10;
/// Tags whose invalidation is remembered one by one: as many as this gateway's writes name within some leases.
const MAX_TAGS: usize = 65_536;
/// What a header costs beside its value.
const HEADER_BYTES: usize = 64;

/// Answers in the gateway's own memory.
pub(crate) struct NearCache {
    copies: Near<NearKey, Written, Live>,
    /// This life of the gateway, for which the leases are.
    holder: Uuid,
    two_caches: Counter<u64>,
}

/// What came of a look into the near cache.
pub(crate) enum Lookup {
    /// The answer.
    Hit(Response<Body>),
    /// The message of the request, and where its answer may be kept.
    Miss(HeldBytes, Option<Place>),
}

/// Where the answer of a read may be kept, as far as the cache grants a lease on it.
pub(crate) struct Place {
    near: Arc<NearCache>,
    key: NearKey,
}

/// One read of a method whose contract declares a near cache.
struct Reader<'a> {
    near: &'a Arc<NearCache>,
    call: &'a Call,
    policy: &'a CachePolicy,
    written_as: WrittenAs,
    required: ConsistencyRequirement,
    min_fresh: Duration,
    tokens: &'a PassedTokens,
}

/// Looks for the answer: by the request line where that says all, else by the message, which is read for that.
pub(crate) async fn look_up(
    near: Option<&Arc<NearCache>>,
    call: &Call,
    route: &RouteMatch,
    parts: &Parts,
    body: RequestBody,
    asked: &CacheControl,
) -> Result<Lookup, Fault> {
    let Some(reader) = near.and_then(|near| Reader::of(near, call, route.written_as(), asked)) else {
        return Ok(Lookup::Miss(message::read(route, parts, body, call).await?, None));
    };
    let line = route.is_by_line().then_some(parts);
    let is_in_line = line.is_some() && parts.method == Method::GET && body.is_empty();
    if is_in_line && let Some(response) = reader.find(line, None) {
        return Ok(Lookup::Hit(response));
    }
    let message = message::read(route, parts, body, call).await?;
    if is_in_line {
        return Ok(Lookup::Miss(message, reader.place(line, None)));
    }
    if let Some(response) = reader.find(line, Some(&message.bytes)) {
        return Ok(Lookup::Hit(response));
    }
    let place = reader.place(line, Some(&message.bytes));
    Ok(Lookup::Miss(message, place))
}

impl<'a> Reader<'a> {
    /// None where the contract declares no near cache, or the caller asks for what no stored answer is.
    fn of(near: &'a Arc<NearCache>, call: &'a Call, written_as: WrittenAs, asked: &'a CacheControl) -> Option<Self> {
        let policy = call.policy().cache.as_ref().filter(|policy| policy.near.is_some())?;
        let consistency = asked.consistency.filter(|_| !policy.ignore_cache_control);
        let (required, min_fresh) = match consistency {
            None => (ConsistencyRequirement::MinimizeLatency, None),
            Some(Consistency::Unstored | Consistency::Strong) => return None,
            Some(Consistency::Fresh { max_age, min_fresh }) => {
                (ConsistencyRequirement::MaxStaleness(max_age), min_fresh)
            }
        };
        let (min_fresh, tokens) = (min_fresh.unwrap_or_default(), &asked.tokens);
        Some(Self { near, call, policy, written_as, required, min_fresh, tokens })
    }

    fn query<'q>(&'q self, line: Option<&'q Parts>, message: Option<&'q Bytes>) -> NearQuery<'q> {
        NearQuery::new(self.call, self.policy, self.written_as, line, message)
    }

    fn find(&self, line: Option<&Parts>, message: Option<&Bytes>) -> Option<Response<Body>> {
        let meets_tokens = |copy: &Written| self.tokens.are_met_by_copy(&copy.head);
        let hit = self.near.copies.get_if(&self.query(line, message), self.required, meets_tokens)?;
        if hit.left < self.min_fresh {
            return None;
        }
        self.call.record.set_cache_outcome("near");
        if hit.value.trailers.is_none() {
            // Only messages are kept, and not every protocol says OK in its head.
            self.call.record.set_code(Code::Ok);
        }
        Some(respond(&hit))
    }

    /// Where to keep the answer; nowhere where it is read for the first time in a while.
    fn place(&self, line: Option<&Parts>, message: Option<&Bytes>) -> Option<Place> {
        let query = self.query(line, message);
        let lease = self.policy.near.as_ref()?.duration();
        let is_wanted = self.near.copies.is_wanted(&query, lease);
        is_wanted.then(|| Place { near: Arc::clone(self.near), key: query.to_owned() })
    }
}

/// `Cache-Status` (RFC 9211) and `Age` (RFC 9111), in whole seconds: an age never less, and what is left of a life never more
/// than the truth.
fn respond(hit: &Hit<Written>) -> Response<Body> {
    let mut response = hit.value.respond();
    let headers = response.headers_mut();
    if let Ok(status) = HeaderValue::try_from(format!("accord-near; hit; ttl={}", hit.left.as_secs())) {
        headers.insert(CACHE_STATUS, status);
    }
    headers.insert(header::AGE, HeaderValue::from(hit.age.as_secs() + u64::from(hit.age.subsec_nanos() > 0)));
    response
}

impl NearCache {
    /// An empty one, of so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let meter = accord_runtime::telemetry::meter();
        let limits = NearLimits { bytes, max_entry_bytes: MAX_ENTRY_BYTES, tags: MAX_TAGS, max_lease: MAX_LEASE };
        let two_caches = NEAR_TWO_CACHES.counter(&meter);
        Self { copies: Near::new(Live, limits, &meter), holder: Uuid::new_v4(), two_caches }
    }

    /// The name of this life of the gateway.
    pub(crate) fn holder(&self) -> Uuid {
        self.holder
    }

    /// A request to the cache is about to leave.
    pub(crate) fn begin(&self) -> Asked {
        self.copies.begin()
    }

    /// Notes which process of the cache answered; whether it is one of two.
    pub(crate) fn saw_two(&self, asked: Asked, incarnation: &[u8]) -> bool {
        // What says nothing of itself grants nothing either.
        let Ok(incarnation) = Uuid::from_slice(incarnation) else { return false };
        let is_known = self.are_two();
        let is_two = self.copies.observe(asked, incarnation.as_u128()) == Sighting::Two;
        if is_two {
            self.two_caches.add(1, &[]);
        }
        if is_two && !is_known {
            tracing::error!(
                "two cache processes answer behind the one name of `cache.url` that share neither a `data_dir` nor an invalidation \
                 log: each would answer with what a write through the other made invalid, so reads are loaded until one is left; \
                 give all caches of a name one `data_dir`, or one `log.url`"
            );
        }
        is_two
    }

    /// Whether two processes were seen behind the name of the cache a short time ago.
    pub(crate) fn are_two(&self) -> bool {
        self.copies.is_suspended()
    }

    /// The cache has invalidated these tags for a write of this gateway, or nobody knows whether it has.
    pub(crate) fn acknowledged(&self, tags: impl IntoIterator<Item = Tag>) {
        self.copies.acknowledged(tags);
    }

    /// The same for everything.
    pub(crate) fn acknowledged_all(&self) {
        self.copies.acknowledged_all();
    }
}

impl Place {
    /// What keeps the answer once it is written: one that is a message, and came with a lease.
    pub(crate) fn keeper(self, asked: Asked, response: &ReadResponse) -> Option<Keep> {
        let (freshness, lease) = (response.freshness.as_ref()?, response.lease.as_ref()?);
        let duration = |duration: Option<prost_types::Duration>| Duration::try_from(duration?).ok();
        let lease = Lease {
            duration: duration(lease.duration)?,
            age: duration(freshness.age)?,
            left: duration(freshness.ttl)?,
            tags: lease.tags.iter().map(|tag| Tag::from_bits(*tag)).collect(),
        };
        Some(Box::new(move |written| self.keep(asked, lease, written)))
    }

    fn keep(self, asked: Asked, lease: Lease, mut written: Written) {
        let Self { near, key } = self;
        written.head.remove(CACHE_STATUS);
        written.head.remove(header::AGE);
        let headers = headers_weight(&written.head) + written.trailers.as_ref().map_or(0, headers_weight);
        let weight = key.weight() + written.body.len() + headers;
        if weight <= MAX_ENTRY_BYTES {
            take_apart(&mut written);
        }
        // Why one was not kept is counted there.
        let _ = near.copies.fill(asked, key, Arc::new(written), weight, lease);
    }
}

/// Gives it memory of its own, so that it takes what it is counted for: the parts of an answer share the memory that all of it was
/// read into, and JSON is written into more than it needs.
fn take_apart(written: &mut Written) {
    written.body = Bytes::copy_from_slice(&written.body);
    let trailers = written.trailers.iter_mut().flat_map(HeaderMap::values_mut);
    for value in written.head.values_mut().chain(trailers) {
        *value = key::apart(value);
    }
}

fn headers_weight(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| HEADER_BYTES + name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn kept_answer_holds_none_of_the_memory_that_it_was_read_into() {
        let read = Bytes::from(vec![b'x'; 16 << 10]);
        let value = HeaderValue::from_maybe_shared(read.slice(..8)).unwrap();
        let head = HeaderMap::from_iter([(HeaderName::from_static("x-kept"), value)]);
        let (status, trailers) = (StatusCode::OK, Some(head.clone()));
        let mut written = Written { status, head, body: read.slice(8..16), trailers };
        take_apart(&mut written);
        assert_eq!((&*written.body, written.head["x-kept"].as_bytes()), (&b"xxxxxxxx"[..], &b"xxxxxxxx"[..]));
        assert!(read.is_unique());
    }
}
