//! Who may call the methods that a binary serves itself, as their descriptors and the built-in overlay declare it.

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
    /// The descriptors are.
    #[error(transparent)]
    Descriptors(#[from] OwnError),
}

/// The contract of one port: these services of an encoded descriptor set, with health and reflection.
pub fn contract(descriptor_set: &[u8], services: &[&str]) -> Result<Contract, ContractError> {
    let overlay = Overlay::parse("built_in.toml", OVERLAY).map_err(ContractError::Overlay)?;
    let built_in = BUILT_IN.map(|(service, set)| (set, [service]));
    let mut sets = vec![(descriptor_set, services)];
    sets.extend(built_in.iter().map(|(set, services)| (*set, &services[..])));
    Ok(Contract::own(&sets, &[overlay])?)
}
