//! Metrics of calls: how long they took, by method and status, and how many are in flight.
//!
//! Each series is bound when its first call ends, so that a call is counted without a look-up of its labels.

use std::sync::{Arc, OnceLock};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, BoundUpDownCounter, Histogram, Meter},
    trace::SpanContext,
};
use tonic::Code;

use crate::{
    declared_metrics::{ACTIVE_REQUESTS, CALL_DURATION},
    fault::code_name,
    telemetry::exemplars::Exemplars,
};

/// The name under which calls of methods that nobody knows are counted, so that a caller can't invent label values.
pub const OTHER: &str = "_OTHER";

/// The status codes of gRPC.
const CODES: usize = 17;

/// Pairs of a listener and a protocol for which a method's series are bound: two and five, and calls without a protocol. Those of more
/// would be looked up.
const ORIGINS: usize = 12;

/// By which listener of a process a call came, where it has several, and in which protocol.
type Origin = (Option<&'static str>, Option<&'static str>);

/// A method as its calls are counted: its name, and its series.
#[derive(Debug)]
pub struct MethodSeries {
    name: Arc<str>,
    durations: [OnceLock<Box<Durations>>; ORIGINS],
}

#[derive(Debug)]
struct Durations {
    origin: Origin,
    by_code: [OnceLock<Series>; CODES],
}

/// One series, and of sampled calls those that its buckets show.
#[derive(Debug)]
struct Series {
    histogram: BoundHistogram<f64>,
    exemplars: OnceLock<Arc<Exemplars>>,
}

impl MethodSeries {
    /// A method of this name, "pkg.Service/Method". It must be one of a bounded set.
    pub fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), durations: Default::default() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn durations(&self, origin: Origin) -> Option<&Durations> {
        self.durations.iter().find_map(|place| {
            let begin = || Box::new(Durations { origin, by_code: Default::default() });
            Some(&**place.get_or_init(begin)).filter(|durations| durations.origin == origin)
        })
    }
}

/// The instruments of one listener.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    duration: Histogram<f64>,
    active: BoundUpDownCounter<i64>,
    listener: Option<&'static str>,
    /// What calls of methods are counted under that nobody knows.
    other: Arc<MethodSeries>,
}

impl CallMetrics {
    /// The instruments of a listener, which has a name where a process has several for the same methods.
    pub(crate) fn new(meter: &Meter, listener: Option<&'static str>) -> Self {
        let (duration, active) = (CALL_DURATION.histogram(meter), ACTIVE_REQUESTS.up_down_counter(meter));
        let active = active.bind(label(listener).as_slice());
        Self { duration, active, listener, other: MethodSeries::new(OTHER) }
    }

    /// By which listener the calls come, where there are several.
    pub(crate) fn listener(&self) -> Option<&'static str> {
        self.listener
    }

    /// What calls of methods are counted under that nobody knows.
    pub(crate) fn other(&self) -> &Arc<MethodSeries> {
        &self.other
    }

    /// A call came.
    pub(crate) fn begun(&self) {
        self.active.add(1);
    }

    /// A call is over, after so many seconds: in a protocol, and by a version of its upstream where there are several. Of one that is
    /// sampled, its span.
    pub(crate) fn ended(
        &self,
        method: &MethodSeries,
        protocol: Option<&'static str>,
        version: Option<&Arc<str>>,
        code: Code,
        seconds: f64,
        sampled: Option<&SpanContext>,
    ) {
        self.active.add(-1);
        // Series of versions are looked up: few methods have several, and none for long.
        let durations = if version.is_some() { None } else { method.durations((self.listener, protocol)) };
        let bound = durations.and_then(|durations| durations.by_code.get(code as usize));
        let labels = || self.labels(method, protocol, version, code);
        let Some(bound) = bound else { return self.duration.record(seconds, &labels()) };
        let begin = || Series { histogram: self.duration.bind(&labels()), exemplars: OnceLock::new() };
        let Series { histogram, exemplars } = bound.get_or_init(begin);
        histogram.record(seconds);
        if let Some(context) = sampled {
            exemplars
                .get_or_init(|| Exemplars::of(&CALL_DURATION.metric().shown(), &labels()))
                .record(context, seconds);
        }
    }

    fn labels(
        &self,
        method: &MethodSeries,
        protocol: Option<&'static str>,
        version: Option<&Arc<str>>,
        code: Code,
    ) -> Vec<KeyValue> {
        let always = [
            KeyValue::new("rpc.method", Arc::clone(&method.name)),
            KeyValue::new("rpc.response.status_code", code_name(code)),
            KeyValue::new("rpc.system.name", "grpc"),
        ];
        // One protocol alone is spoken where there are no several listeners.
        let protocol = protocol.filter(|_| self.listener.is_some()).map(|name| KeyValue::new("accord.protocol", name));
        let version = version.map(|name| KeyValue::new("accord.version", Arc::clone(name)));
        // By name, as OpenTelemetry keeps them: of a series whose labels come in another order it keeps both.
        label(self.listener).into_iter().chain(protocol).chain(version).chain(always).collect()
    }
}

fn label(listener: Option<&'static str>) -> Option<KeyValue> {
    listener.map(|name| KeyValue::new("accord.listener", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_listener_and_protocol_are_found_again() {
        let method = MethodSeries::new("a.B/C");
        let origins =
            [(None, None), (Some("public"), Some("grpc")), (Some("public"), Some("json")), (Some("internal"), None)];
        let addresses = || origins.map(|origin| std::ptr::from_ref(method.durations(origin).unwrap()));
        let first = addresses();
        assert_eq!(first, addresses());
        assert!(first.iter().enumerate().all(|(place, one)| !first[..place].contains(one)));
    }

    #[test]
    fn series_of_more_listeners_than_there_is_room_for_are_not_bound() {
        let method = MethodSeries::new("a.B/C");
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
        let bound = names.map(|name| method.durations((Some(name), None)).is_some());
        assert_eq!(bound.iter().filter(|bound| **bound).count(), ORIGINS);
    }
}
