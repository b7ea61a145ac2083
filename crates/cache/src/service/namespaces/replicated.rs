//! What is done to keys where replicas share a log: all of them know before it is acknowledged. A process that is alone tells nobody.

use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::Acknowledgement;
use accord_readthrough::{Change, Engine, Invalidation, InvalidationLog, Namespace, NamespaceChange, Origin};
use accord_readthrough::{Refused, Replica, Store, World};
use accord_runtime::{deadline::Deadline, fault};
use tonic::Status;

use super::open_outcomes::OpenOutcomes;
use crate::service::{acknowledged, refused};

/// What a write waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub deadline: Deadline,
    /// For no other replica.
    pub is_local: bool,
}

/// What is known of a change when its write is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// The incarnation of the log that took it, and the number that it gave, where replicas share one.
    pub appended: Option<(u128, u64)>,
    /// Other replicas were not waited for.
    pub is_local: bool,
}

impl Told {
    /// There are no others.
    pub(super) const ALONE: Self = Self { appended: None, is_local: false };

    pub(super) fn acknowledgement(self) -> i32 {
        let all = Acknowledgement::AllReplicas;
        (if self.is_local { Acknowledgement::Local } else { all }).into()
    }
}

/// The engine of namespaces, and what is known to other replicas of it. Clones share everything.
#[derive(Debug)]
pub(crate) struct Replicated<L, O, S, W> {
    replica: Replica<L, O, S, W>,
    open_outcomes: OpenOutcomes<L, O, S, W>,
}

impl<L, O, S, W> Clone for Replicated<L, O, S, W> {
    fn clone(&self) -> Self {
        Self { replica: self.replica.clone(), open_outcomes: self.open_outcomes.clone() }
    }
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> Replicated<L, O, S, W> {
    pub(crate) fn new(replica: Replica<L, O, S, W>) -> Self {
        Self { open_outcomes: OpenOutcomes::new(&replica), replica }
    }

    pub(super) fn engine(&self) -> &Engine<O, S, W> {
        self.replica.engine()
    }

    pub(super) fn replica(&self) -> &Replica<L, O, S, W> {
        &self.replica
    }

    /// Whether there are other replicas.
    pub(super) fn is_shared(&self) -> bool {
        self.replica.is_shared()
    }

    /// Refuses, before anything is written, what could not be told to others.
    pub(super) fn check(&self) -> Result<(), Status> {
        let is_known = !self.is_shared() || self.engine().is_verified();
        if is_known { Ok(()) } else { Err(refused(&Refused::Unverified)) }
    }

    /// Invalidates keys of a tenant, by tags or by a prefix.
    pub(super) async fn invalidate(
        &self,
        (namespace, tenant): (&Namespace, &str),
        change: Change,
        until: Until,
    ) -> Result<Told, Status> {
        if self.is_shared() {
            return self.tell((namespace, tenant), change, until).await;
        }
        match change {
            Change::TagsInvalidated(tags) => self.engine().invalidate_tags(namespace, tenant, &tags),
            Change::PrefixInvalidated(prefix) => self.engine().invalidate_prefix(namespace, tenant, &prefix),
            Change::Put { .. } | Change::Deleted { .. } | Change::Forgotten(_) => {}
        }
        Ok(Told::ALONE)
    }

    /// Tells other replicas what was done, and waits until none answers with what was before, where that is asked for.
    pub(super) async fn tell(
        &self,
        (namespace, tenant): (&Namespace, &str),
        change: Change,
        until: Until,
    ) -> Result<Told, Status> {
        if !self.is_shared() {
            return Ok(Told::ALONE);
        }
        let change = Invalidation::of_namespace(NamespaceChange::new(namespace.name(), tenant, change));
        let appended = self.replica.invalidate(change).await.map_err(|error| refused(&error))?;
        let position = appended.number.map(|number| (appended.incarnation, number));
        let told = Told { appended: position, is_local: until.is_local };
        let Some(number) = appended.number.filter(|_| !until.is_local) else { return Ok(told) };
        let confirmed = acknowledged(&self.replica, appended.incarnation, number);
        let in_time = tokio::time::timeout(until.deadline.remaining(), confirmed).await;
        in_time.unwrap_or_else(|_| Err(not_confirmed())).map(|()| told)
    }

    /// Lets other replicas know of what was done to a key of which they could not be told, or nobody knows how it ended.
    pub(super) fn tell_later(&self, namespace: &Namespace, place: (&str, &str)) {
        self.open_outcomes.forget_later(namespace, place);
    }
}

fn not_confirmed() -> Status {
    fault::status(
        Reason::DeadlineExceeded,
        "it was done, and not all replicas of the cache have confirmed that in time",
    )
}
