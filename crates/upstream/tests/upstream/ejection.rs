//! What operators see of ejection (outlier detection).

use accord_runtime::telemetry::{self, TelemetryConfig};
use tokio::net::TcpListener;

use crate::{unary, upstream};

/// The samples of the metric, one a line.
fn ejections(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("accord_upstream_ejections_total{")).collect()
}

#[tokio::test]
async fn ejection_is_counted_once_with_its_cause() {
    // The only test of this process that needs metrics: they are set up once.
    let telemetry = telemetry::init("upstream", &TelemetryConfig::default()).unwrap();
    // It was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = upstream(&format!("http://{address}"), |config| config.name = "ejected".into());
    for _ in 0..2 {
        assert!(unary(&upstream).await.unwrap().result.is_err());
    }
    let text = telemetry.prometheus();
    let counted: Vec<_> = ejections(&text).into_iter().filter(|line| line.contains("upstream=\"ejected\"")).collect();
    assert!(
        matches!(*counted, [one] if one.contains("cause=\"connect_failed\"") && one.ends_with(" 1")),
        "{counted:?}"
    );
}
