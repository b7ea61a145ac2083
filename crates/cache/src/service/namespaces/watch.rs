//! Watch: changes of a namespace as a stream, from now on or from where an earlier one ended.

use std::time::Duration;

use accord_api::accord::cache::v1::cache_service_invalidate_request::TagList;
use accord_api::accord::cache::v1::{
    WatchRequest, WatchResponse,
    watch_response::{Deleted, Event, Heartbeat, Invalidated, Put, Reset, invalidated::Scope},
};
use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{Change, Watcher};
use accord_runtime::fair_share::{Held, Holder};
use accord_runtime::fault::{self, StatusBuilder};
use futures_util::stream::{Stream, unfold};
use tonic::Status;

use super::resume_token::{ResumeTokens, StreamTokens};
use crate::namespaces::Space;

/// A watcher on its way through the log.
pub(super) struct Watching {
    watcher: Watcher,
    /// Whether it goes on where an earlier one ended.
    is_resumed: bool,
    tokens: StreamTokens,
    /// What versions begin with.
    version_prefix: Box<str>,
    /// The longest silence.
    heartbeat: Duration,
    /// Its place among the watchers of the namespace.
    _place: Held,
}

/// What a stream says next.
enum Next {
    First(Watching),
    Further(Watching),
    Nothing,
}

impl Watching {
    /// Of a tenant's keys in a namespace that begin with a prefix, if this principal may have another watcher.
    pub(super) fn begin(
        space: &Space,
        (tenant, subject): (&str, &str),
        request: &WatchRequest,
        (version_prefix, tokens): (&str, &ResumeTokens),
    ) -> Result<Self, Status> {
        let place = space.watchers.hold(Some(Holder::principal(subject, None)), 1, 0).map_err(|_| too_many(space))?;
        let tokens = tokens.of(&space.config.name, tenant);
        let after = tokens.number(&request.resume_token);
        let (watcher, is_resumed) = space.namespace.watch(tenant, &request.prefix, after);
        let (version_prefix, heartbeat) = (version_prefix.into(), space.config.heartbeat);
        Ok(Self { watcher, is_resumed, tokens, version_prefix, heartbeat, _place: place })
    }

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
                () = &mut silence => return Ok(Event::Heartbeat(Heartbeat {})),
            }
        }
    }

    fn say(&self, event: Event) -> WatchResponse {
        WatchResponse { resume_token: self.tokens.issue(self.watcher.seen()), event: Some(event) }
    }

    fn event(&self, change: &Change) -> Event {
        let invalidated = |scope| Event::Invalidated(Invalidated { scope: Some(scope) });
        match change {
            Change::Put { key, version } => {
                let version = super::version_text(&self.version_prefix, *version);
                Event::Put(Put { key: key.to_string(), version })
            }
            Change::Deleted(key) => Event::Deleted(Deleted { key: key.to_string() }),
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
