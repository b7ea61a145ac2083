//! The port for those who operate the process: metrics, liveness, readiness, and gRPC health and reflection.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE, VARY},
};
use opentelemetry::KeyValue;
use tonic::service::Routes;
use tower::Layer;

use crate::{
    declared_metrics::DEPENDENCY_UP,
    grpc_server::{GrpcServer, GrpcServerError, GrpcService},
    health::Health,
    process_metrics,
    telemetry::{self, Telemetry},
};

const METRICS: &str = "/metrics";
const READINESS: &str = "/readyz";
const LIVENESS: &str = "/livez";
const PATHS: &[&str] = &[METRICS, READINESS, LIVENESS];

fn router(telemetry: &Telemetry, health: &Health) -> Router {
    count_dependencies(health.clone());
    process_metrics::observe(&telemetry::meter());
    let metrics = Router::new().route(METRICS, get(metrics)).with_state(telemetry.clone());
    let readiness = Router::new().route(READINESS, get(ready)).with_state(health.clone());
    // Liveness depends on nothing: a restart mends no dependency.
    metrics.merge(readiness).route(LIVENESS, get(async || "alive\n"))
}

/// The routes `/metrics`, `/livez` and `/readyz`, and a gRPC server, on one port. Scrapes and probes come every few seconds,
/// and would drown the calls among which they were counted.
pub fn service<G: Layer<Routes>>(
    server: GrpcServer<G>,
    telemetry: &Telemetry,
    health: &Health,
) -> Result<GrpcService<G::Service>, GrpcServerError> {
    server.http(PATHS, router(telemetry, health)).exclude(PATHS).inspection("admin_inspection").into_service()
}

/// Shows each dependency as 1 while it is up and 0 while it is not.
fn count_dependencies(health: Health) {
    DEPENDENCY_UP.observe(&telemetry::meter(), move |gauge| {
        for (name, up) in health.dependencies() {
            gauge.observe(u64::from(up), &[KeyValue::new("dependency", name)]);
        }
    });
}

async fn metrics(State(telemetry): State<Telemetry>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, text) = telemetry.scraped(accept);
    ([(CONTENT_TYPE, kind), (VARY, "accept")], text)
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    if health.ready() {
        let down = health.down();
        let without = if down.is_empty() { String::new() } else { format!(", without {}", down.join(", ")) };
        return (StatusCode::OK, format!("ready{without}\n"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", health.missing().join(", ")))
}
