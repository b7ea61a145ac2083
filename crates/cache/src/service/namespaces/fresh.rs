//! How fresh a value a caller requires, and the consistency tokens of what it reads and writes.

use accord_api::accord::cache::v1::Consistency;
use accord_api::accord::fault::v1::Reason;
use accord_mesh::guard::Decider;
use accord_readthrough::{
    ConsistencyRequirement, InvalidationLog, KeyRequirement, Opened, Origin, Replica, Required, Store, TokenScope,
    World,
};
use accord_runtime::fault;
use tonic::Status;

use super::replicated::Told;
use super::{Admitted, NamespaceService};
use crate::consistency_tokens::{ConsistencyTokens, patience};
use crate::namespaces::Space;
use crate::service::consistency;

/// What a read requires, of whichever key.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    consistency: ConsistencyRequirement,
    tokens: Vec<Opened>,
    is_caught_up: bool,
    /// Nothing is loaded.
    pub only_if_cached: bool,
}

/// What tokens of a namespace are bound to.
pub(super) fn scope<'a>(space: &'a Space, tenant: &'a str) -> TokenScope<'a> {
    TokenScope { namespace: &space.config.name, tenant }
}

impl Wanted {
    /// Whether it asks for a load without any token.
    pub(super) fn is_strong(&self) -> bool {
        self.consistency == ConsistencyRequirement::Strong
    }

    /// What that is for a key. Memory is all that a namespace without an origin has: what it holds is as new as there is.
    pub(super) fn required<L: InvalidationLog, O: Origin, S: Store, W: World>(
        &self,
        replica: &Replica<L, O, S, W>,
        (space, tenant): (&Space, &str),
        key: &str,
    ) -> Required {
        replica.require(&self.tokens, &space.namespace.place(tenant, key), self.is_caught_up)
    }

    /// The same as the engine takes it.
    pub(super) fn of_key(&self, space: &Space, required: &Required) -> KeyRequirement {
        match space.origin {
            Some(_) => KeyRequirement { consistency: self.consistency, floor: required.floor },
            None => KeyRequirement::default(),
        }
    }
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World, A: Decider> NamespaceService<L, O, S, W, A> {
    /// What a read requires. Where a token names more of the log than is read, that is waited for, but not long: a load meets all.
    pub(super) async fn wanted(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        asked: Option<&Consistency>,
    ) -> Result<Wanted, Status> {
        let (only_if_cached, passed) = consistency::passed(asked);
        let consistency = consistency::requirement(asked)?;
        let tokens = self.tokens.open(&passed, scope(admitted.space, &admitted.tenant))?;
        self.tokens.count(consistency, !tokens.is_empty());
        let replica = self.replicated.replica();
        let is_caught_up = replica.is_behind(&tokens)
            && tokio::time::timeout(patience(admitted.deadline.remaining()), replica.catch_up()).await.is_ok();
        Ok(Wanted { consistency, tokens, is_caught_up, only_if_cached })
    }

    /// Makes the tokens of a tenant's writes.
    pub(super) fn write_tokens(&self, space: &Space, tenant: &str) -> WriteTokens<L, O, S, W> {
        let (namespace, tenant) = (space.config.name.clone(), tenant.to_owned());
        WriteTokens { replica: self.replicated.replica().clone(), tokens: self.tokens.clone(), namespace, tenant }
    }
}

/// Makes the tokens of a tenant's writes in a namespace.
pub(super) struct WriteTokens<L, O, S, W> {
    replica: Replica<L, O, S, W>,
    tokens: ConsistencyTokens,
    namespace: String,
    tenant: String,
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> WriteTokens<L, O, S, W> {
    /// Of a write that took this serial number when it began.
    pub(super) fn issue(&self, told: Told, serial: u64) -> Vec<u8> {
        let scope = TokenScope { namespace: &self.namespace, tenant: &self.tenant };
        self.tokens.seal(&self.replica.written(told.appended, serial), scope).into()
    }
}

/// The refusal of a key that holds nothing that is required, and is not to be loaded.
pub(super) fn not_stored() -> Status {
    fault::status(Reason::AnswerNotStored, "the key holds nothing that meets the requirement, and is not to be loaded")
}
