//! What OpenTelemetry's own environment variables say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>), where the configuration leaves it to
//! them. An empty variable counts as none.

mod exporter;

use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::{Resource, trace::Sampler};
use uuid::Uuid;

pub(super) use exporter::check;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const METRICS_EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const EXEMPLAR_FILTER: &str = "OTEL_METRICS_EXEMPLAR_FILTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// The bounds of the key that the variable stands in for, in milliseconds.
const INTERVALS: std::ops::RangeInclusive<u64> = 100..=24 * 60 * 60 * 1000;

/// A variable that says nothing usable.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}: {problem}")]
pub struct VariableError {
    name: &'static str,
    problem: String,
}

impl VariableError {
    pub(super) fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self { name, problem: problem.into() }
    }
}

/// Reads a variable; none where it is not set, or empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether nothing is to be sent.
pub(super) fn is_disabled(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// The variable that names a collector for it alone, and the one that says what sends it.
    fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::Traces => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", TRACES_EXPORTER),
            Self::Metrics => ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", METRICS_EXPORTER),
        }
    }

    /// Whether it is sent by OTLP, if there is a collector.
    pub(super) fn is_sent(self, variable: impl Fn(&str) -> Option<String>) -> bool {
        let is_otlp = |names: String| names.split(',').any(|name| name.trim().eq_ignore_ascii_case("otlp"));
        !is_disabled(&variable) && variable(self.variables().1).is_none_or(is_otlp)
    }

    /// The collector that the environment names for it, and the variable that does.
    pub(super) fn endpoint(self, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
        [self.variables().0, ENDPOINT].into_iter().find_map(|name| Some((name, variable(name)?)))
    }
}

/// Whether exemplars are kept.
pub(super) fn keeps_exemplars(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable(EXEMPLAR_FILTER).is_none_or(|filter| !filter.eq_ignore_ascii_case("always_off"))
}

/// Which traces are sampled; none where no variable says it.
pub(super) fn sampler(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Sampler>, VariableError> {
    let Some(name) = variable(SAMPLER) else { return Ok(None) };
    let ratio = || match variable(SAMPLER_ARGUMENT).map(|text| text.parse::<f64>()) {
        None => Ok(1.0),
        Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        Some(_) => Err(VariableError::new(SAMPLER_ARGUMENT, "this is no share; write a number from 0 to 1")),
    };
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    Ok(Some(match name.as_str() {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio()?),
        "parentbased_always_on" => by_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => by_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => by_parent(Sampler::TraceIdRatioBased(ratio()?)),
        _ => {
            let known = "always_on, always_off, traceidratio, or one of these with parentbased_ before it";
            return Err(VariableError::new(SAMPLER, format!("{name:?} is no sampler that is known; write {known}")));
        }
    }))
}

/// The time between two exports of metrics; none where no variable says it.
pub(super) fn interval(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Duration>, VariableError> {
    let Some(text) = variable(INTERVAL) else { return Ok(None) };
    match text.parse() {
        Ok(millis) if INTERVALS.contains(&millis) => Ok(Some(Duration::from_millis(millis))),
        _ => Err(VariableError::new(INTERVAL, "write milliseconds, from 100 to 86400000")),
    }
}

/// Who sends: what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, which `detected` holds, over the binary's own name, its
/// version, and an id of this one process.
pub(super) fn resource(binary: &'static str, detected: &Resource) -> Resource {
    // In the place of a name that nobody gave.
    let is_unnamed = |name: &str| name.starts_with("unknown_service");
    let named = detected.get(&Key::new("service.name")).map(|name| name.to_string());
    let name = named.filter(|name| !is_unnamed(name)).unwrap_or_else(|| binary.to_owned());
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let own = own.into_iter().filter(|own| detected.get(&own.key).is_none());
    let given = detected.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(given.chain(own)).with_service_name(name).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment of these variables.
    fn given(variables: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn sampled(variables: &'static [(&'static str, &'static str)]) -> String {
        sampler(given(variables)).map_or_else(|error| error.to_string(), |sampler| format!("{sampler:?}"))
    }

    #[test]
    fn sampler_of_the_environment_is_taken_with_its_argument() {
        assert_eq!(sampled(&[]), "None");
        assert_eq!(sampled(&[(SAMPLER, "always_off")]), "Some(AlwaysOff)");
        let ratio = sampled(&[(SAMPLER, "parentbased_traceidratio"), (SAMPLER_ARGUMENT, "0.25")]);
        assert_eq!(ratio, "Some(ParentBased(TraceIdRatioBased(0.25)))");
    }

    #[test]
    fn sampler_that_is_none_is_refused_with_the_variable_and_what_to_write() {
        assert!(sampled(&[(SAMPLER, "xray")]).contains("OTEL_TRACES_SAMPLER: \"xray\" is no sampler"));
        let share = sampled(&[(SAMPLER, "traceidratio"), (SAMPLER_ARGUMENT, "25")]);
        assert!(share.contains("OTEL_TRACES_SAMPLER_ARG") && share.contains("from 0 to 1"), "{share}");
    }

    #[test]
    fn interval_of_the_environment_is_in_milliseconds_and_bounded() {
        let millis = |variables| interval(given(variables)).map_err(|error| error.to_string());
        assert_eq!(millis(&[(INTERVAL, "5000")]), Ok(Some(Duration::from_secs(5))));
        for wrong in [&[(INTERVAL, "5s")], &[(INTERVAL, "1")], &[(INTERVAL, "-1")]] {
            assert!(millis(wrong).unwrap_err().contains("OTEL_METRIC_EXPORT_INTERVAL"));
        }
    }

    #[test]
    fn disabled_is_true_in_any_case_and_nothing_else() {
        assert!(is_disabled(given(&[(DISABLED, "TRUE")])));
        assert!(!is_disabled(given(&[(DISABLED, "1")])) && !is_disabled(given(&[])));
    }

    #[test]
    fn signal_goes_where_its_own_variable_says_or_that_for_all() {
        let both = given(&[(ENDPOINT, "http://all"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces")]);
        let found = [Signal::Traces, Signal::Metrics].map(|signal| signal.endpoint(&both).unwrap().1);
        assert_eq!(found, ["http://traces", "http://all"]);
    }

    #[test]
    fn signal_without_an_otlp_exporter_is_not_sent() {
        let sent = |variables| [Signal::Traces, Signal::Metrics].map(|signal| signal.is_sent(given(variables)));
        assert_eq!(sent(&[]), [true, true]);
        assert_eq!(sent(&[(TRACES_EXPORTER, "none"), (METRICS_EXPORTER, "prometheus,otlp")]), [false, true]);
        assert_eq!(sent(&[(DISABLED, "true")]), [false, false]);
    }

    fn refused(variables: &'static [(&'static str, &'static str)]) -> Option<String> {
        check(given(variables)).err().map(|error| error.to_string())
    }

    #[test]
    fn variables_that_are_followed_are_taken() {
        let all = &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-tenant = shop ,"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            (METRICS_EXPORTER, "otlp,prometheus"),
            (EXEMPLAR_FILTER, "always_off"),
        ];
        assert_eq!(refused(all), None);
        assert!(keeps_exemplars(given(&[])) && !keeps_exemplars(given(all)));
    }

    #[test]
    fn variable_that_cannot_be_followed_is_refused_with_what_can_and_never_with_a_secret() {
        for (variables, words) in [
            (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "OTLP is spoken over gRPC alone"),
            (&[("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd")], "write gzip, none, or leave it out"),
            (&[("OTEL_PROPAGATORS", "tracecontext,b3")], "OTEL_PROPAGATORS: \"b3\" can't be followed"),
            (&[(TRACES_EXPORTER, "zipkin")], "traces are sent by OTLP or nowhere"),
            (&[("OTEL_LOGS_EXPORTER", "otlp")], "logs go to standard error"),
            (&[(EXEMPLAR_FILTER, "always_on")], "an exemplar is a sampled call or none"),
            (&[("OTEL_CONFIG_FILE", "otel.yaml")], "OTEL_CONFIG_FILE: files of an SDK are not read"),
            (&[("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "5s")], "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: write milliseconds"),
            (&[("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")], "write NAME=VALUE"),
        ] {
            let said = refused(variables).unwrap_or_default();
            assert!(said.contains(words) && !said.contains("s3cret"), "{said}");
        }
    }

    fn attribute(resource: &Resource, name: &'static str) -> Option<String> {
        resource.get(&Key::new(name)).map(|value| value.to_string())
    }

    #[test]
    fn resource_has_the_binarys_name_its_version_and_an_id_of_the_process() {
        let unknown = Resource::builder_empty().with_service_name("unknown_service:x").build();
        let resource = resource("accord-test", &unknown);
        assert_eq!(attribute(&resource, "service.name").as_deref(), Some("accord-test"));
        assert_eq!(attribute(&resource, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(attribute(&resource, "service.instance.id").map(|id| id.len()), Some(36));
    }

    #[test]
    fn resource_of_the_environment_comes_before_the_binarys_own() {
        let attributes =
            [("service.name", "shop-door"), ("service.instance.id", "pod-7"), ("deployment.environment", "test")];
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        let resource = resource("accord-test", &Resource::builder_empty().with_attributes(attributes).build());
        let found =
            ["service.name", "service.instance.id", "deployment.environment"].map(|it| attribute(&resource, it));
        assert_eq!(found, ["shop-door", "pod-7", "test"].map(|value| Some(value.to_owned())));
    }
}
