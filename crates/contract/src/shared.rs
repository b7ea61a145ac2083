//! What many methods of a contract have alike, kept once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use accord_api::accord::policy::v1::MethodPolicy;
use prost::Message;

use crate::method::FieldSource;

/// What the methods loaded so far have.
#[derive(Default)]
pub(crate) struct Shared {
    sources: HashSet<Arc<FieldSource>>,
    /// By their encoded form.
    policies: HashMap<Vec<u8>, Arc<MethodPolicy>>,
}

impl Shared {
    /// The same sources, each as an equal one that there was before.
    pub(crate) fn sources(&mut self, found: Vec<FieldSource>) -> Box<[Arc<FieldSource>]> {
        found.into_iter().map(|source| self.source(source)).collect()
    }

    fn source(&mut self, source: FieldSource) -> Arc<FieldSource> {
        if let Some(known) = self.sources.get(&source) {
            return Arc::clone(known);
        }
        let source = Arc::new(source);
        self.sources.insert(Arc::clone(&source));
        source
    }

    /// The same policy, as an equal one that there was before.
    pub(crate) fn policy(&mut self, policy: MethodPolicy) -> Arc<MethodPolicy> {
        let known = self.policies.entry(policy.encode_to_vec());
        Arc::clone(known.or_insert_with(|| Arc::new(policy)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(value: &str) -> FieldSource {
        FieldSource { field: "access".to_owned(), value: value.to_owned(), source: FieldSource::DEFAULT.to_owned() }
    }

    #[test]
    fn equal_sources_and_policies_are_kept_once_and_others_apart() {
        let mut shared = Shared::default();
        let (first, second) = (shared.sources(vec![source("a"), source("b")]), shared.sources(vec![source("a")]));
        assert!(Arc::ptr_eq(&first[0], &second[0]) && first[0] != first[1]);
        let policy = || MethodPolicy { max_request_bytes: Some(7), ..MethodPolicy::default() };
        let (first, second) = (shared.policy(policy()), shared.policy(policy()));
        assert!(Arc::ptr_eq(&first, &second) && *first != *shared.policy(MethodPolicy::default()));
    }
}
