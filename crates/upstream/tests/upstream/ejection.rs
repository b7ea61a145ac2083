//! What operators see of ejection (outlier detection), and of attempts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use accord_runtime::telemetry::{self, Telemetry, TelemetryConfig};

use crate::raw::refusing;
use crate::server::Server;
use crate::{Calling, one_connection, unary, upstream};

/// The metrics of this process. They have to be there before an upstream that is measured.
fn metrics() -> &'static Telemetry {
    static METRICS: OnceLock<Telemetry> = OnceLock::new();
    METRICS.get_or_init(|| telemetry::init("upstream", &TelemetryConfig::default()).unwrap())
}

/// The samples of a counter of an upstream, one a line.
fn samples(counter: &str, upstream: &str) -> Vec<String> {
    let (begin, label) = (format!("{counter}{{"), format!("upstream=\"{upstream}\""));
    let text = metrics().prometheus();
    text.lines().filter(|line| line.starts_with(&begin) && line.contains(&label)).map(str::to_owned).collect()
}

#[tokio::test]
async fn ejection_is_counted_once_with_its_cause() {
    metrics();
    let (_bound, address) = refusing();
    let upstream = upstream(&format!("http://{address}"), |config| config.name = "ejected".into());
    for _ in 0..2 {
        assert!(unary(&upstream).await.unwrap().result.is_err());
    }
    let counted = samples("accord_upstream_ejections_total", "ejected");
    assert!(
        matches!(&*counted, [one] if one.contains("cause=\"connect_failed\"") && one.ends_with(" 1")),
        "{counted:?}"
    );
}

#[tokio::test]
async fn attempt_that_is_given_up_is_counted_as_one_without_response_headers() {
    metrics();
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, |config| {
        one_connection(config);
        config.name = "silent".into();
    });
    let calling = Calling { within: Duration::from_millis(50), ..Calling::default() };
    let late = tokio::spawn(calling.unary(Arc::clone(&upstream)));
    let mut received = server.next().await;
    assert!(late.await.unwrap().result.unwrap_err().is_deadline());
    received.given_up().await;
    let left = unary(&upstream);
    let mut received = server.next().await;
    left.abort();
    received.given_up().await;
    let counted = samples("accord_upstream_attempts_total", "silent");
    assert!(
        matches!(&*counted, [one] if one.contains("response_headers_received=\"false\"") && one.ends_with(" 2")),
        "{counted:?}"
    );
}
