//! From a merged policy to a compiled one: defaults, bounds, paths and templates.

mod bindings;
mod bounds;
mod defaults;
mod headers;
mod json;
mod rate_limit;
mod resource;

use std::time::Duration;

use accord_api::accord::policy::v1 as declared;
use accord_wire::{FieldPath, Template, VersionPath};
use prost_reflect::MethodDescriptor;
use tonic::Code;

use crate::finding::Finding;
use crate::limits::{MAX_ATTEMPTS, MAX_LEASE};
use crate::policy::{
    Access, CachePolicy, CacheScope, Deadline, Idempotency, Kinds, Near, OnCacheFailure, Policy, Retry,
};
use crate::template::{compile_template, named};
use crate::version::compile_version;
pub(crate) use bindings::bindings;
use bounds::Bounds;
pub(crate) use defaults::{defaults, effective, reflected};

/// Compiles an effective policy. Where a value is refused, what stands in the result means nothing: a contract with a
/// refusal is never served.
pub(crate) fn policy(
    effective: &declared::MethodPolicy,
    descriptor: &MethodDescriptor,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Policy {
    let mut compiler = Compiler { descriptor, bounds: Bounds { name, findings } };
    Policy {
        deadline: compiler.deadline(effective.deadline.unwrap_or_default()),
        access: compiler.access(effective.access.as_ref()),
        kinds: compiler.kinds(effective.access.as_ref()),
        resource: effective
            .access
            .as_ref()
            .and_then(|access| resource::compile(&access.resource, descriptor, &mut compiler.bounds)),
        cache: effective.cache.as_ref().map(|cache| compiler.cache(cache)),
        invalidates: compiler.invalidates(&effective.invalidates),
        invalidation_expires: compiler.invalidation_expires(effective),
        acknowledged_locally: compiler.acknowledged_locally(effective),
        rate_limits: effective
            .rate_limit
            .iter()
            .map(|limit| rate_limit::compile(limit, &mut compiler.bounds))
            .collect(),
        retry: effective.retry.as_ref().map(|retry| compiler.retry(retry)),
        idempotency: effective.idempotency.as_ref().map(|idempotency| compiler.idempotency(*idempotency)),
        criticality: effective.criticality(),
        max_request_bytes: compiler.bounds.limit("max_request_bytes", effective.max_request_bytes()),
        max_response_bytes: compiler.bounds.limit("max_response_bytes", effective.max_response_bytes()),
        max_stream_messages: effective
            .max_stream_messages
            .map(|messages| compiler.bounds.limit("max_stream_messages", messages)),
        stream_idle: effective.stream_idle.map(|idle| compiler.bounds.positive("stream_idle", Some(idle))),
        on_cache_failure: match effective.on_cache_failure() {
            declared::OnCacheFailure::Fail => OnCacheFailure::Fail,
            _ => OnCacheFailure::Bypass,
        },
        json: json::compile(effective.json.as_ref(), &mut compiler.bounds),
        validate: effective.validate,
    }
}

struct Compiler<'a> {
    descriptor: &'a MethodDescriptor,
    bounds: Bounds<'a>,
}

impl Compiler<'_> {
    fn deadline(&mut self, declared: declared::Deadline) -> Deadline {
        let default = self.bounds.positive("deadline.default", declared.default);
        let max = self.bounds.positive("deadline.max", declared.max);
        // A cap that was refused is zero here, and says nothing of the default.
        if default > max && !max.is_zero() {
            let problem = format!("{} is above deadline.max, {}", text(default), text(max));
            self.bounds.refuse("deadline.default", problem, "raise deadline.max, or lower deadline.default");
        }
        Deadline { default, max }
    }

    fn access(&mut self, declared: Option<&declared::Access>) -> Access {
        use declared::access::Rule;
        match declared.and_then(|access| access.rule.as_ref()) {
            None => Access::Denied,
            Some(Rule::Public(true)) => Access::Public,
            Some(Rule::Authenticated(true)) => Access::Authenticated,
            Some(Rule::Permission(permission)) if is_permission(permission) => {
                Access::Permission(permission.as_str().into())
            }
            Some(Rule::Permission(permission)) => {
                let problem = format!("`{permission}` is no permission");
                self.bounds.refuse("access.permission", problem, "write dotted names such as `catalog.products.read`");
                Access::Denied
            }
            Some(Rule::Public(false)) => self.neither("access.public"),
            Some(Rule::Authenticated(false)) => self.neither("access.authenticated"),
        }
    }

    fn kinds(&mut self, declared: Option<&declared::Access>) -> Kinds {
        use declared::PrincipalKind::{Service, Unspecified, User};
        let named: Vec<_> = declared.map(|access| access.principal_kinds().collect()).unwrap_or_default();
        if named.contains(&Unspecified) {
            let remedy = "name kinds such as PRINCIPAL_KIND_USER, or leave the option out for all";
            self.bounds.refuse("access.principal_kinds", "holds a kind that says nothing", remedy);
        }
        if named.is_empty() {
            return Kinds::ALL;
        }
        Kinds { users: named.contains(&User), services: named.contains(&Service) }
    }

    fn neither(&mut self, option: &str) -> Access {
        let remedy = "write the rule that holds: `public: true`, `authenticated: true` or a `permission`";
        self.bounds.refuse(option, "`false` says what does not hold, not who may call", remedy);
        Access::Denied
    }

    fn cache(&mut self, declared: &declared::Cache) -> CachePolicy {
        if declared.ttl.is_none() {
            self.bounds.refuse("cache.ttl", "is missing", "say how long an answer is fresh");
        }
        CachePolicy {
            ttl: declared.ttl.map(|ttl| self.bounds.positive("cache.ttl", Some(ttl))).unwrap_or_default(),
            stale_while_revalidate: self
                .bounds
                .at_least_zero("cache.stale_while_revalidate", declared.stale_while_revalidate),
            stale_if_error: self.bounds.at_least_zero("cache.stale_if_error", declared.stale_if_error),
            soft_timeout: declared.soft_timeout.map(|soft| self.bounds.positive("cache.soft_timeout", Some(soft))),
            negative_ttl: self.bounds.at_least_zero("cache.negative_ttl", declared.negative_ttl),
            scope: match declared.scope() {
                declared::CacheScope::Shared => CacheScope::Shared,
                _ => CacheScope::PerPrincipal,
            },
            key: declared.key.iter().filter_map(|path| self.key(path)).collect(),
            tags: declared.tags.iter().filter_map(|tag| self.template("cache.tags", tag)).collect(),
            max_bytes: self.bounds.limit("cache.max_bytes", declared.max_bytes()),
            keep_headers: headers::keep(&declared.keep_headers, &mut self.bounds),
            vary: headers::vary(&declared.vary, &mut self.bounds),
            ignore_cache_control: declared.ignore_cache_control(),
            near: declared.near.as_ref().and_then(|near| self.near(near, declared.ttl)),
            version: self.version(declared),
        }
    }

    fn near(&mut self, declared: &declared::Near, ttl: Option<prost_types::Duration>) -> Option<Near> {
        use declared::near::Promise;
        let (option, near) = match declared.promise {
            Some(Promise::Lease(lease)) => {
                ("cache.near.lease", Near::Lease(self.bounds.positive("cache.near.lease", Some(lease))))
            }
            Some(Promise::Bounded(bounded)) => {
                ("cache.near.bounded", Near::Bounded(self.bounds.positive("cache.near.bounded", Some(bounded))))
            }
            None => {
                let remedy = "write `lease` for answers that miss no acknowledged write, or `bounded` for writes that do not \
                              wait; leave `near` out for neither";
                self.bounds.refuse("cache.near", "says neither `lease` nor `bounded`", remedy);
                return None;
            }
        };
        let ttl = ttl.and_then(|ttl| Duration::try_from(ttl).ok()).filter(|ttl| !ttl.is_zero());
        if near.duration() > MAX_LEASE {
            let problem = format!("{} is above {}, the longest", text(near.duration()), text(MAX_LEASE));
            self.bounds.refuse(
                option,
                problem,
                "give at most 400ms; leases of 200ms and less save nearly as many calls",
            );
        } else if ttl.is_some_and(|ttl| near.duration() > ttl) {
            let problem = format!("{} is above cache.ttl, {}", text(near.duration()), text(ttl.unwrap_or_default()));
            self.bounds.refuse(option, problem, "no answer lives that long: raise cache.ttl, or lower it");
        }
        Some(near)
    }

    fn key(&mut self, path: &str) -> Option<FieldPath> {
        let compiled = named(path, &self.descriptor.input());
        compiled.map_err(|error| self.bounds.refuse("cache.key", error.to_string(), REMEDY_FIELD)).ok()
    }

    fn version(&mut self, declared: &declared::Cache) -> Option<VersionPath> {
        let path = &*declared.version_field;
        if !declared.version_header.is_empty() {
            headers::version(&declared.version_header, !path.is_empty(), &mut self.bounds);
        }
        if path.is_empty() {
            return None;
        }
        let compiled = compile_version(path, &self.descriptor.output());
        compiled.map_err(|error| self.bounds.refuse("cache.version_field", error.to_string(), REMEDY_VERSION)).ok()
    }

    fn template(&mut self, option: &str, text: &str) -> Option<Template> {
        let compiled = compile_template(text, &self.descriptor.input(), &self.descriptor.output());
        compiled.map_err(|error| self.bounds.refuse(option, format!("`{text}`: {error}"), REMEDY_FIELD)).ok()
    }

    fn invalidates(&mut self, declared: &[String]) -> Vec<Template> {
        let mut templates = Vec::new();
        for text in declared {
            match self.template("invalidates", text) {
                Some(template) if template.is_over_answer() => {
                    let problem = format!("`{text}` needs the answer, but a call whose outcome is unknown has none");
                    self.bounds.refuse("invalidates", problem, "name fields of the request only");
                }
                template => templates.extend(template),
            }
        }
        templates
    }

    fn invalidation_expires(&mut self, effective: &declared::MethodPolicy) -> bool {
        self.of_invalidated("invalidation", effective.invalidation() == declared::Invalidation::Expire, effective)
    }

    fn acknowledged_locally(&mut self, effective: &declared::MethodPolicy) -> bool {
        let is_local = effective.acknowledgement() == declared::Acknowledgement::Local;
        self.of_invalidated("acknowledgement", is_local, effective)
    }

    /// An option that says something of what is invalidated.
    fn of_invalidated(&mut self, option: &'static str, is_set: bool, effective: &declared::MethodPolicy) -> bool {
        if is_set && effective.invalidates.is_empty() {
            self.bounds.refuse(option, "nothing is invalidated", "name tags in `invalidates`, or leave it out");
        }
        is_set
    }

    fn retry(&mut self, declared: &declared::Retry) -> Retry {
        if !MAX_ATTEMPTS.contains(&declared.max_attempts) {
            let problem = format!("{} is not between 2 and 5", declared.max_attempts);
            self.bounds.refuse("retry.max_attempts", problem, "count all attempts, the first included");
        }
        if declared.on.contains(&0) {
            self.bounds.refuse("retry.on", "holds a code that says nothing", "name status codes such as UNAVAILABLE");
        }
        Retry {
            max_attempts: declared.max_attempts,
            on: declared.on.iter().map(|code| Code::from_i32(*code)).collect(),
            hedge_after: declared.hedge_after.map(|after| self.bounds.positive("retry.hedge_after", Some(after))),
            attempt_timeout: declared
                .attempt_timeout
                .map(|timeout| self.bounds.positive("retry.attempt_timeout", Some(timeout))),
        }
    }

    fn idempotency(&mut self, declared: declared::Idempotency) -> Idempotency {
        let window = self.bounds.positive("idempotency.window", declared.window);
        Idempotency { required: declared.required(), window }
    }
}

const REMEDY_FIELD: &str = "name a singular field that holds one value, such as `product.id`";

const REMEDY_VERSION: &str =
    "name a field of the answer that grows with each change, such as `product.version` or `product.update_time`";

fn is_permission(text: &str) -> bool {
    let name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    text.split('.').all(name)
}

fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
