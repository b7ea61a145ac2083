//! A collector that takes everything and answers nothing costs a process two seconds at its end and nothing before.

use std::time::{Duration, Instant};

use accord_metric::metrics;
use accord_runtime::telemetry::{self, OtlpConfig, TelemetryConfig};

metrics! {
    TESTED;

    COUNTED: Counter("test.counted", "Counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_a_silent_collector() {
    // The kernel takes the connection, and nobody ever looks at it.
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let otlp = OtlpConfig { endpoint: Some(endpoint), ..OtlpConfig::default() };
    let telemetry = telemetry::init("test", &TelemetryConfig { otlp, ..TelemetryConfig::default() }).unwrap();
    tracing::info_span!("lost").in_scope(|| COUNTED.counter(&telemetry::meter()).add(1, &[]));
    assert!(telemetry.prometheus().contains("test_counted_total"));

    let begun = Instant::now();
    telemetry.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}
