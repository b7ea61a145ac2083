//! The span of a load, a child of the read that it is for.

use accord_runtime::{current_call::CurrentCall, trace};
use http::uri::PathAndQuery;

/// A load as a span of the read that it is for.
pub(crate) async fn traced<T>(read: &CurrentCall, path: &PathAndQuery, load: impl Future<Output = T>) -> T {
    let span = || tracing::info_span!("load", otel.kind = "client", rpc.method = %path);
    read.clone().child(|| trace::client_span(span)).instrument(load).await
}
