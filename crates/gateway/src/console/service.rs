//! What the console shows, as a service: of metrics those that it has a place for, of endpoints what is known now.

use crate::{call_samples::CallSamples, explain, table::Tables};
use accord_api::accord::gateway::v1::{
    Bucket, EndpointState, GetStateRequest, GetStateResponse, ListCallsRequest, ListCallsResponse, ListPoliciesRequest,
    ListPoliciesResponse, Series, UpstreamState, console_service_server::ConsoleService,
};
use accord_runtime::telemetry::{self, Telemetry};
use accord_upstream::Upstream;
use std::{sync::Arc, time::SystemTime};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// The metrics that have a place in the console.
const SHOWN: [&str; 26] = [
    "accord_build_info",
    "accord_budget_limit",
    "accord_budget_shed_total",
    "accord_connections_open",
    "accord_dependency_up",
    "accord_gateway_cache_bypassed_total",
    "accord_gateway_cache_reads_total",
    "accord_gateway_calls_active",
    "accord_gateway_faults_total",
    "accord_gateway_memory_held_bytes",
    "accord_gateway_near_bytes",
    "accord_gateway_shared_limits_up",
    "accord_revocations_age_limit_seconds",
    "accord_revocations_age_seconds",
    "accord_upstream_attempts_total",
    "accord_upstream_duration_seconds",
    "accord_upstream_ejections_total",
    "accord_upstream_in_flight",
    "accord_upstream_in_flight_limit",
    "accord_upstream_latency_unloaded_seconds",
    "accord_upstream_overloaded_total",
    "accord_upstream_waiting",
    "accord_upstream_waiting_limit",
    "process_memory_usage_bytes",
    "process_start_time_seconds",
    "rpc_server_call_duration_seconds",
];

/// Methods on a page, unless its caller says otherwise, and at most.
const PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 500;

/// Answers for one gateway.
pub(crate) struct ConsoleServer {
    /// The contract and the upstreams.
    pub tables: Arc<Tables>,
    /// The cache, where there is one.
    pub cache: Option<Arc<Upstream>>,
    /// Auth.
    pub auth: Arc<Upstream>,
    /// Recent calls.
    pub samples: Arc<CallSamples>,
    /// Metrics.
    pub telemetry: Telemetry,
}

#[tonic::async_trait]
impl ConsoleService for ConsoleServer {
    async fn get_state(&self, _: Request<GetStateRequest>) -> Result<Response<GetStateResponse>, Status> {
        let now = Instant::now();
        let state = |upstream: &Arc<Upstream>| state(upstream, now);
        let series = self.telemetry.series(|name| SHOWN.contains(&name)).into_iter().map(written).collect();
        Ok(Response::new(GetStateResponse {
            time: Some(SystemTime::now().into()),
            series,
            upstreams: self.tables.load().upstreams().iter().flat_map(Upstream::with_versions).map(state).collect(),
            cache: self.cache.as_ref().map(state),
            auth: Some(state(&self.auth)),
        }))
    }

    async fn list_calls(&self, request: Request<ListCallsRequest>) -> Result<Response<ListCallsResponse>, Status> {
        let after = request.into_inner().after;
        Ok(Response::new(ListCallsResponse { calls: self.samples.after(after) }))
    }

    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let ListPoliciesRequest { page_size, page_token } = request.into_inner();
        let size = usize::try_from(page_size).ok().filter(|size| *size > 0).unwrap_or(PAGE_SIZE).min(MAX_PAGE_SIZE);
        let table = self.tables.load();
        let methods = table.contract().methods();
        let mut left = methods.iter().filter(|method| *method.name > *page_token);
        let page: Vec<_> = left.by_ref().take(size).collect();
        let last = page.last().map(|method| method.name.to_string());
        let next_page_token = left.next().and(last).unwrap_or_default();
        let methods = page.into_iter().map(|method| explain::response(method, &table)).collect();
        Ok(Response::new(ListPoliciesResponse { methods, next_page_token }))
    }
}

fn state(upstream: &Arc<Upstream>, now: Instant) -> UpstreamState {
    let endpoints = upstream.endpoints();
    let endpoint = |endpoint: &Arc<accord_upstream::Endpoint>| EndpointState {
        address: endpoint.label().to_owned(),
        in_flight: endpoint.in_flight() as u64,
        ejected: endpoint.is_ejected(now),
    };
    UpstreamState { name: upstream.name().to_string(), endpoints: endpoints.iter().map(endpoint).collect() }
}

fn written(series: telemetry::Series) -> Series {
    let bucket = |it: telemetry::Bucket| Bucket { upper_bound: it.upper_bound, cumulative_count: it.cumulative_count };
    Series {
        name: series.name,
        labels: series.labels.into_iter().collect(),
        value: series.value,
        count: series.count,
        buckets: series.buckets.into_iter().map(bucket).collect(),
    }
}
