//! Logs, traces and metrics, set up once per process.
//!
//! Prometheus text is always there, OTLP only where an endpoint is configured. Log lines of calls carry trace and request ids.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Uri;
use opentelemetry::{global, metrics::Meter, trace::TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use prometheus::{Encoder, Registry, TextEncoder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use tonic::transport::ClientTlsConfig;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry as Subscribers,
    filter::{FilterExt, ParseError, dynamic_filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt, TryInitError},
};

pub use crate::access_log::AccessLogConfig;
use crate::{
    access_log::{self, LastLines},
    config::{
        Invalid,
        bound::{self, DAY, Time},
    },
    trace,
};

mod environment;
pub(crate) mod exemplars;
mod lines;
mod openmetrics;
mod series;
mod views;

pub use environment::VariableError;
use environment::{Signal, variable};
use lines::lines;
pub use series::{Bucket, Series};

/// The longest that a process waits at its end for a collector to take the last figures.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// The time between two exports of metrics where nothing says otherwise.
const INTERVAL: Duration = Duration::from_secs(30);

/// OpenTelemetry tells its own set-up at info. The HTTP/2 library warns of what a peer does wrong, by which a stranger could fill the
/// log; how a connection ended is told at debug. The client of Kubernetes tells each failure, which discovery tells itself, once.
const LIBRARIES: &str = "opentelemetry=warn,h2=error,kube_client=off";

/// Which lines are written, as it is now.
static FILTER: OnceLock<reload::Handle<EnvFilter, Subscribers>> = OnceLock::new();

/// What is told to whom.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Log lines.
    pub log: LogConfig,
    /// A line for each call.
    pub access_log: AccessLogConfig,
    /// Traces and metrics by OTLP.
    pub otlp: OtlpConfig,
}

/// How log lines look.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `human` or `json`. Default human.
    pub format: LogFormat,
    /// Level, or directives by target such as `info,h2=warn`. Default info.
    #[serde(deserialize_with = "level")]
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".to_owned() }
    }
}

/// Refuses what no filter can be made of, and a bare word that is no level: it would silence everything but itself.
fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text: String = bound::text(deserializer)?;
    let word = |part: &&str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
    if let Some(wrong) = text.split(',').filter(word).find(|part| part.parse::<LevelFilter>().is_err()) {
        return Err(D::Error::custom(format!(
            "`{wrong}` is none of off, error, warn, info, debug, trace; write a level, or directives such as info,h2=warn"
        )));
    }
    EnvFilter::try_new(&text).map_err(|error| {
        D::Error::custom(format!("{error}; write a level such as info, or directives such as info,h2=warn"))
    })?;
    Ok(text)
}

/// The shapes of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// For collectors: one object per line.
    Json,
}

/// Where traces and metrics are sent. With `OTEL_SDK_DISABLED=true` in the environment they are sent nowhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// A collector's OTLP/gRPC address such as `http://127.0.0.1:4317`. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`, or none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "endpoint")]
    pub endpoint: Option<String>,
    /// Share of the traces begun here that is sampled, 0 to 1; a caller's decision stands. Default: `OTEL_TRACES_SAMPLER`, or 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "sample_ratio")]
    pub sample_ratio: Option<f64>,
    /// Time between two exports of metrics, 100ms to 24h. Default: `OTEL_METRIC_EXPORT_INTERVAL`, or 30s.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "interval", serialize_with = "written")]
    pub interval: Option<Duration>,
}

fn sample_ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    bound::share(deserializer).map(Some)
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Time::<100, DAY>::deserialize(deserializer).map(Some)
}

/// Only an interval that was given is written.
fn written<I, S>(interval: &I, serializer: S) -> Result<S::Ok, S::Error>
where
    I: Copy + Into<Option<Duration>>,
    S: Serializer,
{
    let interval: Option<Duration> = (*interval).into();
    Time::<100, DAY>::serialize(&interval.unwrap_or(INTERVAL), serializer)
}

impl TelemetryConfig {
    /// What the environment says for keys that are left out, where that can't be used.
    pub(crate) fn unusable(&self) -> Option<Invalid> {
        let otlp = &self.otlp;
        let traces = otlp.effective_endpoint(Signal::Traces).err();
        let endpoint = traces.or_else(|| otlp.effective_endpoint(Signal::Metrics).err());
        let endpoint = endpoint.map(|error| Invalid::of("otlp.endpoint", error));
        let others = || environment::check(variable).err().map(|error| Invalid::of("otlp", error));
        let sampler = || otlp.effective_sampler().err().map(|error| Invalid::of("otlp.sample_ratio", error));
        let interval = || otlp.effective_interval().err().map(|error| Invalid::of("otlp.interval", error));
        endpoint.or_else(sampler).or_else(interval).or_else(others)
    }
}

impl OtlpConfig {
    /// The collector of a signal; none where it is sent nowhere.
    fn effective_endpoint(&self, signal: Signal) -> Result<Option<String>, VariableError> {
        if !signal.is_sent(variable) {
            return Ok(None);
        }
        if self.endpoint.is_some() {
            return Ok(self.endpoint.clone());
        }
        let Some((name, text)) = signal.endpoint(variable) else { return Ok(None) };
        address(text).map(Some).map_err(|error| VariableError::new(name, error.to_string()))
    }

    fn effective_sampler(&self) -> Result<Sampler, VariableError> {
        let given = self.sample_ratio.map(Sampler::TraceIdRatioBased).map(|root| Sampler::ParentBased(Box::new(root)));
        let given = given.map_or_else(|| environment::sampler(variable), |given| Ok(Some(given)))?;
        Ok(given.unwrap_or_else(|| Sampler::ParentBased(Box::new(Sampler::AlwaysOn))))
    }

    fn effective_interval(&self) -> Result<Duration, VariableError> {
        let given = self.interval.map_or_else(|| environment::interval(variable), |given| Ok(Some(given)))?;
        Ok(given.unwrap_or(INTERVAL))
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    address(String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

/// Without a scheme an address would be accepted, and nothing ever sent there.
fn address(text: String) -> Result<String, NoAddress> {
    let uri: Option<Uri> = text.parse().ok();
    let known = |uri: Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if uri.is_some_and(known) { Ok(text) } else { Err(NoAddress) }
}

/// A collector's address that is none.
#[derive(Debug, thiserror::Error)]
#[error("this is no address of a collector; write one that looks like http://127.0.0.1:4317")]
pub struct NoAddress;

/// Why telemetry can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "telemetry.log.level {level:?} is refused: {error}; write a level such as info, or directives such as info,h2=warn"
    )]
    Level {
        /// What was written.
        level: String,
        /// What is wrong with it.
        error: ParseError,
    },
    /// A variable of the environment says nothing usable.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// The collector can't be exported to.
    #[error("OTLP export can't be set up: {0}; check telemetry.otlp.endpoint")]
    Exporter(#[from] ExporterBuildError),
    /// Metrics can't be collected.
    #[error("metrics can't be set up: {0}")]
    Metrics(#[from] OTelSdkError),
    /// The access log has nobody to write it.
    #[error("the access log can't be started: {0}; the process may start no more threads")]
    AccessLog(#[from] io::Error),
    /// A second set-up in one process.
    #[error("telemetry is set up already: {0}; set it up once per process")]
    Twice(#[from] TryInitError),
}

/// The process's telemetry.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
    /// Writes what is left of the access log when the last clone is dropped.
    access_log: Option<Arc<LastLines>>,
}

/// Sets up logs, traces and metrics for the process. Call it inside the runtime and before anything that counts.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter =
        filter(&config.log.level).map_err(|error| TelemetryError::Level { level: config.log.level.clone(), error })?;
    let resource = environment::resource(service, &Resource::builder().build());
    environment::check(variable)?;
    exemplars::keep(environment::keeps_exemplars(variable));
    let [to_traces, to_metrics] =
        [Signal::Traces, Signal::Metrics].map(|signal| config.otlp.effective_endpoint(signal));
    let (to_traces, to_metrics, sampler) = (to_traces?, to_metrics?, config.otlp.effective_sampler()?);
    let tracers = to_traces.as_deref().map(|to| tracers(to, sampler.clone(), resource.clone())).transpose()?;
    let registry = Registry::new();
    let meters = meters(&registry, to_metrics.as_deref(), config.otlp.effective_interval()?, resource)?;

    let (filter, handle) = reload::Layer::new(filter);
    let tracer = tracers.as_ref().map(|provider| provider.tracer("accord"));
    tracing_subscriber::registry()
        .with(lines(config.log.format).with_filter(filter))
        .with(tracer.map(spans))
        .try_init()?;
    // Set once, as subscribers are.
    let _ = FILTER.set(handle);
    if tracers.is_some() {
        trace::sample_by(sampler);
    }
    global::set_meter_provider(meters.clone());
    let access_log = access_log::begin(service, &config.access_log, &meter())?.map(Arc::new);
    Ok(Telemetry { registry, meters, tracers, access_log })
}

/// Changes the level of an initialized log to one that a configuration may have.
pub(crate) fn set_level(level: &str) {
    if let (Ok(filter), Some(handle)) = (filter(level), FILTER.get()) {
        // It fails only where there are no subscribers any more, and so no log.
        let _ = handle.reload(filter);
    }
}

/// Which lines are written. What is said of libraries stands first, so that the configured level can still say otherwise.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{LIBRARIES},{level}"))
}

fn spans<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Where a span is in the source, and on which thread, costs more than it tells.
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    // A span that is opened for a call that is not sampled would begin a trace of its own.
    let of_sampled = dynamic_filter_fn(|_, _| !trace::is_unsampled());
    layer.with_filter(EnvFilter::new("info,h2=off,hyper=off,tonic=off,tower=off").and(of_sampled))
}

fn tracers(endpoint: &str, sampler: Sampler, resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = trusting(SpanExporter::builder().with_tonic().with_endpoint(endpoint), endpoint).build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler);
    let provider = provider.with_id_generator(trace::Ids::default());
    Ok(provider.with_resource(resource).build())
}

fn meters(
    registry: &Registry,
    endpoint: Option<&str>,
    interval: Duration,
    resource: Resource,
) -> Result<SdkMeterProvider, TelemetryError> {
    let reader = opentelemetry_prometheus::exporter();
    // Everything here is of one scope, which would only lengthen each line.
    let reader = reader.with_registry(registry.clone()).scope_info_enabled(false).build()?;
    let mut provider = SdkMeterProvider::builder().with_reader(reader).with_view(views::view).with_resource(resource);
    if let Some(endpoint) = endpoint {
        let exporter = trusting(MetricExporter::builder().with_tonic().with_endpoint(endpoint), endpoint).build()?;
        provider = provider.with_reader(PeriodicReader::builder(exporter).with_interval(interval).build());
    }
    Ok(provider.build())
}

/// An https collector is trusted where the machine's authorities vouch for it.
fn trusting<E: WithTonicConfig>(exporter: E, endpoint: &str) -> E {
    if endpoint.starts_with("https://") {
        exporter.with_tls_config(ClientTlsConfig::new().with_native_roots())
    } else {
        exporter
    }
}

/// The meter of everything that is counted here. What was made from it before [`init`] counts into nothing.
pub fn meter() -> Meter {
    global::meter("accord")
}

impl Telemetry {
    /// Every metric in Prometheus's text format.
    pub fn prometheus(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics can't be written as text");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Every metric as a scraper that sends this `accept` wants it, and its content type: `OpenMetrics` has exemplars.
    pub(crate) fn scraped(&self, accept: &str) -> (&'static str, String) {
        if openmetrics::is_wanted(accept) {
            return (openmetrics::CONTENT_TYPE, openmetrics::text(&self.registry.gather(), &exemplars::all()));
        }
        ("text/plain; version=0.0.4", self.prometheus())
    }

    /// The series of those metrics that are wanted, by their names as Prometheus has them.
    pub fn series(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Series> {
        series::of(&self.registry.gather(), is_wanted)
    }

    /// Sends what has not been sent yet, and waits no more than two seconds for it.
    pub async fn shutdown(self) {
        let last = tokio::task::spawn_blocking(move || {
            // A collector that is gone is no reason to fail at the end.
            let _ = self.tracers.map(|tracers| tracers.shutdown_with_timeout(LAST_EXPORT));
            let _ = self.meters.shutdown_with_timeout(LAST_EXPORT);
            drop(self.access_log);
        });
        let _ = tokio::time::timeout(LAST_EXPORT, last).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a warning of the HTTP/2 library is written at this level.
    fn writes_h2_warning(level: &str) -> bool {
        let subscriber = tracing_subscriber::registry().with(filter(level).unwrap());
        tracing::subscriber::with_default(
            subscriber,
            || tracing::enabled!(target: "h2::proto::ping_pong", tracing::Level::WARN),
        )
    }

    #[test]
    fn warnings_of_the_http2_library_about_peers_are_left_out() {
        assert!(!writes_h2_warning("info"));
    }

    #[test]
    fn warnings_of_the_http2_library_are_written_where_the_level_names_it() {
        assert!(writes_h2_warning("info,h2=warn"));
    }
}
