//! From descriptors and overlays to the methods of a contract.

mod findings;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use accord_api::google::api::HttpRule;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ServiceDescriptor};
use prost_types::{MethodOptions, ServiceOptions, method_options};

use crate::check;
use crate::compile;
use crate::finding::{Finding, Severity};
use crate::http::Binding;
use crate::merge::{Merged, UNSET};
use crate::method::{FieldSource, IdempotencyLevel, Method, MethodKind};
use crate::options;
use crate::overlay::{HttpOverlay, Overlay, Rule, Rules};
use crate::policy::{Access, Policy};
use crate::required::Required;
use crate::rules;
use crate::served::{Serving, served};
use crate::shared::Shared;
use crate::source::Source;
use findings::{not_there, served_twice, unchecked_rules, undeclared};

/// Methods by their names.
type Methods = HashMap<Arc<str>, Arc<Method>>;

pub(crate) fn load(sources: &[Source], overlays: &[Overlay], serving: Serving) -> (Methods, Vec<Finding>) {
    let (services, found) = served(sources, serving);
    let mut loader = Loader {
        rules: Rules::of(overlays),
        methods: Methods::new(),
        bindings: HashMap::new(),
        findings: found,
        repeated: HashMap::new(),
        shared: Shared::default(),
    };
    for (source, services) in sources.iter().zip(&services) {
        loader.source(source, services);
    }
    for (first, more) in loader.repeated.into_values().filter(|(_, more)| *more > 0) {
        let subject = &mut loader.findings[first].subject;
        *subject = format!("{subject} and {more} more");
    }
    let mut findings = Vec::<Finding>::new();
    for finding in loader.findings {
        // A mistake in a service's or file's option shows at each of its methods.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    (loader.methods, findings)
}

/// A finding for each overlay rule whose selector matches no method of any source.
pub(crate) fn unmatched(sources: &[Source], overlays: &[Overlay], serving: Serving) -> Vec<Finding> {
    let (services, _) = served(sources, serving);
    let methods: Vec<_> = services.iter().flatten().flat_map(names).collect();
    Rules::of(overlays)
        .idle(&methods)
        .map(|(overlay, rule)| {
            let place = format!("{}:{}", overlay.file, rule.line);
            let remedy = match rule.selector.meant(&methods) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "name a method, service or package that an upstream serves, or remove the rule".to_owned(),
            };
            Finding::error(place, "selector", format!("`{}` matches no method", rule.selector), remedy)
        })
        .collect()
}

struct Loader<'a> {
    rules: Rules<'a>,
    methods: Methods,
    /// The method of each HTTP method and path shape.
    bindings: HashMap<(String, String), Arc<str>>,
    findings: Vec<Finding>,
    /// By option, problem and remedy: where the finding stands, and how many more methods have it.
    repeated: HashMap<[String; 3], (usize, usize)>,
    shared: Shared,
}

impl Loader<'_> {
    fn source(&mut self, source: &Source, services: &[ServiceDescriptor]) {
        for name in source.services.iter().flatten() {
            if source.pool.get_service_by_name(name).is_none() {
                self.findings.push(not_there(name, source));
            }
        }
        for service in services {
            for descriptor in service.methods() {
                self.method(source, descriptor);
            }
        }
    }

    fn method(&mut self, source: &Source, descriptor: MethodDescriptor) {
        let name: Arc<str> = name(&descriptor).into();
        if let Some(other) = self.methods.get(&name) {
            self.findings.push(served_twice(&name, other, source));
            return;
        }
        let rules = self.rules.of_method(&name);
        let merged = self.merge(&rules, &descriptor, &name);
        let (idempotency_level, level_source) = level(&rules, &descriptor, &name);
        let (http, left_out) = self.http(&rules, &descriptor, &name);

        let before = self.findings.len();
        let effective = compile::effective(&merged);
        let policy = compile::policy(&effective, &descriptor, &name, &mut self.findings);
        check::policy(&policy, idempotency_level, &descriptor, &name, &mut self.findings);
        for finding in self.findings.split_off(before) {
            self.report(finding, &merged);
        }
        if policy.access == Access::Denied {
            self.findings.push(undeclared(&name));
        }
        let mut sources = merged.sources(&compile::reflected(&effective));
        sources.extend(level_source);
        let kind = MethodKind::of(&descriptor);
        let is_read = reads(&policy, kind);
        let (required, required_source) = required(&rules, &descriptor, &policy, is_read);
        sources.extend(required_source);
        let (is_validated, rules_source) = self.validation(&descriptor, &policy, is_read, &name);
        sources.extend(rules_source);
        let method = Method {
            upstream: Arc::clone(&source.upstream),
            kind,
            deprecated: deprecated(&descriptor),
            is_read,
            is_validated,
            required,
            canonical: OnceLock::new(),
            name: Arc::clone(&name),
            idempotency_level,
            policy,
            effective: self.shared.policy(effective),
            http,
            left_out,
            sources: self.shared.sources(sources),
            descriptor,
        };
        self.methods.insert(name, Arc::new(method));
    }

    /// Whether requests are held against rules of their messages, and what is to be said of that where there are any.
    fn validation(
        &mut self,
        descriptor: &MethodDescriptor,
        policy: &Policy,
        is_read: bool,
        name: &str,
    ) -> (bool, Option<FieldSource>) {
        if !rules::has_rules(&descriptor.input()) {
            return (false, None);
        }
        if !is_read && policy.validate.is_none() && MethodKind::of(descriptor) == MethodKind::Unary {
            self.push_once(unchecked_rules(descriptor, name));
        }
        let unchecked = unchecked(policy, is_read);
        (unchecked.is_none(), Some(validated(descriptor, unchecked)))
    }

    /// A mistake in an overlay, a service's or a file's option is the same at each of its methods, and reported at the first.
    fn report(&mut self, mut finding: Finding, merged: &Merged) {
        if say_where(&mut finding, merged) {
            self.push_once(finding);
        } else {
            self.findings.push(finding);
        }
    }

    /// Says the same of several methods at the first of them.
    fn push_once(&mut self, finding: Finding) {
        let mistake = [&finding.option, &finding.problem, &finding.remedy].map(Clone::clone);
        match self.repeated.entry(mistake) {
            Entry::Occupied(first) => first.into_mut().1 += 1,
            Entry::Vacant(first) => {
                first.insert((self.findings.len(), 0));
                self.findings.push(finding);
            }
        }
    }

    fn merge(&mut self, rules: &[(&Overlay, &Rule)], descriptor: &MethodDescriptor, name: &str) -> Merged {
        let mut merged = Merged::new();
        for (overlay, rule) in rules {
            if let Some(policy) = &rule.policy {
                self.fill(&mut merged, policy, &format!("overlay {} ({})", overlay.file, rule.selector), name);
            }
        }
        let (service, file) = (descriptor.parent_service(), descriptor.parent_file());
        let layers = [
            ("method", name, descriptor.options()),
            ("service", service.full_name(), service.options()),
            ("file", file.name(), file.options()),
        ];
        for (layer, place, options) in layers {
            if let Some(policy) = self.option(descriptor.parent_pool(), layer, place, &options) {
                self.fill(&mut merged, &policy, &format!("{layer} {place}"), name);
            }
        }
        let defaults = compile::defaults(&merged);
        merged.fill_defaults(&defaults);
        merged
    }

    fn fill(&mut self, merged: &mut Merged, layer: &DynamicMessage, source: &str, name: &str) {
        for path in merged.fill(layer, source) {
            let problem = format!(
                "`{path}`, which {source} unsets, leads to no field of a policy, or to one of several that exclude each other"
            );
            let remedy = "name a section or a field of one, such as `cache` or `cache.near`";
            self.push_once(Finding::error(name, UNSET, problem, remedy));
        }
    }

    fn option(
        &mut self,
        pool: &DescriptorPool,
        layer: &str,
        place: &str,
        options: &DynamicMessage,
    ) -> Option<DynamicMessage> {
        let extension = format!("accord.policy.v1.{layer}");
        match options::policy(pool, &extension, options) {
            Ok(policy) => policy,
            Err(what) => {
                let problem = format!("the contract is newer than the binary, which doesn't know {what}");
                let remedy = "update the binary, or leave the option to a later contract";
                self.findings.push(Finding::error(place, format!("({extension})"), problem, remedy));
                None
            }
        }
    }

    /// The bindings that can be served, and why others were left out. What an overlay says and can't be served is refused. What the
    /// descriptors say may be somebody else's, and a path that can't be served takes nothing from the others.
    fn http(
        &mut self,
        rules: &[(&Overlay, &Rule)],
        descriptor: &MethodDescriptor,
        name: &Arc<str>,
    ) -> (Vec<Binding>, Vec<String>) {
        let overlaid = rules.iter().find_map(|(_, rule)| rule.http.as_ref());
        let rule = match overlaid {
            Some(HttpOverlay::Dropped) => return Default::default(),
            Some(HttpOverlay::Rule(rule)) => Ok(Some(HttpRule::clone(rule))),
            None => options::message(descriptor.parent_pool(), OPTION, &descriptor.options()),
        };
        let before = self.findings.len();
        let mut bindings = match rule {
            Ok(Some(rule)) => compile::bindings(&rule, descriptor, name, &mut self.findings),
            Ok(None) => return Default::default(),
            Err(problem) => {
                let remedy = "build the descriptors with the published google/api/http.proto";
                self.findings.push(Finding::error(&**name, OPTION, problem, remedy));
                Vec::new()
            }
        };
        bindings.retain(|binding| self.is_first(binding, name));
        let mut left_out = Vec::new();
        if overlaid.is_none() {
            left_out.extend(self.findings[before..].iter().map(|finding| finding.problem.clone()));
            self.findings[before..].iter_mut().for_each(not_served);
        }
        if !bindings.is_empty() {
            self.findings.extend(check::json(descriptor, &bindings, name));
        }
        (bindings, left_out)
    }

    /// Whether no other method has the binding.
    fn is_first(&mut self, binding: &Binding, name: &Arc<str>) -> bool {
        match self.bindings.entry((binding.method.clone(), binding.template.shape())) {
            Entry::Vacant(free) => {
                free.insert(Arc::clone(name));
                true
            }
            Entry::Occupied(other) => {
                let problem = format!("`{binding}` is a binding of {} already", other.get());
                let remedy = "give each its own path or method";
                self.findings.push(Finding::error(&**name, OPTION, problem, remedy));
                false
            }
        }
    }
}

const OPTION: &str = "google.api.http";

/// Of a binding that is left out.
fn not_served(finding: &mut Finding) {
    finding.severity = Severity::Warning;
    finding.problem.push_str(", so this binding is not served");
    finding.remedy.push_str(", or drop the method's bindings with `http = false` in an overlay");
}

/// Caching, invalidating, idempotency keys and decisions about an object read fields of the message; repeating a call needs it whole.
fn reads(policy: &Policy, kind: MethodKind) -> bool {
    let reads = policy.cache.is_some() || policy.idempotency.is_some() || !policy.invalidates.is_empty();
    let reads = reads || policy.resource.is_some();
    kind == MethodKind::Unary && (reads || policy.retry.is_some() || policy.validate == Some(true))
}

/// Why requests are not held against what their messages say of themselves, where they are not.
fn unchecked(policy: &Policy, is_read: bool) -> Option<&'static str> {
    match policy.validate {
        Some(false) => Some("not checked, as `validate` says"),
        _ if !is_read => Some("not checked, as no request is read"),
        _ => None,
    }
}

/// Whether the rules of `buf.validate` hold, and whose they are.
fn validated(descriptor: &MethodDescriptor, unchecked: Option<&str>) -> FieldSource {
    let source = format!("message {}", descriptor.input().full_name());
    FieldSource { field: "buf.validate".to_owned(), value: unchecked.unwrap_or("checked").to_owned(), source }
}

/// The fields that a request has to set: none where nobody reads the request, so that it does not depend on the protocol.
fn required(
    rules: &[(&Overlay, &Rule)],
    descriptor: &MethodDescriptor,
    policy: &Policy,
    is_read: bool,
) -> (Required, Option<FieldSource>) {
    let overlaid = rules.iter().find_map(|(overlay, rule)| Some((rule.required?, overlay, rule)));
    let declared = Required::of(&descriptor.input());
    let names = declared.names();
    if names.is_empty() {
        return (Required::default(), None);
    }
    let field = "required".to_owned();
    if let Some((false, overlay, rule)) = overlaid {
        let source = format!("overlay {} ({})", overlay.file, rule.selector);
        return (Required::default(), Some(FieldSource { field, value: "not checked".to_owned(), source }));
    }
    let source = format!("message {}", descriptor.input().full_name());
    if let Some(unchecked) = unchecked(policy, is_read) {
        return (Required::default(), Some(FieldSource { field, value: unchecked.to_owned(), source }));
    }
    (declared, Some(FieldSource { field, value: names.join(", "), source }))
}

fn names(service: &ServiceDescriptor) -> Vec<String> {
    service.methods().map(|method| name(&method)).collect()
}

fn name(descriptor: &MethodDescriptor) -> String {
    format!("{}/{}", descriptor.parent_service().full_name(), descriptor.name())
}

fn level(
    rules: &[(&Overlay, &Rule)],
    descriptor: &MethodDescriptor,
    name: &str,
) -> (IdempotencyLevel, Option<FieldSource>) {
    use method_options::IdempotencyLevel as Declared;
    let overlaid = rules.iter().find_map(|(overlay, rule)| {
        Some((rule.idempotency_level?, format!("overlay {} ({})", overlay.file, rule.selector)))
    });
    let declared = || match descriptor.method_descriptor_proto().options.as_ref()?.idempotency_level() {
        Declared::IdempotencyUnknown => None,
        Declared::NoSideEffects => Some((IdempotencyLevel::NoSideEffects, format!("method {name}"))),
        Declared::Idempotent => Some((IdempotencyLevel::Idempotent, format!("method {name}"))),
    };
    let Some((level, source)) = overlaid.or_else(declared) else {
        return (IdempotencyLevel::Unknown, None);
    };
    let field = "idempotency_level".to_owned();
    (level, Some(FieldSource { field, value: level.to_string(), source }))
}

fn deprecated(descriptor: &MethodDescriptor) -> bool {
    let method = descriptor.method_descriptor_proto().options.as_ref().is_some_and(MethodOptions::deprecated);
    let service = descriptor.parent_service();
    method || service.service_descriptor_proto().options.as_ref().is_some_and(ServiceOptions::deprecated)
}

/// A method's name leads to its proto, but not to the overlay, service or file that the option stands in. Whether it is one of those.
fn say_where(finding: &mut Finding, merged: &Merged) -> bool {
    let source = merged.source(&finding.option).filter(|source| !source.starts_with("method "));
    if let Some(source) = source {
        finding.problem = format!("{}, as {source} has it", finding.problem);
    }
    source.is_some()
}
