//! The contract: every method that may be called.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::finding::{Finding, Severity};
use crate::load;
use crate::method::Method;
use crate::overlay::Overlay;
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
        let (contract, mut findings) = Self::load_partial(sources, overlays);
        findings.extend(load::unmatched(sources, overlays));
        (contract, findings)
    }

    /// As [`Contract::load`], while some upstreams are not known yet: an overlay selector that matches nothing is no
    /// finding, since what it is for may still come.
    pub fn load_partial(sources: &[Source], overlays: &[Overlay]) -> (Self, Vec<Finding>) {
        let (methods, findings) = load::load(sources, overlays);
        (Self { methods }, findings)
    }

    /// The contract of the services that a binary serves itself, from its own descriptors.
    pub fn own(descriptor_set: &[u8], services: &[&str]) -> Result<Self, OwnError> {
        let source = Source::descriptor_set("own", "this binary", descriptor_set)?;
        let source = source.only(services.iter().map(|service| (*service).to_owned()));
        let (contract, findings) = Self::load(&[source], &[]);
        match findings.into_iter().find(|finding| finding.severity == Severity::Error) {
            Some(finding) => Err(OwnError::Refused(finding)),
            None => Ok(contract),
        }
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
