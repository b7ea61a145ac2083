//! Which services of which upstream count as served.
//!
//! A descriptor set declares more than its upstream serves: files that it imports may have services as well. Such a service
//! counts where only one upstream has it, and yields to an upstream that is known to serve it.

use std::collections::{HashMap, HashSet};

use prost_reflect::{FileDescriptor, ServiceDescriptor};

use crate::finding::Finding;
use crate::source::Source;

/// What every server answers for itself, and nobody answers for another.
const OWN: [&str; 2] = ["grpc.health.", "grpc.reflection."];

/// Whose methods a contract holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Those of upstreams, without what each of them answers for itself.
    Upstreams,
    /// Those of the binary itself, all of them.
    Own,
}

/// The services that count, for each source in turn, and what is worth saying about those that don't.
pub(crate) fn served(sources: &[Source], serving: Serving) -> (Vec<Vec<ServiceDescriptor>>, Vec<Finding>) {
    let mut services: Vec<_> = sources.iter().map(|source| listed(source, serving)).collect();
    let claims = claims(sources, &services);
    for (source, services) in sources.iter().zip(&mut services) {
        let imported = imported_files(source);
        services.retain(|service| {
            let claims = &claims[service.full_name()];
            claims.having.len() == 1 || !is_only_imported(source, &imported, service)
        });
    }
    let mut findings: Vec<_> = claims.into_iter().filter(|(_, it)| it.having.len() > 1 && !it.is_known).collect();
    findings.sort_by(|(one, _), (other, _)| one.cmp(other));
    (services, findings.into_iter().map(|(service, it)| nobodys(&service, &it.having)).collect())
}

/// The upstreams that have a service, and whether one of them is known to serve it.
#[derive(Default)]
struct Claims {
    having: Vec<String>,
    is_known: bool,
}

fn claims(sources: &[Source], services: &[Vec<ServiceDescriptor>]) -> HashMap<String, Claims> {
    let mut claims = HashMap::<String, Claims>::new();
    for (source, services) in sources.iter().zip(services) {
        let imported = imported_files(source);
        for service in services {
            let claim = claims.entry(service.full_name().to_owned()).or_default();
            claim.having.push(source.upstream.to_string());
            claim.is_known |= !is_only_imported(source, &imported, service);
        }
    }
    claims
}

fn listed(source: &Source, serving: Serving) -> Vec<ServiceDescriptor> {
    let listed = |service: &ServiceDescriptor| match &source.services {
        Some(services) => services.iter().any(|name| name == service.full_name()),
        None => true,
    };
    let own = |service: &ServiceDescriptor| OWN.iter().any(|package| service.full_name().starts_with(package));
    let counts = |service: &ServiceDescriptor| serving == Serving::Own || !own(service);
    source.pool.services().filter(|service| listed(service) && counts(service)).collect()
}

/// The files that others of the same set import.
fn imported_files(source: &Source) -> HashSet<String> {
    let files = source.pool.files();
    files.flat_map(|file| file.dependencies().map(|it| it.name().to_owned()).collect::<Vec<_>>()).collect()
}

/// Whether nothing says that the upstream serves it but that its descriptors need the file.
fn is_only_imported(source: &Source, imported: &HashSet<String>, service: &ServiceDescriptor) -> bool {
    let file: FileDescriptor = service.parent_file();
    source.services.is_none() && imported.contains(file.name())
}

fn nobodys(service: &str, having: &[String]) -> Finding {
    let problem = format!("the descriptors of {} import it, and none is known to serve it", having.join(", "));
    let remedy = "where one does, name the service in that upstream's `services`";
    Finding::error(service, "services", problem, remedy).warning()
}
