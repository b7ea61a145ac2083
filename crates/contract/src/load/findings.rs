//! What is found where methods are put together, apart from what each of them declares.

use prost_reflect::MethodDescriptor;

use crate::finding::Finding;
use crate::method::Method;
use crate::source::Source;

pub(super) fn served_twice(name: &str, other: &Method, source: &Source) -> Finding {
    let problem = format!("is served by two upstreams, {} and {}", other.upstream, source.upstream);
    let remedy = "say by `services` (or --services NAME=pkg.Service) which services each of the two serves, or make their \
                  endpoints one upstream";
    Finding::error(name, "services", problem, remedy)
}

/// How many services one finding names.
const NAMED: usize = 5;

pub(super) fn not_there(name: &str, source: &Source) -> Finding {
    let problem = format!("is served by {}, but its descriptors ({}) don't have it", source.upstream, source.origin);
    let known: Vec<_> = source.pool.services().map(|service| service.full_name().to_owned()).take(NAMED).collect();
    let remedy = format!("correct the name or the descriptors, which have {}", known.join(", "));
    Finding::error(name, "services", problem, remedy)
}

pub(super) fn unchecked_rules(descriptor: &MethodDescriptor, name: &str) -> Finding {
    let service = descriptor.parent_service();
    let problem = format!("requests of {} have rules of `buf.validate` that nobody checks", service.full_name());
    let remedy = "declare `validate: true` to have them checked, or `validate: false` where the handler does";
    Finding::error(name, "validate", problem, remedy).warning()
}

pub(super) fn undeclared(name: &str) -> Finding {
    let problem = "no layer says who may call, so every call is denied";
    let remedy = "declare `public`, `authenticated` or a `permission`";
    Finding::error(name, "access", problem, remedy).warning()
}
