//! The contract: every method that may be called.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::finding::{Finding, Severity, refused};
use crate::load;
use crate::method::Method;
use crate::overlay::Overlay;
use crate::reach;
use crate::served::Serving;
use crate::source::{Source, SourceError};

/// Every method that may be called, with its policy.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    methods: HashMap<Arc<str>, Arc<Method>>,
}

/// Descriptors of a binary itself that can't be used: a defect of its build.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// They are not a consistent set.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// They declare what can't be enforced.
    #[error("the contract of the binary's own services is refused: {0}")]
    Refused(Finding),
}

impl Contract {
    /// Loads, merges, checks and compiles. Overlays: the later is the stronger among equally specific selectors. With
    /// an error among the findings ([`crate::refused`]) the contract must not be served.
    pub fn load(sources: &[Source], overlays: &[Overlay]) -> (Self, Vec<Finding>) {
        Self::load_all(sources, overlays, Serving::Upstreams)
    }

    /// As [`Contract::load`], while some upstreams are not known yet: an overlay selector that matches nothing is no
    /// finding, since what it is for may still come.
    pub fn load_partial(sources: &[Source], overlays: &[Overlay]) -> (Self, Vec<Finding>) {
        let (methods, findings) = load::load(sources, overlays, Serving::Upstreams);
        (Self { methods }, findings)
    }

    /// The contract of the services that a binary serves itself, health and reflection included: each encoded descriptor
    /// set with the services of it that count.
    pub fn own(sets: &[(&[u8], &[&str])], overlays: &[Overlay]) -> Result<Self, OwnError> {
        let source = |(set, services): &(&[u8], &[&str])| {
            let source = Source::own(set)?;
            Ok::<_, SourceError>(source.only(services.iter().map(|service| (*service).to_owned())))
        };
        let sources = sets.iter().map(source).collect::<Result<Vec<_>, _>>()?;
        let (contract, findings) = Self::load_all(&sources, overlays, Serving::Own);
        match findings.into_iter().find(|finding| finding.severity == Severity::Error) {
            Some(finding) => Err(OwnError::Refused(finding)),
            None => Ok(contract),
        }
    }

    fn load_all(sources: &[Source], overlays: &[Overlay], serving: Serving) -> (Self, Vec<Finding>) {
        let (methods, mut findings) = load::load(sources, overlays, serving);
        findings.extend(load::unmatched(sources, overlays, serving));
        if !refused(&findings) {
            findings.extend(reach::unreached(&methods));
        }
        (Self { methods }, findings)
    }

    /// A method by `pkg.Service/Method`.
    pub fn method(&self, name: &str) -> Option<&Arc<Method>> {
        self.methods.get(name)
    }

    /// The deadlines that some layer declares for a method, as in [`Method::declared_deadline`]; none where it is unknown.
    pub fn declared_deadline(&self, name: &str) -> (Option<Duration>, Option<Duration>) {
        self.method(name).map(|method| method.declared_deadline()).unwrap_or_default()
    }

    /// All methods in the order of their names.
    pub fn methods(&self) -> Vec<&Arc<Method>> {
        let mut methods: Vec<_> = self.methods.values().collect();
        methods.sort_by(|one, other| one.name.cmp(&other.name));
        methods
    }
}
