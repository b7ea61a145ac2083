//! The metrics of the cache service; those of its engine are beside that.

use accord_metric::{Label, metrics};

const SECOND_LEVEL_WRITE: Label = Label::closed(
    "outcome",
    &[
        ("written", ""),
        ("queue_full", "more than `max_waiting_bytes` waited"),
        ("too_large", ""),
        ("expired", "before its turn came"),
        ("late", ""),
        ("unavailable", ""),
    ],
);
const CHECK: Label = Label::closed(
    "result",
    &[
        ("same", ""),
        ("superseded", "nothing invalidated it"),
        ("invalidated", "its invalidation was on its way, which is no alarm"),
        ("unsteady", "the upstream says something else each time, which is none either"),
        ("failed", "the upstream did not answer"),
    ],
);
const FLUSH: Label = Label::closed("cause", &[("missing_batches", ""), ("silent_sender", ""), ("unknown_sender", "")]);
const REQUIREMENT: Label = Label::closed(
    "requirement",
    &[("minimize_latency", ""), ("max_staleness", ""), ("at_least_as_fresh", ""), ("strong", "")],
);
const TOKEN: Label =
    Label::closed("result", &[("known", ""), ("unknown", "not to be judged here, a load"), ("refused", "")]);
const OUTBOX: Label = Label::open("outbox", "as configured");
const OUTBOX_FLUSH: Label = Label::closed(
    "cause",
    &[
        ("written", "TRUNCATE, or too much in one statement"),
        ("full", ""),
        ("missing", ""),
        ("late", "the second time"),
        ("failover", ""),
        ("installed", ""),
    ],
);

metrics! {
    pub METRICS;

    pub(crate) REQUIREMENTS: Counter(
        "accord.cache.requirements",
        "Cached reads that reached the cache, by the strictest that their callers required",
    ).labels(&[REQUIREMENT]);
    pub(crate) CONSISTENCY_TOKENS: Counter(
        "accord.cache.consistency_tokens",
        "[Consistency tokens](policies.md#read-your-writes) that reads passed",
    ).labels(&[TOKEN]);
    pub(crate) FORCED_LOADS_DELAYED: Counter(
        "accord.cache.forced_loads.delayed",
        "Reads that waited for up to 100 ms, since a token that can't be judged had made a load of their key a moment before",
    );
    pub(crate) FLUSHES: Counter(
        "accord.cache.flushes",
        "Times that everything loaded was dropped, because [invalidations may be missing](policies.md#cache-invalidation)",
    ).labels(&[FLUSH]);
    pub(crate) NAMESPACE_WATCHERS: Gauge(
        "accord.cache.namespace.watchers",
        "Streams of changes of a namespace, of `max_watchers`",
    ).labels(&[Label::open("namespace", "as configured")]);
    pub(crate) LOG_VERIFICATIONS: Counter(
        "accord.cache.log.verifications",
        "Verifications of the shared invalidation log",
    ).labels(&[Label::closed("result", &[("ok", ""), ("failed", "")])]);
    pub(crate) LOG_OPERATION_DURATION: Histogram(
        "accord.cache.log.operation.duration",
        "What operations on the shared invalidation log take, waiting for those of other replicas included: they go one after \
         the other",
    ).unit("s").labels(&[Label::closed("operation", &[("append", ""), ("verify", "")])]);
    pub(crate) SECOND_LEVEL_WRITES: Counter(
        "accord.cache.second_level.writes",
        "Values for the [second level](#a-second-level-that-replicas-share), by what became of them",
    ).labels(&[SECOND_LEVEL_WRITE]);
    pub(crate) SECOND_LEVEL_UP: Gauge(
        "accord.cache.second_level.up",
        "1 while all servers of the second level can be asked, else 0",
    );
    pub(crate) CHECKS: Counter(
        "accord.cache.checks",
        "Hits that the [live checker](staleness.md#is-it-kept) compared with their upstream",
    ).labels(&[Label::closed("level", &[("memory", ""), ("second_level", "")]), CHECK]);
    pub(crate) SUPERSEDED_BEFORE_READ: Counter(
        "accord.cache.superseded_before_read",
        "Hits that the live checker compared, that are not what the upstream says, and that nothing invalidated",
    ).labels(&[Label::open("rpc.method", "")]);
    pub(crate) OUTBOX_LAG: Gauge(
        "accord.cache.outbox.lag",
        "Time since everything that was committed had been read from an [outbox](outbox.md#what-to-watch)",
    ).unit("s").labels(&[OUTBOX]);
    pub(crate) OUTBOX_DELAY: Histogram(
        "accord.cache.outbox.delay",
        "Time from the write of a row to its invalidation, of a long transaction that of its statement",
    ).unit("s").labels(&[OUTBOX]);
    pub(crate) OUTBOX_ROWS: Gauge(
        "accord.cache.outbox.rows",
        "Numbers of an outbox that are to be read, or to be missed no more",
    ).labels(&[OUTBOX]);
    pub(crate) OUTBOX_FLUSHES: Counter(
        "accord.cache.outbox.flushes",
        "Times that everything was invalidated for an outbox",
    ).labels(&[OUTBOX, OUTBOX_FLUSH]);
}
