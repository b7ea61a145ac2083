//! The metrics of a binary that knows the others in the mesh.

use accord_metric::{Label, metrics};
/// Those of the upstream that auth is to it.
pub use accord_upstream::declared_metrics::METRICS as UPSTREAM_METRICS;

const CREDENTIAL: Label = Label::closed("kind", &[("api_key", ""), ("certificate", "")]);
const EXCHANGE: Label = Label::closed(
    "outcome",
    &[("accepted", ""), ("refused", ""), ("throttled", ""), ("failed", "auth did not answer")],
);

metrics! {
    pub METRICS;

    pub(crate) REVOCATIONS_AGE: Gauge("accord.revocations.age", "How old what is known of revocations is").unit("s");
    pub(crate) REVOCATIONS_AGE_LIMIT: Gauge(
        "accord.revocations.age.limit",
        "The age of what is known of revocations from which on every token is refused: alert before one reaches the other",
    ).unit("s");
    pub(crate) CREDENTIAL_EXCHANGES: Counter(
        "accord.credentials.exchanges",
        "Questions to auth for a token in the place of a [caller's credential](credentials.md#api-keys)",
    ).labels(&[CREDENTIAL, EXCHANGE]);
}
