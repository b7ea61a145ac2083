//! Writes of unknown outcome: the database may still carry one out after its caller was told that it failed. When it can't any
//! more, what has been loaded for the key meanwhile is forgotten, by all replicas that share a log.
//!
//! While the database is down, each write is one: so their number is bounded. Of a namespace that has more of them at a time, all keys
//! are forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accord_readthrough::{
    Change, Invalidation, InvalidationLog, Namespace, NamespaceChange, Origin, Refused, Replica, Store, World,
};
use tokio::time::{Instant, sleep_until};

/// How long after such a write the database may still carry it out: longer than it lets a statement run.
const OPEN_OUTCOME: Duration = Duration::from_secs(6);

/// Between two attempts to tell other replicas.
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// Keys that wait.
const MOST: usize = 4096;

/// The keys and namespaces that are to be forgotten.
#[derive(Debug)]
pub(crate) struct OpenOutcomes<L, O, S, W> {
    replica: Replica<L, O, S, W>,
    waiting: Arc<Mutex<Waiting>>,
}

impl<L, O, S, W> Clone for OpenOutcomes<L, O, S, W> {
    fn clone(&self) -> Self {
        Self { replica: self.replica.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they are due.
    keys: VecDeque<OpenKey>,
    /// Namespaces by their names. They are configured, so they are few.
    namespaces: HashMap<Box<str>, Whole>,
    /// Whether a task sees to them.
    is_followed: bool,
}

#[derive(Debug)]
struct OpenKey {
    due: Instant,
    namespace: Namespace,
    tenant: Box<str>,
    key: Box<str>,
}

/// All keys of a namespace.
#[derive(Debug)]
struct Whole {
    namespace: Namespace,
    due: Instant,
    /// Once more, for the writes that came after it was decided.
    again: Option<Instant>,
}

/// What is forgotten now.
enum Due {
    Key(OpenKey),
    Namespace(Namespace),
}

impl Waiting {
    fn push(&mut self, namespace: &Namespace, (tenant, key): (&str, &str), due: Instant) {
        if self.keys.len() < MOST {
            let (namespace, tenant, key) = (namespace.clone(), tenant.into(), key.into());
            return self.keys.push_back(OpenKey { due, namespace, tenant, key });
        }
        let whole = self.namespaces.entry(namespace.name().into());
        whole.and_modify(|whole| whole.again = Some(due)).or_insert_with(|| Whole {
            namespace: namespace.clone(),
            due,
            again: None,
        });
    }

    /// When something is due next.
    fn next(&self) -> Option<Instant> {
        let key = self.keys.front().map(|key| key.due);
        self.namespaces.values().map(|whole| whole.due).chain(key).min()
    }

    /// It could not be told: before all that is due later.
    fn put_back(&mut self, due: Due, again: Instant) {
        match due {
            Due::Key(key) => self.keys.push_front(OpenKey { due: again, ..key }),
            Due::Namespace(namespace) => {
                let whole = self.namespaces.entry(namespace.name().into());
                whole
                    .and_modify(|whole| whole.again = Some(std::mem::replace(&mut whole.due, again)))
                    .or_insert(Whole { namespace, due: again, again: None });
            }
        }
    }

    fn take(&mut self, now: Instant) -> Option<Due> {
        if self.keys.front().is_some_and(|key| key.due <= now) {
            return self.keys.pop_front().map(Due::Key);
        }
        let whole = self.namespaces.values_mut().find(|whole| whole.due <= now)?;
        let namespace = whole.namespace.clone();
        match whole.again.take() {
            Some(again) => whole.due = again,
            None => drop(self.namespaces.remove(namespace.name())),
        }
        Some(Due::Namespace(namespace))
    }
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> OpenOutcomes<L, O, S, W> {
    pub(crate) fn new(replica: &Replica<L, O, S, W>) -> Self {
        Self { replica: replica.clone(), waiting: Arc::default() }
    }

    /// Forgets a key whose write ended with nobody knowing how, once it can't be carried out any more.
    pub(super) fn forget_later(&self, namespace: &Namespace, place: (&str, &str)) {
        let mut waiting = self.lock();
        waiting.push(namespace, place, Instant::now() + OPEN_OUTCOME);
        if !std::mem::replace(&mut waiting.is_followed, true) {
            let all = self.clone();
            tokio::spawn(async move { all.follow().await });
        }
    }

    /// One task for all, for as long as something waits.
    async fn follow(&self) {
        loop {
            let next = {
                let mut waiting = self.lock();
                let next = waiting.next();
                waiting.is_followed = next.is_some();
                next
            };
            let Some(next) = next else { return };
            sleep_until(next).await;
            self.forget_due().await;
        }
    }

    async fn forget_due(&self) {
        let now = Instant::now();
        loop {
            // Under the lock no longer than for this.
            let due = self.lock().take(now);
            let Some(due) = due else { return };
            if !self.replica.is_shared() {
                self.forget(&due);
            } else if self.tell(&due).await.is_err() {
                self.lock().put_back(due, Instant::now() + TELL_AGAIN);
                return;
            }
        }
    }

    fn forget(&self, due: &Due) {
        match due {
            Due::Key(OpenKey { namespace, tenant, key, .. }) => {
                self.replica.engine().forget_key(namespace, tenant, key);
            }
            Due::Namespace(namespace) => self.replica.engine().forget_namespace(namespace),
        }
    }

    /// All replicas forget it, this one among them.
    async fn tell(&self, due: &Due) -> Result<(), Refused> {
        let change = match due {
            Due::Key(OpenKey { namespace, tenant, key, .. }) => {
                NamespaceChange::new(namespace.name(), tenant, Change::Forgotten(key.clone()))
            }
            Due::Namespace(namespace) => NamespaceChange::everything(namespace.name()),
        };
        self.replica.invalidate(Invalidation::of_namespace(change)).await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use accord_readthrough::{Expected, Live, MemoryStore, NamespaceLimits, Write};

    use super::*;
    use crate::config::Config;
    use crate::log::{LiveEngine, Log};
    use crate::origin::Loader;
    use crate::serve;

    fn put(engine: &LiveEngine, namespace: &Namespace, key: &str) {
        let (tags, expected, ttl) = (&[][..], Expected::Anything, Duration::from_hours(1));
        let written = engine.put(namespace, Write { tenant: "north", key, value: "milk".into(), tags, ttl, expected });
        assert!(written.unwrap().stored);
    }

    fn is_held(engine: &LiveEngine, namespace: &Namespace, key: &str) -> bool {
        engine.get(namespace, "north", key).is_some()
    }

    fn begin() -> (LiveEngine, Namespace, OpenOutcomes<Log, Loader, MemoryStore, Live>) {
        let engine = serve::engine(Config::default().limits());
        let namespace = engine.namespace("carts", NamespaceLimits { bytes: 1 << 20, entries: 100, changes: 10 });
        let open = OpenOutcomes::new(&serve::alone(&Config::default(), &engine));
        (engine, namespace, open)
    }

    // Time is paused here: a sleep moves it on, and lets the task run that is due until then.
    #[tokio::test(start_paused = true)]
    async fn key_is_forgotten_when_its_write_can_not_be_carried_out_any_more() {
        let (engine, namespace, open) = begin();
        for key in ["ada", "bob"] {
            put(&engine, &namespace, key);
        }
        open.forget_later(&namespace, ("north", "ada"));
        tokio::time::sleep(OPEN_OUTCOME / 2).await;
        assert!(is_held(&engine, &namespace, "ada"));
        tokio::time::sleep(OPEN_OUTCOME).await;
        assert_eq!(["ada", "bob"].map(|key| is_held(&engine, &namespace, key)), [false, true]);
        assert!(!open.lock().is_followed, "the task has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_beyond_the_bound_take_no_room_and_their_keys_are_forgotten_with_all_others() {
        let (engine, namespace, open) = begin();
        for n in 0..MOST + 100 {
            open.forget_later(&namespace, ("north", &n.to_string()));
        }
        tokio::time::sleep(OPEN_OUTCOME / 2).await;
        let last = (MOST + 101).to_string();
        open.forget_later(&namespace, ("north", &last));
        let sizes = |waiting: &Waiting| (waiting.keys.len(), waiting.namespaces.len());
        assert_eq!(sizes(&open.lock()), (MOST, 1));
        put(&engine, &namespace, &last);
        tokio::time::sleep(OPEN_OUTCOME * 2 / 3).await;
        assert!(!is_held(&engine, &namespace, &last), "with those before it");
        put(&engine, &namespace, &last);
        tokio::time::sleep(OPEN_OUTCOME).await;
        assert!(!is_held(&engine, &namespace, &last), "in its own time");
        assert!(open.lock().namespaces.is_empty());
    }
}
