//! The metrics of the gateway alone.

use accord_metric::{Label, metrics};

const HELD: Label = Label::closed("kind", &[("request", "being read"), ("response", "not yet read by its caller")]);
const COMPONENT: Label = Label::closed("component", &[("gateway", ""), ("auth", ""), ("cache", ""), ("upstream", "")]);
const REASON: Label =
    Label::open("reason", "of [fault.proto](../../proto/accord/fault/v1/fault.proto), or a status code");
const CACHE_OUTCOME: Label = Label::closed(
    "outcome",
    &[
        ("near", "from the gateway's own memory"),
        ("hit", ""),
        ("uri-miss", ""),
        ("stale", ""),
        ("request", ""),
        ("bypass", ""),
        ("not-stored", "it was refused"),
    ],
)
.note("as `cache` in the [access log](#access-log)");
const COUNTED: Label = Label::closed(
    "outcome",
    &[
        ("shared", ""),
        ("disconnected", "the gateway counted alone, as for all below"),
        ("timeout", ""),
        ("busy", "`max_in_flight`"),
        ("refused", ""),
        ("deadline", "the call's own came first"),
    ],
);
const INVALIDATION: Label = Label::closed(
    "outcome",
    &[
        ("acknowledged", ""),
        ("local", "the caller waits for no leases and no other replica"),
        ("deferred", "they answered before the cache had their invalidations"),
    ],
);

metrics! {
    pub METRICS;

    pub(crate) CALLS_ACTIVE: Gauge(
        "accord.gateway.calls.active",
        "In-flight slots of the gateway in use, until the last byte of their answers",
    );
    pub(crate) MEMORY_HELD: Gauge("accord.gateway.memory.held", "Bytes in memory for calls")
        .unit("By").labels(&[HELD]);
    pub(crate) FAULTS: Counter(
        "accord.gateway.faults",
        "Calls that the mesh itself refused or failed: load shedding, rate limits, denials, timeouts",
    ).labels(&[COMPONENT, REASON]);
    pub(crate) CACHE_READS: Counter(
        "accord.gateway.cache.reads",
        "Cached reads as the gateway answered them",
    ).labels(&[CACHE_OUTCOME]);
    pub(crate) CACHE_BYPASSED: Counter(
        "accord.gateway.cache.bypassed",
        "Cached reads that went to the upstream because the cache did not answer",
    ).labels(&[Label::open("rpc.method", "")]);
    pub(crate) NEAR_TWO_CACHES: Counter(
        "accord.gateway.near.two_caches",
        "Answers by which two cache processes were seen behind one name: more than 0 is a mistake",
    );
    pub(crate) SHARED_LIMITS_UP: Gauge(
        "accord.gateway.shared_limits.up",
        "1 while the server of [shared limits](policies.md#shared-limits) can be asked, 0 while each gateway counts alone",
    );
    pub(crate) SHARED_LIMITS_CALLS: Counter(
        "accord.gateway.shared_limits.calls",
        "Calls of methods with rate limits, by whether the server of shared limits counted them, or why not",
    ).labels(&[COUNTED]);
    pub(crate) INVALIDATION_DURATION: Histogram(
        "accord.gateway.invalidation.duration",
        "What mutations waited for their invalidations",
    ).unit("s").labels(&[INVALIDATION]);
    pub(crate) CONTRACT_RELOADS: Counter(
        "accord.gateway.contract.reloads",
        "Attempts to replace the contract while serving",
    ).labels(&[Label::closed("outcome", &[("replaced", ""), ("refused", "")])]);
}
