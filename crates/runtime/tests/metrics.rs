//! What `/metrics` shows, in a process whose telemetry is set up.

use std::{sync::OnceLock, time::Duration};

use accord_runtime::{
    admin,
    grpc_server::{GrpcServer, Unguarded},
    health::Health,
    reload::Reloading,
    telemetry::{self, Telemetry, TelemetryConfig},
    tls::ClientTlsConfig,
};
use opentelemetry::KeyValue;

/// Methods whose series have room.
const METHODS: usize = 100;

/// Set up once for all tests.
fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| {
        let telemetry = telemetry::init("accord-test", &TelemetryConfig::default()).unwrap();
        telemetry::expect_methods(METHODS);
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
    telemetry::meter().f64_histogram("test.duration").with_unit("s").build().record(0.003, &[]);
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

#[tokio::test]
async fn certificate_that_is_shown_tells_when_it_ends() {
    telemetry();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), issued.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| Some(file(name)));
    let files = ClientTlsConfig { ca_file: cert_file.clone(), cert_file, key_file, ..ClientTlsConfig::default() };
    files.load().unwrap();
    // rcgen's own end, in the year 4096.
    let name = format!("accord_tls_certificate_expiry_seconds{{file=\"{}\"}}", file("cert.pem").display());
    assert!(value(&name) > 6.0e10);
}

#[tokio::test]
async fn certificate_that_is_replaced_tells_its_own_end_though_nobody_connects() {
    telemetry();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let [cert_file, key_file] = ["replaced.pem", "replaced.key"].map(file);
    let issue = |year| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&cert_file, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
    };
    issue(2040);
    let [cert, key] = [&cert_file, &key_file].map(|file| Some(file.clone()));
    let files = ClientTlsConfig { ca_file: cert.clone(), cert_file: cert, key_file: key, ..ClientTlsConfig::default() };
    let _followed = files.load().unwrap();
    let name = format!("accord_tls_certificate_expiry_seconds{{file=\"{}\"}}", cert_file.display());
    assert!(value(&name) > 2.2e9);
    issue(2050);
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
    telemetry::meter().u64_counter("test.scoped").build().add(1, &[]);
    assert!(!telemetry().prometheus().contains("otel_scope_name"));
}

#[tokio::test]
async fn series_of_every_expected_method_are_told_apart() {
    telemetry();
    let counter = telemetry::meter().u64_counter("test.methods").build();
    for number in 0..30 * METHODS {
        counter.add(1, &[KeyValue::new("series", i64::try_from(number).unwrap())]);
    }
    assert!(!telemetry().prometheus().contains("otel_metric_overflow"));
}
