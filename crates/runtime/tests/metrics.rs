//! What `/metrics` shows, in a process whose telemetry is set up.

use std::{path::Path, sync::OnceLock, time::Duration};

use accord_metric::metrics;
use accord_runtime::{
    admin,
    grpc_server::{GrpcServer, Unguarded},
    health::Health,
    reload::Reloading,
    telemetry::{self, Telemetry, TelemetryConfig},
    tls::ClientTlsConfig,
};
use accord_test_certificates::Identity;
use opentelemetry::KeyValue;

/// Methods of a contract that came after the start, and the series that each has: a status code each, by two listeners and five protocols.
const METHODS: usize = 90;
const SERIES_OF_A_METHOD: usize = 17 * 2 * 5;

metrics! {
    TESTED;

    DURATION: Histogram("test.duration", "Times").unit("s");
    SCOPED: Counter("test.scoped", "Counted");
    CALLS: Histogram("rpc.server.call.duration", "Calls").unit("s");
}

/// Set up once for all tests.
fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| {
        let telemetry = telemetry::init("accord-test", &TelemetryConfig::default()).unwrap();
        let health = Health::new();
        drop(admin::service(GrpcServer::new(&health, Unguarded::new()), &telemetry, &health).unwrap());
        telemetry
    })
}

fn value(name: &str) -> f64 {
    shown(name).parse().unwrap()
}

/// The value of a series as it is written, of the first whose line begins so.
fn shown(name: &str) -> String {
    let text = telemetry().prometheus();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[tokio::test]
async fn duration_without_boundaries_of_its_own_has_those_of_seconds() {
    telemetry();
    DURATION.histogram(&telemetry::meter()).record(0.003, &[]);
    let bucket = |bound: &str| shown(&format!("test_duration_seconds_bucket{{le=\"{bound}\"}}"));
    assert_eq!([bucket("0.0025"), bucket("0.005")], ["0", "1"]);
}

#[tokio::test]
async fn process_shows_its_build_and_what_it_takes() {
    assert_eq!(shown("accord_build_info{version=\""), "1");
    // Counted in hundredths of a second, of which it may not have taken one.
    assert!(value("process_cpu_time_seconds_total") >= 0.0);
    for name in [
        "process_memory_usage_bytes",
        "process_open_file_descriptor_count",
        "process_open_file_descriptor_limit",
        "process_start_time_seconds",
    ] {
        assert!(value(name) > 0.0, "{name}");
    }
}

/// Writes a certificate that ends then, and its key.
fn issue(cert_file: &Path, key_file: &Path, ends: &str) {
    let ends = humantime::parse_rfc3339(ends).unwrap();
    Identity::self_signed_until(&["localhost"], ends).write(cert_file, key_file);
}

#[tokio::test]
async fn certificate_that_is_shown_tells_when_it_ends() {
    telemetry();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    issue(&file("cert.pem"), &file("key.pem"), "2040-01-01T00:00:00Z");
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| Some(file(name)));
    let files = ClientTlsConfig { ca_file: cert_file.clone(), cert_file, key_file, ..ClientTlsConfig::default() };
    files.load().unwrap();
    let name = format!("accord_tls_certificate_expiry_seconds{{file=\"{}\"}}", file("cert.pem").display());
    assert!(value(&name) > 2.2e9);
}

#[tokio::test]
async fn certificate_that_is_replaced_tells_its_own_end_though_nobody_connects() {
    telemetry();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let [cert_file, key_file] = ["replaced.pem", "replaced.key"].map(file);
    issue(&cert_file, &key_file, "2040-01-01T00:00:00Z");
    let [cert, key] = [&cert_file, &key_file].map(|file| Some(file.clone()));
    let files = ClientTlsConfig { ca_file: cert.clone(), cert_file: cert, key_file: key, ..ClientTlsConfig::default() };
    let _followed = files.load().unwrap();
    let name = format!("accord_tls_certificate_expiry_seconds{{file=\"{}\"}}", cert_file.display());
    assert!(value(&name) > 2.2e9);
    issue(&cert_file, &key_file, "2050-01-01T00:00:00Z");
    let shown = async {
        while value(&name) < 2.5e9 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown).await.expect("the new end is shown");
}

#[tokio::test]
async fn reload_of_files_is_counted_by_its_outcome() {
    telemetry();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("number");
    std::fs::write(&file, "1").unwrap();
    let path = file.clone();
    let read = move || std::fs::read_to_string(&path).unwrap().parse::<u32>();
    let _number = Reloading::new("number", vec![file.clone()], Duration::from_millis(1), read).unwrap();
    for (text, outcome) in [("22", "replaced"), ("many", "refused")] {
        std::fs::write(&file, text).unwrap();
        let name = format!("accord_files_reloads_total{{kind=\"number\",outcome=\"{outcome}\"}}");
        let counted = async {
            while !telemetry().prometheus().contains(&name) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), counted).await.expect("it is counted");
        assert_eq!(shown(&name), "1");
    }
}

#[tokio::test]
async fn lines_carry_no_scope() {
    telemetry();
    SCOPED.counter(&telemetry::meter()).add(1, &[]);
    assert!(!telemetry().prometheus().contains("otel_scope_name"));
}

#[tokio::test]
async fn series_of_methods_of_a_larger_contract_than_the_first_are_told_apart() {
    telemetry();
    let durations = CALLS.histogram(&telemetry::meter());
    for number in 0..METHODS * SERIES_OF_A_METHOD {
        durations.record(0.001, &[KeyValue::new("series", i64::try_from(number).unwrap())]);
    }
    assert!(!telemetry().prometheus().contains("otel_metric_overflow"));
}
