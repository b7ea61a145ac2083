//! What writes reach of what is cached: a slip in a tag is no error anywhere, and leaves old answers in place.

use std::collections::HashMap;
use std::sync::Arc;

use accord_wire::Template;

use crate::finding::Finding;
use crate::method::Method;
use crate::policy::{CachePolicy, Near};

/// A warning for each tag that a write invalidates and no cached answer has, and for each answer under a lease that no write can
/// reach. Of a contract that caches nothing it says nothing.
pub(crate) fn unreached(methods: &HashMap<Arc<str>, Arc<Method>>) -> Vec<Finding> {
    let cached = || methods.values().filter_map(|method| Some((method, method.policy.cache.as_ref()?)));
    let mut known: Vec<&Template> = Vec::new();
    for tag in cached().flat_map(|(_, policy)| &policy.tags) {
        if !known.contains(&tag) {
            known.push(tag);
        }
    }
    let is_reached = |tag: &Template| known.iter().any(|known| known.may_meet(tag));
    let without_tags = cached().filter(|(_, policy)| policy.tags.is_empty());
    let untagged = without_tags.filter(|(_, policy)| matches!(policy.near, Some(Near::Lease(_)))).map(untagged);
    let is_caching = cached().next().is_some();
    let written = methods.values().filter(|_| is_caching);
    let missed = written.flat_map(|method| method.policy.invalidates.iter().map(move |tag| (method, tag)));
    let missed = missed.filter(|(_, tag)| !is_reached(tag)).map(|(method, tag)| missing(method, tag, &known));
    let mut findings: Vec<_> = untagged.chain(missed).collect();
    findings.sort_by(|one, other| (&one.subject, &one.problem).cmp(&(&other.subject, &other.problem)));
    findings
}

fn untagged((method, _): (&Arc<Method>, &CachePolicy)) -> Finding {
    let problem = "no write can reach these answers, since they have no tags: a lease on them keeps nothing fresh";
    let remedy =
        "give `cache.tags`, and `invalidates` with the same tags to the methods that write; or leave `near` out";
    Finding::error(&*method.name, "cache.near.lease", problem, remedy).warning()
}

fn missing(method: &Arc<Method>, tag: &Template, known: &[&Template]) -> Finding {
    let problem =
        format!("no cached method has a tag that begins with `{}`: no read is made invalid by it", tag.beginning());
    let mut beginnings: Vec<_> = known.iter().map(|tag| format!("`{}`", tag.beginning())).collect();
    beginnings.sort_unstable();
    beginnings.dedup();
    beginnings.truncate(MOST_NAMED);
    let remedy = if beginnings.is_empty() {
        "give the cached methods `cache.tags`".to_owned()
    } else {
        format!("write it as `cache.tags` of the read has it; tags there begin with {}", beginnings.join(", "))
    };
    Finding::error(&*method.name, "invalidates", problem, remedy).warning()
}

/// Tags that a remedy names.
const MOST_NAMED: usize = 5;
