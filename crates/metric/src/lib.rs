//! Metrics, declared: an instrument is made of a declaration alone, and the table of the guide is written from them.
//!
//! Invariants:
//! - No instrument is made elsewhere: clippy refuses the methods of OpenTelemetry's meter.
//! - What is declared by [`metrics!`] is in the list of its crate, and the compiler warns of what no instrument is made of.

mod instruments;
mod prometheus;

use std::marker::PhantomData;

use serde::Serialize;

/// A metric as it is declared.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Metric {
    /// Its name, as OpenTelemetry has it: `accord.cache.reads`.
    pub name: &'static str,
    /// What its instrument is.
    pub kind: Kind,
    /// The unit (UCUM), or nothing.
    pub unit: &'static str,
    /// What it tells; it may have links of Markdown, relative to the guide.
    pub description: &'static str,
    /// What its series may be told apart by.
    pub labels: &'static [Label],
}

/// A label. Whatever its values are, they are few: the contract, the configuration or the code bounds them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Label {
    /// Its name, as OpenTelemetry has it: `rpc.method`.
    pub name: &'static str,
    /// Its values where the code alone knows them, each with what it stands for, if its name does not say it.
    pub values: &'static [(&'static str, &'static str)],
    /// What else is to be said of it, such as what its values are where the code does not know them.
    pub note: &'static str,
}

impl Label {
    /// A label whose values the code does not know.
    pub const fn open(name: &'static str, note: &'static str) -> Self {
        Self { name, values: &[], note }
    }

    /// A label that has no other values than these.
    pub const fn closed(name: &'static str, values: &'static [(&'static str, &'static str)]) -> Self {
        Self { name, values, note: "" }
    }

    /// The same, with what else is to be said of it.
    #[must_use]
    pub const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// What an instrument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It only rises.
    Counter,
    /// What there is now; in OpenTelemetry a gauge, or a sum that falls as well.
    Gauge,
    /// How values are distributed.
    Histogram,
}

/// The kinds of declarations, as types.
pub mod kind {
    use super::Kind;

    /// What is declared as one.
    pub trait Declares {
        /// What the instrument is.
        const KIND: Kind;
    }

    /// A counter.
    #[derive(Debug)]
    pub struct Counter;

    /// A sum that rises and falls.
    #[derive(Debug)]
    pub struct UpDownCounter;

    /// A gauge.
    #[derive(Debug)]
    pub struct Gauge;

    /// A histogram.
    #[derive(Debug)]
    pub struct Histogram;

    impl Declares for Counter {
        const KIND: Kind = Kind::Counter;
    }

    impl Declares for UpDownCounter {
        const KIND: Kind = Kind::Gauge;
    }

    impl Declares for Gauge {
        const KIND: Kind = Kind::Gauge;
    }

    impl Declares for Histogram {
        const KIND: Kind = Kind::Histogram;
    }
}

/// A metric, of which instruments of one kind can be made.
#[derive(Debug)]
pub struct Declared<K> {
    metric: Metric,
    kind: PhantomData<K>,
}

impl<K: kind::Declares> Declared<K> {
    /// A metric of this name, without unit and labels. [`metrics!`] is what calls it.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        let metric = Metric { name, kind: K::KIND, unit: "", description, labels: &[] };
        Self { metric, kind: PhantomData }
    }

    /// With this unit.
    #[must_use]
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { metric: Metric { unit, ..self.metric }, kind: PhantomData }
    }

    /// With these labels.
    #[must_use]
    pub const fn labels(self, labels: &'static [Label]) -> Self {
        Self { metric: Metric { labels, ..self.metric }, kind: PhantomData }
    }

    /// What is declared.
    pub const fn metric(&self) -> Metric {
        self.metric
    }
}

/// Declares the metrics of a crate, and lists them under the first name. The list is made of the declarations anew, not of the
/// constants, so that the compiler sees a constant of which no instrument is made.
///
/// ```
/// use accord_metric::{Label, metrics};
///
/// metrics! {
///     pub METRICS;
///     CALLS: Counter("calls", "How many there were").labels(&[Label::open("method", "")]);
/// }
/// assert_eq!(METRICS[0].name, CALLS.metric().name);
/// ```
#[macro_export]
macro_rules! metrics {
    ($list_visibility:vis $list:ident;
     $($visibility:vis $name:ident: $kind:ident($($what:expr),+ $(,)?) $(.$with:ident($argument:expr))*;)+) => {
        $($visibility const $name: $crate::Declared<$crate::kind::$kind> =
            $crate::Declared::<$crate::kind::$kind>::new($($what),+)$(.$with($argument))*;)+

        /// All of them.
        $list_visibility const $list: &[$crate::Metric] = &[
            $($crate::Declared::<$crate::kind::$kind>::new($($what),+)$(.$with($argument))*.metric(),)+
        ];
    };
}
