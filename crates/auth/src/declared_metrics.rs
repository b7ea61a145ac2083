//! The metrics of auth alone. None carries a name of anybody.

use accord_metric::{Label, metrics};

const LOGIN: Label = Label::closed("outcome", &[("succeeded", ""), ("refused", ""), ("throttled", ""), ("failed", "")]);

metrics! {
    pub METRICS;

    pub(crate) LOGINS: Counter("accord.auth.logins", "Logins").labels(&[LOGIN]);
    pub(crate) PASSWORDS_HASHED: Counter(
        "accord.auth.passwords.hashed",
        "Passwords hashed, for a check or for the store: each takes tens of milliseconds of a core",
    );
    pub(crate) KEY_FETCHES: Counter("accord.auth.issuer.key_fetches", "Questions for the keys of other issuers")
        .labels(&[
            Label::open("issuer", "as configured"),
            Label::closed("outcome", &[("fetched", ""), ("failed", "")]),
        ]);
    pub(crate) OAUTH_REQUESTS: Counter("accord.auth.oauth.requests", "Requests of OAuth over HTTP")
        .labels(&[Label::open("endpoint", ""), Label::open("error", "that of OAuth, or `none`")]);
    pub(crate) DEVICES_PENDING: Gauge(
        "accord.auth.devices.pending",
        "Devices that wait to be [approved](credentials.md#command-lines), at all replicas, of `oauth.device.max_pending`; \
         counted every 5 s, and only where there are `oauth.device.clients`",
    );
    pub(crate) TOKENS: Counter("accord.auth.tokens", "Tokens issued")
        .labels(&[Label::closed("type", &[("access", ""), ("passport", "")])]);
    pub(crate) DECISIONS: Counter("accord.auth.decisions", "Authorization decisions of policy")
        .labels(&[Label::closed("allowed", &[("true", ""), ("false", "")])]);
    pub(crate) SHADOW_DECISIONS: Counter(
        "accord.auth.shadow_decisions",
        "Decisions, compared with what policies in `policy.shadow_files` would make of them",
    ).labels(&[Label::closed("difference", &[("none", ""), ("would_allow", ""), ("would_deny", "")])]);
    pub(crate) SNAPSHOT_STREAMS: UpDownCounter(
        "accord.auth.snapshot.streams",
        "Verifiers that follow revocations now",
    );
    pub(crate) STORE_DURATION: Histogram("accord.auth.store.duration", "How long auth's store takes")
        .unit("s").labels(&[Label::closed("operation", &[("transaction", ""), ("revision", "")])]);
}
