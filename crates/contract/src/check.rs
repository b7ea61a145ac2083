//! Rules between options: what each allows alone, but not together.

use prost_reflect::{Kind, MethodDescriptor};

use crate::finding::Finding;
use crate::http::{Binding, Body};
use crate::method::{IdempotencyLevel, MethodKind, STREAM_FAILURE};
use crate::policy::{Access, CachePolicy, CacheScope, Kinds, Policy};

pub(crate) fn policy(
    policy: &Policy,
    level: IdempotencyLevel,
    descriptor: &MethodDescriptor,
    name: &str,
    findings: &mut Vec<Finding>,
) {
    let mut refuse = |option: &str, problem: &str, remedy: &str| {
        findings.push(Finding::error(name, option, problem, remedy));
    };
    let unary = MethodKind::of(descriptor) == MethodKind::Unary;

    if policy.access == Access::Public && policy.kinds != Kinds::ALL {
        let problem = "the method is public, so whoever brings no credential calls it, whatever kind they are";
        let remedy = "write `authenticated: true` for the kinds to count, or remove access.principal_kinds";
        refuse("access.principal_kinds", problem, remedy);
    }
    if policy.resource.is_some() {
        decided_about(policy, unary, &mut refuse);
    }
    if let Some(cache) = &policy.cache {
        cached(cache, policy.kinds, level, unary, &mut refuse);
    }
    if policy.retry.is_some() {
        retried(policy, level, unary, &mut refuse);
    }
    if policy.idempotency.is_some() && !unary {
        refuse("idempotency", "a stream has no one answer to keep", "declare `idempotency` on unary methods only");
    }
    if policy.idempotency.is_some() && policy.cache.is_some() {
        let problem = "the answers of a cached method are shared, and nothing would be done twice by it: no key would be asked for";
        refuse("idempotency", problem, "remove `idempotency` or `cache`");
    }
    if policy.json.success.is_some() && descriptor.is_server_streaming() {
        let problem = "a stream begins before anybody knows how it ends, so its status is 200";
        refuse("json.success", problem, "declare it on methods whose answer is one message");
    }
    if policy.validate == Some(true) && !unary {
        refuse("validate", "the messages of a stream are not read", "declare `validate: true` on unary methods only");
    }
    if !policy.invalidates.is_empty() && !unary {
        let problem = "a stream has no one request to take tags from, and no one answer to hold back";
        refuse("invalidates", problem, "declare `invalidates` on unary methods only");
    }
    if !policy.invalidates.is_empty() && level == IdempotencyLevel::NoSideEffects {
        let problem = "the method is declared NO_SIDE_EFFECTS, so a call changes nothing that was cached";
        let remedy = "remove `invalidates`, or set `idempotency_level` to what a call does (IDEMPOTENT where it may be repeated)";
        refuse("invalidates", problem, remedy);
    }
}

/// What has a meaning only where policies decide, about the one message of a request.
fn decided_about(policy: &Policy, unary: bool, refuse: &mut impl FnMut(&str, &str, &str)) {
    if !matches!(policy.access, Access::Permission(_)) {
        let problem = "no policy is asked, since the method asks for no permission";
        refuse("access.resource", problem, "declare `access.permission`, or name `access.resource` in `unset`");
    }
    if !unary {
        let problem = "the messages of a stream are not read before it is decided who may call";
        refuse("access.resource", problem, "declare it on unary methods only");
    }
    let shares = |cache: &&CachePolicy| cache.scope == CacheScope::Shared && !cache.key.is_empty();
    if let (Some(cache), Some(resource)) = (policy.cache.as_ref().filter(shares), &policy.resource)
        && !cache.key.contains(&resource.id)
    {
        let problem = "answers about several objects would be one, and are shared among all who may see any of them";
        refuse("cache.key", problem, "add the field of access.resource, or use CACHE_SCOPE_PER_PRINCIPAL");
    }
}

fn retried(policy: &Policy, level: IdempotencyLevel, unary: bool, refuse: &mut impl FnMut(&str, &str, &str)) {
    if level == IdempotencyLevel::Unknown && policy.idempotency.is_none() {
        let problem = "the method is neither declared NO_SIDE_EFFECTS or IDEMPOTENT nor with `idempotency`, so a second attempt \
                       may act twice";
        refuse("retry", problem, "set idempotency_level, declare `idempotency`, or remove `retry`");
    }
    let hedge_after = policy.retry.as_ref().and_then(|retry| retry.hedge_after);
    if hedge_after.is_some_and(|after| after >= policy.deadline.max) {
        let problem = "is not below deadline.max, so no other attempt would start by it";
        refuse("retry.hedge_after", problem, "start it within the call's time, or leave the option out");
    }
    let attempt_timeout = policy.retry.as_ref().and_then(|retry| retry.attempt_timeout);
    if attempt_timeout.is_some_and(|timeout| timeout >= policy.deadline.max) {
        let problem = "is not below deadline.max, so no attempt would end by it";
        refuse("retry.attempt_timeout", problem, "give an attempt a part of the call's time, or leave the option out");
    }
    if !unary {
        refuse("retry", "the messages of a stream can't be sent again", "declare `retry` on unary methods only");
    }
}

fn cached(
    cache: &CachePolicy,
    kinds: Kinds,
    level: IdempotencyLevel,
    unary: bool,
    refuse: &mut impl FnMut(&str, &str, &str),
) {
    if !unary {
        refuse("cache", "the method is not unary", "remove `cache`, or declare it on unary methods only");
    }
    if level != IdempotencyLevel::NoSideEffects {
        let remedy = "if a call changes nothing, set `option idempotency_level = NO_SIDE_EFFECTS`, or `idempotency_level \
                      = \"NO_SIDE_EFFECTS\"` in an overlay; if not, remove `cache`";
        refuse("cache", "the method is not declared NO_SIDE_EFFECTS", remedy);
    }
    if cache.soft_timeout.is_some() && cache.stale_if_error.is_zero() {
        let remedy = "declare `cache.stale_if_error`, leave it out, or name it in `unset` where a weaker layer has it";
        refuse("cache.soft_timeout", "no stored answer may stand in for one that takes longer", remedy);
    }
    if cache.scope != CacheScope::Shared {
        return;
    }
    if kinds != Kinds::ALL {
        let problem =
            "answers are shared among all who hold the permission, but access depends on more: the kind of principal";
        let remedy = "use CACHE_SCOPE_PER_PRINCIPAL, or remove access.principal_kinds";
        refuse("cache.scope", problem, remedy);
    }
    for (option, names) in [("cache.keep_headers", &cache.keep_headers), ("cache.vary", &cache.vary)] {
        if names.iter().any(|name| **name == *"cookie") {
            let problem = "`cookie` is a credential, and an answer that depends on one can't be shared";
            refuse(option, problem, "use CACHE_SCOPE_PER_PRINCIPAL, or leave `cookie` out");
        }
    }
}

/// What HTTP bindings promise and JSON can't keep, or only in part.
pub(crate) fn json(descriptor: &MethodDescriptor, bindings: &[Binding], name: &str) -> Option<Finding> {
    if descriptor.is_client_streaming() && bindings.iter().any(|binding| matches!(binding.body, Body::None)) {
        let problem =
            "the method takes a stream of requests, and a rule without `body` has no place for their messages";
        let remedy = "add `body: \"*\"` to the rule, with one JSON text per line in the body, or remove the rule";
        return Some(Finding::error(name, "google.api.http", problem, remedy).warning());
    }
    if !descriptor.is_server_streaming() || !bindings.iter().any(|binding| may_look_failed(descriptor, binding)) {
        return None;
    }
    let problem =
        format!("a message may have the member `{STREAM_FAILURE}`, by which the last line says that a stream failed");
    let remedy = "read it as server-sent events or with gRPC, or wrap what has free names in a field";
    Some(Finding::error(name, "google.api.http", problem, remedy).warning())
}

/// Whether a line of data can have any member, or this one.
fn may_look_failed(descriptor: &MethodDescriptor, binding: &Binding) -> bool {
    let kind = match &binding.response_body {
        Some(field) if field.is_map() => return true,
        Some(field) if field.is_list() => return false,
        Some(field) => field.kind(),
        None => Kind::Message(descriptor.output()),
    };
    kind.as_message().is_some_and(|message| {
        matches!(message.full_name(), "google.protobuf.Struct" | "google.protobuf.Value")
            || message.fields().any(|field| field.json_name() == STREAM_FAILURE)
    })
}
