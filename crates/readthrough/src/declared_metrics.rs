//! The metrics of the engine, and those of a near cache.

use accord_metric::{Label, metrics};

const OUTCOME: Label = Label::closed(
    "outcome",
    &[
        ("hit", ""),
        ("uri-miss", ""),
        ("stale", "too old or invalidated, loaded again"),
        ("request", "its caller wanted a load"),
        ("bypass", ""),
        ("not-stored", "its caller wanted no load"),
    ],
);
const LOAD: Label = Label::closed("result", &[("ok", ""), ("not_found", ""), ("failed", ""), ("refused", "")]);
const HIT: Label = Label::closed("outcome", &[("hit", ""), ("miss", "")]);
const NAMESPACE: Label = Label::open("namespace", "as configured");
const LEASE_REFUSED: Label = Label::closed(
    "reason",
    &[
        ("invalidated_lately", "a key that is written all the time"),
        ("not_fresh", ""),
        ("first_lease_time", ""),
        ("invalid", ""),
        ("unverified", "a replica away from its invalidation log"),
        ("off", ""),
    ],
);
const SECOND_LEVEL: Label = Label::closed(
    "outcome",
    &[
        ("hit", ""),
        ("absent", "no hit, as all below"),
        ("invalidated", ""),
        ("before_history", "loaded before the oldest invalidation that this replica knows of"),
        ("ahead", "after one that it has not read yet"),
        ("other_log", ""),
        ("too_old", ""),
        ("unreadable", "not written with this secret, or in another format"),
        ("late", ""),
        ("unavailable", ""),
    ],
);
const NEAR_REFUSED: Label = Label::closed(
    "reason",
    &[("too_large", ""), ("invalidated", ""), ("expired", ""), ("suspended", "two caches behind one name")],
);

metrics! {
    pub METRICS;

    pub(crate) READS: Counter("accord.cache.reads", "Cached reads, by what was found (RFC 9211)").labels(&[OUTCOME]);
    pub(crate) EARLY_REFRESHES: Counter(
        "accord.cache.early_refreshes",
        "Loads that were started behind an answer shortly before it went stale",
    );
    pub(crate) STALE_SERVED: Counter(
        "accord.cache.stale_served",
        "Answers that were served although they were stale",
    ).labels(&[Label::closed("reason", &[("revalidating", ""), ("origin_failed", "")])]);
    pub(crate) FLIGHTS: UpDownCounter("accord.cache.flights", "Loads in flight");
    pub(crate) WAITERS: UpDownCounter("accord.cache.waiters", "Readers that wait for a load");
    pub(crate) LOAD_DURATION: Histogram("accord.cache.load.duration", "How long loads take").unit("s").labels(&[LOAD]);
    pub(crate) BYTES: Gauge("accord.cache.bytes", "Bytes of entries of the cache");
    pub(crate) BYTES_LIMIT: Gauge("accord.cache.bytes.limit", "Bytes of entries that the cache may hold");
    pub(crate) ENTRIES: Gauge("accord.cache.entries", "Entries of the cache");
    pub(crate) OLDER_VERSIONS: Counter(
        "accord.cache.older_versions",
        "Loads that were not stored, because their version is older than one that is or was",
    );
    pub(crate) ORIGINS_SKIPPED: Counter(
        "accord.cache.origins_skipped",
        "Reads that started no load, because they had less time left than loads of the method take in the median",
    ).labels(&[Label::closed("told", &[("stale", ""), ("failure", "")])]);
    pub(crate) REMOVALS: Counter(
        "accord.cache.removals",
        "Entries that left the cache; an invalidated one stays until it is read or evicted",
    ).labels(&[Label::closed("cause", &[("evicted", "for room"), ("replaced", ""), ("removed", "")])]);
    pub(crate) NAMESPACE_READS: Counter("accord.cache.namespace.reads", "Reads of keys").labels(&[NAMESPACE, HIT]);
    pub(crate) NAMESPACE_PUTS: Counter("accord.cache.namespace.puts", "Values put").labels(&[NAMESPACE]);
    pub(crate) NAMESPACE_CONFLICTS: Counter(
        "accord.cache.namespace.conflicts",
        "Writes of keys that expected another version",
    ).labels(&[NAMESPACE]);
    pub(crate) NAMESPACE_LOADS: Counter(
        "accord.cache.namespace.loads",
        "Loads of keys from the namespace's origin",
    ).labels(&[NAMESPACE, LOAD]);
    pub(crate) NAMESPACE_WRITES: Counter(
        "accord.cache.namespace.writes",
        "Writes of keys that went to the namespace's records first",
    ).labels(&[
        NAMESPACE,
        Label::closed("result", &[("ok", ""), ("failed", "a conflict, or not known to have succeeded")]),
    ]);
    pub(crate) NAMESPACE_BYTES: Gauge("accord.cache.namespace.bytes", "Bytes that a namespace holds, of its quota")
        .labels(&[NAMESPACE]);
    pub(crate) NAMESPACE_ENTRIES: Gauge("accord.cache.namespace.entries", "Keys that a namespace holds, of its quota")
        .labels(&[NAMESPACE]);
    pub(crate) LEASES_GRANTED: Counter("accord.cache.leases.granted", "Leases on answers");
    pub(crate) LEASES_REFUSED: Counter(
        "accord.cache.leases.refused",
        "Answers without the lease that was asked for",
    ).labels(&[LEASE_REFUSED]);
    pub(crate) INVALIDATION_WAIT: Histogram(
        "accord.cache.invalidation.wait.duration",
        "How long other gateways still hold leases on what is invalidated, where the cache is alone; what writes waited is \
         `accord.gateway.invalidation.duration`",
    ).unit("s");
    pub(crate) SECOND_LEVEL_LOOKUPS: Counter(
        "accord.cache.second_level.lookups",
        "Looks into the [second level](#a-second-level-that-replicas-share), by what was found, or why nothing",
    ).labels(&[SECOND_LEVEL]);
}

/// Those of a near cache.
pub mod near {
    use super::{HIT, NEAR_REFUSED, metrics};

    metrics! {
        pub METRICS;

        pub(crate) READS: Counter("accord.gateway.near.reads", "Looks into the near cache").labels(&[HIT]);
        pub(crate) REFUSED: Counter("accord.gateway.near.refused", "Leased answers that were not kept")
            .labels(&[NEAR_REFUSED]);
        pub(crate) BYTES: Gauge("accord.gateway.near.bytes", "Bytes of entries of the near cache, of `near.max_bytes`");
        pub(crate) ENTRIES: Gauge("accord.gateway.near.entries", "Entries of the near cache");
    }
}
