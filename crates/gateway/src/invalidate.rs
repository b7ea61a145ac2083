//! What a mutation makes invalid, told to the cache in order.
//!
//! One task sends, so that the cache sees one sequence without gaps; what it can't deliver it keeps, newest per tag,
//! and goes on trying. A cache that sees a gap or a new sender treats what it loaded before as unverified.

use crate::{fault::Fault, inner, upstream::Call};
use accord_api::accord::cache::v1::{InvalidateRequest, invalidation_service_client::InvalidationServiceClient};
use accord_mesh::MeshClient;
use accord_runtime::{backoff::Backoff, deadline::Deadline, request::RequestId};
use accord_upstream::Client;
use accord_wire::Malformed;
use bytes::Bytes;
use opentelemetry::metrics::Counter;
use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{Notify, oneshot, watch};
use tonic::{Code, Status};
use uuid::Uuid;

/// Tags that may wait for a cache that is gone. Beyond it the sender begins a new life instead, which tells the cache
/// that it has missed something.
const MOST_WAITING: usize = 10_000;
/// Bytes of the tags that may wait.
const MOST_WAITING_BYTES: usize = 16 << 20;
/// Bytes of the tags of one batch, well below what the cache takes in one message.
const BATCH_BYTES: usize = 1 << 20;
const ATTEMPT: Duration = Duration::from_secs(1);
/// Waits between attempts. The last is short: what a cache that comes back has missed, it may still answer.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_millis(250);
const JITTER: f64 = 0.2;
/// How long a mutation waits for its invalidation before it answers as deferred.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the end of the process waits for invalidations that are under way.
const FAREWELL: Duration = Duration::from_secs(1);

/// How far an invalidation got before its mutation answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The cache has it.
    Done,
    /// It is kept and sent when the cache can be reached.
    Deferred,
}

/// The queue in front of the one sender.
#[derive(Clone)]
pub(crate) struct Invalidator(Arc<Queue>);

struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    under_way: watch::Sender<bool>,
    deferred: Counter<u64>,
}

#[derive(Default)]
struct Waiting {
    tags: BTreeSet<String>,
    bytes: usize,
    overflowed: bool,
    callers: Vec<oneshot::Sender<()>>,
}

impl Invalidator {
    /// Starts the sender. What it still holds when the process ends is lost with this life of the gateway. The next life has
    /// another name, which tells the cache to trust nothing it loaded before.
    pub(crate) fn start(client: Client, mesh: MeshClient) -> Self {
        let deferred = accord_runtime::telemetry::meter()
            .u64_counter("accord.gateway.invalidations.deferred")
            .with_description("Mutations that answered before the cache had their invalidations")
            .build();
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            under_way: watch::Sender::default(),
            deferred,
        });
        let sender =
            Sender { client: InvalidationServiceClient::new(client), mesh, incarnation: Uuid::new_v4(), sequence: 0 };
        tokio::spawn(sender.run(Arc::clone(&queue)));
        Self(queue)
    }

    /// Sends tags on their way, and waits until the cache has them, but not long.
    pub(crate) async fn invalidate(&self, tags: Vec<String>, deadline: Deadline) -> Reach {
        let (sender, acknowledged) = oneshot::channel();
        self.enqueue(tags, Some(sender));
        let patience = deadline.min(Deadline::after(PATIENCE));
        if tokio::time::timeout_at(patience.at(), acknowledged).await.is_ok_and(|said| said.is_ok()) {
            return Reach::Done;
        }
        self.0.deferred.add(1, &[]);
        Reach::Deferred
    }

    /// Waits, but not long, until the cache has all that is under way: where no other gateway follows, nobody else tells it.
    pub(crate) async fn finish(&self) {
        let mut under_way = self.0.under_way.subscribe();
        if tokio::time::timeout(FAREWELL, under_way.wait_for(|is| !is)).await.is_err() {
            tracing::warn!("stopped before the cache had every invalidation; it finds that out from the next gateway");
        }
    }

    fn enqueue(&self, tags: Vec<String>, caller: Option<oneshot::Sender<()>>) {
        {
            let mut waiting = self.0.waiting();
            waiting.add(tags);
            waiting.callers.retain(|caller| !caller.is_closed());
            waiting.callers.extend(caller);
            self.0.under_way.send_replace(true);
        }
        self.0.arrived.notify_one();
    }
}

impl Waiting {
    fn add(&mut self, tags: Vec<String>) {
        for tag in tags {
            let bytes = tag.len();
            if self.tags.insert(tag) {
                self.bytes += bytes;
            }
        }
        if self.tags.len() > MOST_WAITING || self.bytes > MOST_WAITING_BYTES {
            self.tags.clear();
            self.bytes = 0;
            self.overflowed = true;
        }
    }
}

impl Queue {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // A panic can't leave the set half changed.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Sees to it that a mutation's tags are invalidated however it ends: the upstream may have committed although nobody
/// waits for its answer any more.
pub(crate) struct Pending {
    invalidator: Invalidator,
    tags: Vec<String>,
}

impl Pending {
    /// The tags of a mutation that is about to be sent; none where it declares none.
    pub(crate) fn of(invalidator: Option<&Invalidator>, call: &Call, message: &Bytes) -> Result<Option<Self>, Fault> {
        let templates = &call.permit.entry().method.policy.invalidates;
        let Some(invalidator) = invalidator.filter(|_| !templates.is_empty()) else { return Ok(None) };
        let mut tags = Vec::with_capacity(templates.len());
        for template in templates {
            match template.expand(message, None) {
                Ok(tag) => tags.extend(tag),
                // Longer than any tag of a cached answer.
                Err(Malformed::TooLarge) => {}
                Err(_) => return Err(Fault::unreadable()),
            }
        }
        Ok(Some(Self { invalidator: invalidator.clone(), tags }))
    }

    /// The mutation has ended: invalidates where it may have changed something.
    pub(crate) async fn settle(mut self, may_have_acted: bool, deadline: Deadline) -> Option<Reach> {
        let tags = mem::take(&mut self.tags);
        if !may_have_acted {
            return None;
        }
        Some(self.invalidator.invalidate(tags, deadline).await)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.tags.is_empty() {
            self.invalidator.enqueue(mem::take(&mut self.tags), None);
        }
    }
}

/// The batches that tags are sent in. One at least, even if it is empty: it tells of a new sender.
fn batches(tags: BTreeSet<String>) -> Vec<Vec<String>> {
    let (mut batches, mut bytes) = (vec![Vec::new()], 0);
    for tag in tags {
        if bytes > 0 && bytes + tag.len() > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += tag.len();
        batches.last_mut().expect("there is always one").push(tag);
    }
    batches
}

/// Whether the cache will never take this batch.
fn is_refused(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted)
}

struct Sender {
    client: InvalidationServiceClient<Client>,
    mesh: MeshClient,
    incarnation: Uuid,
    sequence: u64,
}

impl Sender {
    async fn run(mut self, queue: Arc<Queue>) {
        loop {
            queue.arrived.notified().await;
            let batch = mem::take(&mut *queue.waiting());
            if batch.overflowed {
                self.begin_anew();
            }
            self.deliver(batch).await;
            let waiting = queue.waiting();
            queue.under_way.send_replace(waiting.overflowed || !waiting.callers.is_empty() || !waiting.tags.is_empty());
        }
    }

    /// A sender that the cache does not know: it then trusts nothing that it loaded before.
    fn begin_anew(&mut self) {
        self.incarnation = Uuid::new_v4();
        self.sequence = 0;
    }

    async fn deliver(&mut self, batch: Waiting) {
        for tags in batches(batch.tags) {
            self.deliver_one(tags).await;
        }
        for caller in batch.callers {
            // A caller that has stopped waiting has already answered as deferred.
            let _ = caller.send(());
        }
    }

    async fn deliver_one(&mut self, mut tags: Vec<String>) {
        self.sequence += 1;
        let mut has_failed = false;
        let mut backoff = Backoff::new(FIRST_WAIT, LAST_WAIT, JITTER);
        while let Err(status) = self.send(&tags).await {
            // Said once for each batch: how long it lasts is told by the count of deferred mutations.
            if !mem::replace(&mut has_failed, true) {
                tracing::warn!(code = %status.code(), reason = status.message(), tags = tags.len(), "invalidation deferred");
            }
            if is_refused(status.code()) {
                // Repeating it would hold up all that come after it. What can't be told tag by tag is told as a whole.
                tags.clear();
                self.begin_anew();
                self.sequence += 1;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn send(&mut self, tags: &[String]) -> Result<(), Status> {
        let deadline = Deadline::after(ATTEMPT);
        let incarnation = self.incarnation.to_string();
        let request = InvalidateRequest { tags: tags.to_vec(), incarnation, sequence: self.sequence };
        let request = inner::request(request, &self.mesh, deadline, &RequestId::new())?;
        let sending = tokio::time::timeout_at(deadline.at(), self.client.invalidate(request));
        sending.await.map_err(|_| Status::deadline_exceeded("the cache did not answer in time"))??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tags_are_sent_in_several_batches() {
        let tags: BTreeSet<_> = (0..100).map(|tag| format!("{tag:060000}")).collect();
        let batches = batches(tags.clone());
        assert!(batches.len() > 1);
        assert!(batches.iter().all(|batch| batch.iter().map(String::len).sum::<usize>() <= BATCH_BYTES));
        assert_eq!(batches.into_iter().flatten().collect::<BTreeSet<_>>(), tags);
        assert_eq!(super::batches(BTreeSet::new()).len(), 1, "a new sender is told of without a tag");
    }

    #[test]
    fn more_bytes_than_may_wait_are_told_as_a_gap() {
        let mut waiting = Waiting::default();
        waiting.add((0..MOST_WAITING_BYTES / 60_000).map(|tag| format!("{tag:060000}")).collect());
        assert!(!waiting.overflowed && waiting.bytes <= MOST_WAITING_BYTES);
        waiting.add(vec!["0".repeat(60_001)]);
        assert!(waiting.overflowed && waiting.tags.is_empty() && waiting.bytes == 0);
    }

    #[test]
    fn more_than_may_wait_is_told_as_a_gap() {
        let deferred = accord_runtime::telemetry::meter().u64_counter("deferred").build();
        let (arrived, under_way) = (Notify::new(), watch::Sender::default());
        let queue = Invalidator(Arc::new(Queue { waiting: Mutex::default(), arrived, under_way, deferred }));
        queue.enqueue((0..MOST_WAITING).map(|tag| tag.to_string()).collect(), None);
        queue.enqueue(vec!["0".to_owned()], None);
        let waiting = |queue: &Invalidator| {
            let waiting = queue.0.waiting();
            (waiting.tags.len(), waiting.overflowed)
        };
        assert_eq!(waiting(&queue), (MOST_WAITING, false), "a tag waits once");
        queue.enqueue(vec!["one more".to_owned()], None);
        assert_eq!(waiting(&queue), (0, true));
        queue.enqueue(vec!["later".to_owned()], None);
        assert_eq!(waiting(&queue), (1, true), "nothing takes the gap back");
    }
}
