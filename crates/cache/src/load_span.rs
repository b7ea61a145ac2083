//! The span of a load: a child of the read that it is for, and a link of those that waited for it.

use std::collections::BTreeSet;

use accord_readthrough::LoadTrace;
use accord_runtime::{
    current_call::CurrentCall,
    trace::{self, SpanIds},
};
use http::uri::PathAndQuery;

/// A load as a span of the read that it is for; which one, where it is sampled.
pub(crate) async fn traced<T>(
    read: &CurrentCall,
    path: &PathAndQuery,
    load: impl Future<Output = T>,
) -> (T, Option<LoadTrace>) {
    // The calls that it takes have spans of their own, which are those of a client.
    let method = path.as_str().trim_start_matches('/');
    let span = || tracing::info_span!("load", otel.kind = "internal", rpc.system.name = "grpc", rpc.method = method);
    let call = read.clone().child(|| trace::client_span(span));
    let trace = trace::span_ids(&call).map(|SpanIds { trace_id, span_id }| LoadTrace { trace_id, span_id });
    (call.instrument(load).await, trace)
}

/// Links the read that runs now to the loads of others that it waited for, to each once.
pub(crate) fn link(loads: impl IntoIterator<Item = LoadTrace>) {
    let loads: BTreeSet<_> = loads.into_iter().collect();
    for LoadTrace { trace_id, span_id } in loads {
        trace::link(&CurrentCall::get(), SpanIds { trace_id, span_id });
    }
}
