//! Watch: changes of a namespace as a stream, from now on or from where an earlier one ended.

use std::time::Duration;

use accord_api::accord::cache::v1::cache_service_invalidate_request::TagList;
use accord_api::accord::cache::v1::{
    WatchRequest, WatchResponse,
    watch_response::{Deleted, Event, Heartbeat, Invalidated, Put, Reset, invalidated::Scope},
};
use accord_api::accord::fault::v1::Reason;
use accord_mesh::guard::Decider;
use accord_readthrough::{Change, InvalidationLog, Origin, Refused, Replica, Store, Watcher, World};
use accord_runtime::fair_share::{Held, Holder};
use accord_runtime::fault::{self, StatusBuilder};
use futures_util::stream::{Stream, unfold};
use tonic::Status;

use super::resume_token::ResumeTokens;
use super::{Admitted, NamespaceService, version_text};
use crate::consistency_tokens::patience;
use crate::namespaces::Space;
use crate::service::refused;

/// A watcher on its way through the log.
pub(super) struct Watching<L, O, S, W> {
    /// Tells whether changes of others would be known here.
    replica: Replica<L, O, S, W>,
    watcher: Watcher,
    /// Whether it goes on where an earlier one ended.
    is_resumed: bool,
    tokens: ResumeTokens,
    /// What versions begin with.
    version_prefix: Box<str>,
    /// The longest silence.
    heartbeat: Duration,
    /// Its place among the watchers of the namespace.
    _place: Held,
}

/// What a stream says next.
enum Next<L, O, S, W> {
    First(Watching<L, O, S, W>),
    Further(Watching<L, O, S, W>),
    Nothing,
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World, A: Decider> NamespaceService<L, O, S, W, A> {
    /// Follows a tenant's keys that begin with a prefix, if this principal may have another watcher.
    pub(super) async fn begin_to_watch(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        request: &WatchRequest,
    ) -> Result<Watching<L, O, S, W>, Status> {
        let Admitted { space, tenant, caller, deadline, .. } = admitted;
        let holder = Holder::principal(&caller.as_ref().claims.sub, None);
        let place = space.watchers.hold(Some(holder), 1, 0).map_err(|_| too_many(space))?;
        let replica = self.replicated.replica().clone();
        self.replicated.check()?;
        let tokens = ResumeTokens::new(self.tokens.key(), replica.incarnation(), &space.config.name, tenant);
        let after = tokens.number(&request.resume_token);
        if after.is_some_and(|after| after > space.namespace.newest_change()) {
            // Another replica has told of it, and this one reads it soon; where not, the stream begins anew.
            let _ = tokio::time::timeout(patience(deadline.remaining()), replica.catch_up()).await.is_ok();
        }
        let (watcher, is_resumed) = space.namespace.watch(tenant, &request.prefix, after);
        let (version_prefix, heartbeat) = (self.version_prefix.as_str().into(), space.config.heartbeat);
        Ok(Watching { replica, watcher, is_resumed, tokens, version_prefix, heartbeat, _place: place })
    }
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> Watching<L, O, S, W> {
    /// What it is told, until it leaves or is too slow. The first message says whether anything may have been missed.
    pub(super) fn stream(self) -> impl Stream<Item = Result<WatchResponse, Status>> + Send {
        unfold(Next::First(self), |next| async {
            match next {
                Next::First(watching) => {
                    let first =
                        if watching.is_resumed { Event::Heartbeat(Heartbeat {}) } else { Event::Reset(Reset {}) };
                    Some((Ok(watching.say(first)), Next::Further(watching)))
                }
                Next::Further(mut watching) => match watching.next().await {
                    Ok(event) => Some((Ok(watching.say(event)), Next::Further(watching))),
                    Err(status) => Some((Err(status), Next::Nothing)),
                },
                Next::Nothing => None,
            }
        })
    }

    async fn next(&mut self) -> Result<Event, Status> {
        let silence = tokio::time::sleep(self.heartbeat);
        tokio::pin!(silence);
        loop {
            if let Some(change) = self.watcher.take_next().map_err(|lagged| too_slow(&lagged.to_string()))? {
                return Ok(self.event(&change));
            }
            tokio::select! {
                () = self.watcher.grown() => {}
                () = &mut silence => return self.heartbeat(),
            }
        }
    }

    /// Silence is said to be one only while nothing can have happened elsewhere unheard.
    fn heartbeat(&self) -> Result<Event, Status> {
        let is_known = self.replica.engine().is_verified();
        if is_known { Ok(Event::Heartbeat(Heartbeat {})) } else { Err(refused(&Refused::Unverified)) }
    }

    fn say(&self, event: Event) -> WatchResponse {
        WatchResponse { resume_token: self.tokens.issue(self.watcher.seen()), event: Some(event) }
    }

    fn event(&self, change: &Change) -> Event {
        let invalidated = |scope| Event::Invalidated(Invalidated { scope: Some(scope) });
        match change {
            Change::Put { key, version } => {
                let version = version_text(&self.version_prefix, *version);
                Event::Put(Put { key: key.to_string(), version })
            }
            Change::Deleted { key, .. } => Event::Deleted(Deleted { key: key.to_string() }),
            Change::Forgotten(key) => invalidated(Scope::Key(key.to_string())),
            Change::TagsInvalidated(tags) => invalidated(Scope::Tags(TagList { tags: tags.to_vec() })),
            Change::PrefixInvalidated(prefix) if prefix.is_empty() => invalidated(Scope::All(true)),
            Change::PrefixInvalidated(prefix) => invalidated(Scope::Prefix(prefix.to_string())),
        }
    }
}

fn too_slow(problem: &str) -> Status {
    fault::status(
        Reason::WatcherTooSlow,
        format!("{problem}: watch anew, and take all that was read before for unknown"),
    )
}

fn too_many(space: &Space) -> Status {
    let most = space.config.max_watchers;
    let message = format!("as many watch the namespace as may, of {most} in all, or this caller has its share of them");
    StatusBuilder::new(Reason::Overloaded, message).retry_after(Duration::from_secs(1)).build()
}
