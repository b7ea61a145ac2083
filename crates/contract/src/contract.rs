//! The contract: every method that may be called.

use std::collections::HashMap;
use std::sync::Arc;

use crate::finding::Finding;
use crate::load;
use crate::method::Method;
use crate::overlay::Overlay;
use crate::source::Source;

/// Every method that may be called, with its policy.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    methods: HashMap<Arc<str>, Arc<Method>>,
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

    /// A method by `pkg.Service/Method`.
    pub fn method(&self, name: &str) -> Option<&Arc<Method>> {
        self.methods.get(name)
    }

    /// All methods in the order of their names.
    pub fn methods(&self) -> Vec<&Arc<Method>> {
        let mut methods: Vec<_> = self.methods.values().collect();
        methods.sort_by(|one, other| one.name.cmp(&other.name));
        methods
    }
}
