//! What OpenTelemetry's own environment variables say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>), where the configuration leaves it to
//! them. An empty variable counts as none.

use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::{Resource, trace::Sampler};
use uuid::Uuid;

pub(super) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
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
