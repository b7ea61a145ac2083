//! The metrics of upstreams.

use accord_metric::{Label, metrics};

const UPSTREAM: Label = Label::open("upstream", "a version of it as `NAME/VERSION`");
const RESPONSE_HEADERS: Label =
    Label::closed("response_headers_received", &[("true", ""), ("false", "or it was given up before")]);
const EJECTION: Label = Label::closed(
    "cause",
    &[("connect_failed", ""), ("consecutive_failures", ""), ("failure_percentage", ""), ("health_check", "")],
);
const NOT_OWNER_CAUSE: Label = Label::closed(
    "cause",
    &[
        ("hot_key", "it is read so often that several share it"),
        ("unavailable", "the owner is ejected, or just failed"),
        ("overloaded", "the owner has far more in flight than its share"),
    ],
);
const LIMIT: Label = Label::closed("limit", &[("max_in_flight", ""), ("adaptive", "")]);
const CRITICALITY: Label =
    Label::closed("criticality", &[("critical_plus", ""), ("critical", ""), ("sheddable_plus", ""), ("sheddable", "")]);

metrics! {
    pub METRICS;

    pub(crate) ATTEMPTS: Counter(
        "accord.upstream.attempts",
        "Attempts sent to an upstream, retries and hedging included",
    ).labels(&[UPSTREAM, RESPONSE_HEADERS]);
    pub(crate) DURATION: Histogram(
        "accord.upstream.duration",
        "Time from sending an attempt to its response headers",
    ).unit("s").labels(&[UPSTREAM, RESPONSE_HEADERS]);
    pub(crate) ENDPOINTS: Gauge(
        "accord.upstream.endpoints",
        "Endpoints of an upstream that were SERVING at their last health check",
    ).labels(&[UPSTREAM]);
    pub(crate) EJECTIONS: Counter("accord.upstream.ejections", "Endpoints that were ejected")
        .labels(&[UPSTREAM, EJECTION]);
    pub(crate) NOT_OWNER: Counter(
        "accord.upstream.not_owner",
        "Reads that another replica of the cache took than the owner of their key",
    ).labels(&[UPSTREAM, NOT_OWNER_CAUSE]);
    pub(crate) IN_FLIGHT: Gauge("accord.upstream.in_flight", "Calls in flight at an upstream").labels(&[UPSTREAM]);
    pub(crate) IN_FLIGHT_LIMIT: Gauge(
        "accord.upstream.in_flight.limit",
        "Calls that may be in flight at an upstream",
    ).labels(&[UPSTREAM]);
    pub(crate) OVERLOADED: Counter(
        "accord.upstream.overloaded",
        "Calls refused because an upstream had as many as it may",
    ).labels(&[UPSTREAM, LIMIT, CRITICALITY]);
    pub(crate) WAITING: Gauge(
        "accord.upstream.waiting",
        "Unary calls that wait for the head of an upstream's answer",
    ).labels(&[UPSTREAM]);
    pub(crate) WAITING_LIMIT: Gauge(
        "accord.upstream.waiting.limit",
        "Calls that may wait for it: the upstream's [adaptive limit](policies.md#the-adaptive-limit-of-an-upstream)",
    ).labels(&[UPSTREAM]);
    pub(crate) UNLOADED_LATENCY: Gauge(
        "accord.upstream.latency.unloaded",
        "Time to the head of an upstream's answer that is expected without a queue",
    ).unit("s").labels(&[UPSTREAM]);
}
