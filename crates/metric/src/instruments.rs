//! Instruments of declared metrics.

#![expect(clippy::disallowed_methods, reason = "here instruments are made of what is declared")]

use opentelemetry::metrics::{AsyncInstrument, Counter, Gauge, Histogram, Meter, UpDownCounter};

use crate::{Declared, kind};

impl Declared<kind::Counter> {
    /// Its instrument.
    pub fn counter(&self, meter: &Meter) -> Counter<u64> {
        let metric = &self.metric;
        meter.u64_counter(metric.name).with_unit(metric.unit).with_description(metric.help()).build()
    }

    /// Shows what `observe` says, whenever somebody looks.
    pub fn observe(&self, meter: &Meter, observe: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static) {
        let metric = &self.metric;
        let counter = meter.u64_observable_counter(metric.name).with_unit(metric.unit);
        // The meter keeps the callback; the handle has nothing more to do.
        let _ = counter.with_description(metric.help()).with_callback(observe).build();
    }

    /// The same of fractions.
    pub fn observe_f64(&self, meter: &Meter, observe: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static) {
        let metric = &self.metric;
        let counter = meter.f64_observable_counter(metric.name).with_unit(metric.unit);
        let _ = counter.with_description(metric.help()).with_callback(observe).build();
    }
}

impl Declared<kind::UpDownCounter> {
    /// Its instrument.
    pub fn up_down_counter(&self, meter: &Meter) -> UpDownCounter<i64> {
        let metric = &self.metric;
        meter.i64_up_down_counter(metric.name).with_unit(metric.unit).with_description(metric.help()).build()
    }
}

impl Declared<kind::Gauge> {
    /// Its instrument, of whole numbers.
    pub fn gauge(&self, meter: &Meter) -> Gauge<u64> {
        let metric = &self.metric;
        meter.u64_gauge(metric.name).with_unit(metric.unit).with_description(metric.help()).build()
    }

    /// Its instrument, of fractions.
    pub fn gauge_f64(&self, meter: &Meter) -> Gauge<f64> {
        let metric = &self.metric;
        meter.f64_gauge(metric.name).with_unit(metric.unit).with_description(metric.help()).build()
    }

    /// Shows what `observe` says, whenever somebody looks.
    pub fn observe(&self, meter: &Meter, observe: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static) {
        let metric = &self.metric;
        let gauge = meter.u64_observable_gauge(metric.name).with_unit(metric.unit);
        let _ = gauge.with_description(metric.help()).with_callback(observe).build();
    }

    /// The same of fractions.
    pub fn observe_f64(&self, meter: &Meter, observe: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static) {
        let metric = &self.metric;
        let gauge = meter.f64_observable_gauge(metric.name).with_unit(metric.unit);
        let _ = gauge.with_description(metric.help()).with_callback(observe).build();
    }
}

impl Declared<kind::Histogram> {
    /// Its instrument.
    pub fn histogram(&self, meter: &Meter) -> Histogram<f64> {
        let metric = &self.metric;
        meter.f64_histogram(metric.name).with_unit(metric.unit).with_description(metric.help()).build()
    }
}
