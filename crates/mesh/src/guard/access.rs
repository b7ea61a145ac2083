//! Who may call the methods that a binary serves itself, as their descriptors and the built-in overlay declare it.

use std::iter;

use accord_contract::{Contract, Finding, Overlay, OwnError};
use accord_runtime::grpc_server::BUILT_IN;

/// The access of health and reflection, which their own protos can't declare.
const OVERLAY: &str = include_str!("built_in.toml");

/// What the binary declares of its own methods can't be read or enforced: a defect of its build.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The built-in overlay is refused.
    #[error("the built-in overlay is refused: {}; build the binary anew", .0.iter().map(Finding::to_string).collect::<Vec<_>>().join("; "))]
    Overlay(Vec<Finding>),
    /// A method whose access is decided about an object of its request, which no guard reads.
    #[error(
        "{0} declares `access.resource`, and a guard decides before a request is read: declare the method `authenticated` here, and \
         ask auth about the object in its handler"
    )]
    Resource(Box<str>),
    /// The descriptors are.
    #[error(transparent)]
    Descriptors(#[from] OwnError),
}

/// The contract of one port: these services of an encoded descriptor set, with health and reflection.
pub fn contract(descriptor_set: &[u8], services: &[&str]) -> Result<Contract, ContractError> {
    contract_with(descriptor_set, services, None)
}

/// The same with an overlay, by its name and text, for services whose protos somebody else defines.
pub fn contract_with(
    descriptor_set: &[u8],
    services: &[&str],
    overlay: Option<(&str, &str)>,
) -> Result<Contract, ContractError> {
    let overlays = iter::once(("built_in.toml", OVERLAY)).chain(overlay);
    let overlays = overlays.map(|(name, text)| Overlay::parse(name, text)).collect::<Result<Vec<_>, _>>();
    let built_in = BUILT_IN.map(|(service, set)| (set, [service]));
    let mut sets = vec![(descriptor_set, services)];
    sets.extend(built_in.iter().map(|(set, services)| (*set, &services[..])));
    let contract = Contract::own(&sets, &overlays.map_err(ContractError::Overlay)?)?;
    match contract.methods().iter().find(|method| method.policy.resource.is_some()) {
        Some(method) => Err(ContractError::Resource(Box::from(&*method.name))),
        None => Ok(contract),
    }
}

#[cfg(test)]
mod tests {
    use accord_api::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn method_whose_access_depends_on_its_request_is_not_guarded() {
        let about = "[[rule]]\nselector = 'catalog.v1.ProductService/GetProduct'\n\
                     policy = { access = { permission = 'p', resource = 'Product/{id}' } }\n";
        let services = ["catalog.v1.ProductService"];
        assert!(contract_with(FILE_DESCRIPTOR_SET, &services, None).is_ok());
        let refused = contract_with(FILE_DESCRIPTOR_SET, &services, Some(("about.toml", about))).unwrap_err();
        assert!(refused.to_string().starts_with("catalog.v1.ProductService/GetProduct declares `access.resource`"));
    }
}
