//! Cache invalidation: the tags that a mutation makes invalid are sent to the cache in order.
//!
//! One task sends, so that the cache sees one sequence without gaps; what it can't deliver it keeps, newest per tag,
//! and goes on trying. A cache that sees a gap treats what it loaded before as unverified. So it does where a sender is gone
//! without a goodbye: a gateway that starts tells of itself, and reads nothing through the cache before the cache knows that
//! no other is gone with something undelivered; it shows by heartbeats that it lives; and it says goodbye.

mod acknowledge;
mod backlog;
mod delivery;
mod pending;
mod waits;

use crate::{declared_metrics::INVALIDATION_DURATION, internal_call, near::NearCache};
use accord_api::accord::cache::v1::{
    InvalidateRequest, InvalidateResponse, invalidation_service_client::InvalidationServiceClient,
};
use accord_mesh::MeshClient;
use accord_readthrough::{Asked, Tag};
use accord_runtime::{backoff::Backoff, deadline::Deadline, fault, request::RequestId};
use accord_upstream::Client;
use acknowledge::Acknowledger;
use backlog::{Backlog, batches};
pub(crate) use delivery::Delivery;
use delivery::WriteToken;
use opentelemetry::{KeyValue, metrics::Histogram};
use pending::InvalidTag;
pub(crate) use pending::PendingInvalidation;
use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot, watch};
use tonic::{Code, Status};
use uuid::Uuid;
use waits::{Waiter, Waits};

/// Tenants of a batch whose writes get tokens of their own, as many as the cache takes; those of others get one that asks for a load.
const MAX_TENANTS: usize = 256;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Waits between attempts. The last is short: what a cache that comes back has missed, it may still answer.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_millis(250);
const JITTER: f64 = 0.2;
/// The longest time without a word to the cache, which takes a sender for gone that is silent for four of them when another
/// comes.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// The same while somebody waits for the answer: this gateway is not settled, or another one.
const EARLY_HEARTBEAT: Duration = Duration::from_millis(50);
/// How long the first reads of a new gateway wait at most for its login, where auth is away: public ones need none.
const LOGIN_WAIT: Duration = Duration::from_secs(1);
/// How long a mutation waits for its invalidation before it answers as deferred.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// How long shutdown waits for invalidations that are being sent.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// The queue in front of the one sender.
#[derive(Clone)]
pub(crate) struct Invalidator(Arc<Queue>);

/// Whether the cache knows of this life of the gateway, and that none before it is gone with something undelivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Announcement {
    /// It is being told for the first time.
    #[default]
    Pending,
    /// It could not be told yet, or does not know of the others yet.
    Deferred,
    /// It knows.
    Settled,
}

struct Queue {
    near: Arc<NearCache>,
    backlog: Mutex<Backlog>,
    arrived: Notify,
    is_sending: watch::Sender<bool>,
    announcement: watch::Sender<Announcement>,
    durations: Histogram<f64>,
}

impl Invalidator {
    /// Starts the sender. What it still holds when the process ends is lost: then it has said no goodbye, from which the cache
    /// learns to trust nothing that it loaded before.
    pub(crate) fn start(client: Client, near: Arc<NearCache>, mesh: MeshClient) -> Self {
        let durations = INVALIDATION_DURATION.histogram(&accord_runtime::telemetry::meter());
        // Leases are for this name, so that this gateway does not wait for its own.
        let incarnation = near.holder();
        let queue = Arc::new(Queue {
            near,
            backlog: Mutex::default(),
            arrived: Notify::new(),
            is_sending: watch::Sender::default(),
            announcement: watch::Sender::default(),
            durations,
        });
        let sender = Sender {
            client: InvalidationServiceClient::new(client),
            mesh,
            queue: Arc::clone(&queue),
            incarnation,
            sequence: 0,
            round: 0,
            is_awaited: false,
        };
        tokio::spawn(sender.run());
        Self(queue)
    }

    /// Whether the cache knows of this life, and so serves nothing that an earlier one may have failed to invalidate. Waits for
    /// the first attempt to tell it, and no longer.
    pub(crate) async fn is_announced(&self, deadline: Deadline) -> bool {
        let announcement = &self.0.announcement;
        if *announcement.borrow() == Announcement::Pending {
            let mut told = announcement.subscribe();
            let told = told.wait_for(|told| *told != Announcement::Pending);
            // What it is then is looked at below.
            let _ = tokio::time::timeout_at(deadline.at(), told).await.is_ok();
        }
        *announcement.borrow() == Announcement::Settled
    }

    /// Queues tags, and waits, but not long, until the cache has them and, unless that is enough, others' leases are over.
    pub(crate) async fn invalidate(
        &self,
        tags: Vec<InvalidTag>,
        (tenant, is_local): (Arc<str>, bool),
        deadline: Deadline,
    ) -> Delivery {
        let (sender, acknowledged) = oneshot::channel();
        let hashed: Arc<[Tag]> = tags.iter().map(InvalidTag::hashed).collect();
        let token = WriteToken::default();
        let waiter = Waiter { tags: Arc::clone(&hashed), tenant, token: token.clone(), is_local, acknowledged: sender };
        self.enqueue(tags, Some(waiter));
        let (begun, wait) = (Instant::now(), deadline.min(Deadline::after(MAX_WAIT)));
        let is_acknowledged = tokio::time::timeout_at(wait.at(), acknowledged).await.is_ok_and(|sent| sent.is_ok());
        let outcome = match (is_acknowledged, is_local) {
            (true, false) => "acknowledged",
            (true, true) => "local",
            (false, _) => "deferred",
        };
        self.0.durations.record(begun.elapsed().as_secs_f64(), &[KeyValue::new("outcome", outcome)]);
        if !is_acknowledged {
            // Whether the cache has it is open, and its reads through this gateway see the write all the same.
            self.0.near.acknowledged(hashed.iter().copied());
        }
        Delivery { is_acknowledged, is_local, token }
    }

    /// Waits, but not long, until the cache has all that is queued, and says goodbye where no call can add to it any more.
    pub(crate) async fn finish(&self, is_idle: bool) {
        if is_idle {
            self.0.backlog().is_last = true;
            self.0.is_sending.send_replace(true);
            self.0.arrived.notify_one();
        }
        let mut is_sending = self.0.is_sending.subscribe();
        if tokio::time::timeout(SHUTDOWN_WAIT, is_sending.wait_for(|is| !is)).await.is_err() {
            tracing::warn!("stopped before the cache had every invalidation; it finds that out from the next gateway");
        }
    }

    fn enqueue(&self, tags: Vec<InvalidTag>, caller: Option<Waiter>) {
        {
            let mut backlog = self.0.backlog();
            backlog.add(tags);
            backlog.callers.retain(|caller| !caller.acknowledged.is_closed());
            backlog.callers.extend(caller);
            self.0.is_sending.send_replace(true);
        }
        self.0.arrived.notify_one();
    }
}

impl Queue {
    fn backlog(&self) -> std::sync::MutexGuard<'_, Backlog> {
        // A panic can't leave the set half changed.
        self.backlog.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether the cache will never take this batch.
fn is_refused(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}

struct Sender {
    client: InvalidationServiceClient<Client>,
    mesh: MeshClient,
    queue: Arc<Queue>,
    incarnation: Uuid,
    sequence: u64,
    /// The newest round that the cache has told.
    round: u64,
    /// Whether somebody waits for its next word.
    is_awaited: bool,
}

impl Sender {
    async fn run(mut self) {
        self.announce().await;
        loop {
            let wait = if self.is_awaited { EARLY_HEARTBEAT } else { HEARTBEAT };
            if tokio::time::timeout(wait, self.queue.arrived.notified()).await.is_err() {
                // One that fails says nothing: whoever needs the cache finds it out.
                let _ = self.send(&[], &[], false).await.is_ok();
                continue;
            }
            let batch = mem::take(&mut *self.queue.backlog());
            let is_last = batch.is_last;
            if batch.overflowed {
                self.sequence += 1;
            }
            if batch.overflowed || !batch.tags.is_empty() || !batch.callers.is_empty() {
                self.deliver(batch).await;
            }
            if is_last {
                self.say_goodbye().await;
            }
            let backlog = self.queue.backlog();
            let is_sending = backlog.overflowed || !backlog.callers.is_empty() || !backlog.tags.is_empty();
            self.queue.is_sending.send_replace(is_sending);
            if is_last {
                return;
            }
        }
    }

    /// Tells the cache that nothing is left to deliver, until it knows or the process ends.
    async fn say_goodbye(&mut self) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        while self.send(&[], &[], true).await.is_err() {
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Tells the cache of this life, until it knows.
    async fn announce(&mut self) {
        self.sequence += 1;
        // An attempt before the gateway has logged in is in vain, and the first reads would go past the cache.
        let mut is_ready = self.mesh.readiness();
        let _ = tokio::time::timeout(LOGIN_WAIT, is_ready.wait_for(|is_ready| *is_ready)).await.is_ok();
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        while let Err(status) = self.send(&[], &[], false).await {
            if self.queue.announcement.send_replace(Announcement::Deferred) == Announcement::Pending {
                let (reason, error) = (fault::reason_or_code(&status), status.message());
                tracing::info!(reason, error, "the cache can't be told yet that this gateway is a new one");
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn deliver(&mut self, batch: Backlog) {
        let mut waits = Waits::default();
        let mut is_whole = !batch.overflowed;
        let tenants: BTreeSet<_> = batch.callers.iter().map(|caller| Arc::clone(&caller.tenant)).collect();
        let tenants: Vec<_> = tenants.into_iter().take(MAX_TENANTS).collect();
        for tags in batches(batch.tags) {
            is_whole &= self.deliver_one(tags, &tenants, &mut waits).await;
        }
        // Also to those who are told no more than that: each batch of these left after they had come.
        batch.callers.iter().for_each(|caller| waits.tell_token(caller));
        // The next batch leaves meanwhile. Where not all tags were told, writes answer as deferred: how long the leases on them last
        // is not known for sure.
        let callers = batch.callers.into_iter().filter(|_| is_whole);
        let Some(number) = waits.number() else { return callers.for_each(|caller| waits.acknowledge(caller)) };
        // The log has it, and the copies here are gone.
        let (local, others): (Vec<_>, Vec<_>) = callers.partition(|caller| caller.is_local);
        local.into_iter().for_each(Waiter::acknowledge);
        tokio::spawn(self.acknowledger().acknowledge(number, others));
    }

    /// Tells the cache of a batch; whether of each of its tags.
    async fn deliver_one(&mut self, mut tags: Vec<InvalidTag>, tenants: &[Arc<str>], waits: &mut Waits) -> bool {
        self.sequence += 1;
        let (mut has_failed, mut is_whole) = (false, true);
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        let response = loop {
            let status = match self.send(&tags, tenants, false).await {
                Ok(response) => break response,
                Err(status) => status,
            };
            // Logged once for each batch: how long it lasts shows in the count of deferred mutations.
            if !mem::replace(&mut has_failed, true) {
                let (reason, error) = (fault::reason_or_code(&status), status.message());
                tracing::warn!(
                    reason,
                    error,
                    tags = tags.len(),
                    "invalidation deferred: it is sent again until the cache has it"
                );
            }
            if is_refused(status.code()) {
                // Repeating it would hold up all that come after it. What can't be invalidated tag by tag is
                // invalidated as a whole, since a number is missing.
                tags.clear();
                is_whole = false;
                self.sequence += 2;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        };
        let tags: Vec<_> = tags.iter().map(InvalidTag::hashed).collect();
        waits.note(&tags, &response);
        waits.note_tokens(tenants, &response.consistency_tokens);
        // The cache does not wait for the copies of the gateway that writes: they go now, before anybody answers.
        self.queue.near.acknowledged(tags);
        is_whole
    }

    async fn send(
        &mut self,
        tags: &[InvalidTag],
        tenants: &[Arc<str>],
        is_last: bool,
    ) -> Result<InvalidateResponse, Status> {
        let deadline = Deadline::after(ATTEMPT_TIMEOUT);
        let incarnation = self.incarnation.to_string();
        let names = |expires| tags.iter().filter(move |tag| tag.expires == expires).map(|tag| tag.name.clone());
        let (tags, expired_tags) = (names(false).collect(), names(true).collect());
        let (sequence, round) = (self.sequence, self.round);
        let token_tenants = tenants.iter().map(|tenant| (**tenant).to_owned()).collect();
        let request = InvalidateRequest { tags, incarnation, sequence, round, is_last, expired_tags, token_tenants };
        let request = internal_call::request(request, &self.mesh, deadline, &RequestId::new())?;
        let left = self.queue.near.begin();
        let sending = tokio::time::timeout_at(deadline.at(), self.client.invalidate(request));
        let response = sending.await.map_err(|_| Status::deadline_exceeded("the cache did not answer in time"))??;
        let mut response = response.into_inner();
        // Other replicas may still answer with what is missing. Only who becomes settled has to wait for them.
        if response.is_settled && *self.queue.announcement.borrow() != Announcement::Settled {
            response.is_settled = self.acknowledger().is_acknowledged(&response).await;
        }
        self.heed(left, &response);
        Ok(response)
    }

    fn acknowledger(&self) -> Acknowledger {
        Acknowledger { client: self.client.clone(), mesh: self.mesh.clone(), near: Arc::clone(&self.queue.near) }
    }

    /// What the cache knows of this gateway, whether it waits to hear of it again, and what that makes of the copies here.
    fn heed(&mut self, left: Asked, answer: &InvalidateResponse) {
        self.queue.near.saw_two(left, &answer.incarnation);
        if answer.wait.is_some() {
            self.queue.near.acknowledged_all();
        }
        self.is_awaited = !answer.is_settled || answer.round != self.round;
        self.round = answer.round;
        let known = if answer.is_settled { Announcement::Settled } else { Announcement::Deferred };
        self.queue.announcement.send_if_modified(|announcement| mem::replace(announcement, known) != known);
    }
}

#[cfg(test)]
mod tests;
