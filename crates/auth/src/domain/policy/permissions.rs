//! The permissions that there are: those that contracts name. A policy about any other is a slip, and grants nothing that anybody
//! asks for.

use std::{collections::BTreeSet, path::PathBuf};

use accord_contract::{Access, Contract, Finding, Overlay, Severity, Source};
use accord_runtime::config::nearest;

use super::{ObjectTypes, PolicyError, actions_of, source::PolicyFile};
use crate::config::ContractConfig;

/// What the permissions of the mesh's own services begin with. The built-in policies name all of them.
const OWN: &str = "accord.";

/// The contract of these upstreams, with its overlays.
pub(super) fn contract(upstreams: &[ContractConfig], overlays: &[PathBuf]) -> Result<Contract, PolicyError> {
    if upstreams.is_empty() {
        return Ok(Contract::default());
    }
    let sources = upstreams.iter().enumerate().map(source).collect::<Result<Vec<_>, _>>()?;
    let overlays = overlays.iter().map(|path| Overlay::file(path)).collect::<Result<Vec<_>, _>>();
    let overlays = overlays.map_err(|findings| refused("policy.overlays", &findings))?;
    let (contract, findings) = Contract::load(&sources, &overlays);
    if accord_contract::refused(&findings) { Err(refused("upstream", &findings)) } else { Ok(contract) }
}

fn source((index, upstream): (usize, &ContractConfig)) -> Result<Source, PolicyError> {
    let source = Source::file(upstream.name.as_str(), &upstream.descriptors).map_err(|error| {
        PolicyError::Contract { key: format!("upstream.{index}.descriptors"), problem: error.to_string() }
    })?;
    Ok(if upstream.services.is_empty() { source } else { source.only(upstream.services.iter().cloned()) })
}

fn refused(key: &str, findings: &[Finding]) -> PolicyError {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let problem = errors.map(ToString::to_string).collect::<Vec<_>>().join("; ");
    PolicyError::Contract { key: key.to_owned(), problem }
}

/// The permissions that there are beside the mesh's own; None while no contract says anything of them.
pub(super) fn known(contract: &Contract, others: &[String]) -> Option<BTreeSet<String>> {
    let methods = contract.methods();
    let named = methods.iter().filter_map(|method| match &method.policy.access {
        Access::Permission(permission) => Some(permission.to_string()),
        _ => None,
    });
    (!methods.is_empty()).then(|| named.chain(others.iter().cloned()).collect())
}

/// Whether each object that access to a method is decided about is of a type that is declared.
pub(super) fn check_objects(contract: &Contract, objects: &ObjectTypes) -> Result<(), PolicyError> {
    for method in contract.methods() {
        let Some(resource) = &method.policy.resource else { continue };
        objects.permission(&resource.object_type).map_err(|error| PolicyError::Contract {
            key: "policy.object".to_owned(),
            problem: format!("access.resource of {}: {error}", method.name),
        })?;
    }
    Ok(())
}

/// Whether each action of these policies, the built-in ones first, is a permission. While nothing is known of the permissions of
/// services, only those of the mesh itself are held against what there is.
pub(super) fn check(
    enforced: &[PolicyFile],
    tried: &[PolicyFile],
    services: Option<BTreeSet<String>>,
) -> Result<(), PolicyError> {
    let actions = |source: &PolicyFile| -> BTreeSet<String> {
        source.policies.iter().flat_map(|policy| actions_of(policy).unwrap_or_default()).collect()
    };
    let mut known = enforced.first().map(actions).unwrap_or_default();
    let knows_services = services.is_some();
    known.extend(services.into_iter().flatten());
    let is_judged = |action: &str| knows_services || action.starts_with(OWN);
    let slips: Vec<_> = enforced
        .iter()
        .chain(tried)
        .flat_map(|source| actions(source).into_iter().map(move |action| (source, action)))
        .filter(|(_, action)| is_judged(action) && !known.contains(action))
        .map(|(source, action)| {
            let meant = nearest(&action, known.iter().map(String::as_str));
            let remedy = meant.map_or_else(
                || "correct it, give its contract as [[upstream]], or name it in `policy.permissions`".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            );
            let place = source.place_of_word(&action);
            format!("{place}: no method asks for the permission `{action}`; {remedy}")
        })
        .collect();
    if slips.is_empty() { Ok(()) } else { Err(PolicyError::Invalid(slips.join("; "))) }
}
