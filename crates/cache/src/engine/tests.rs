//! Stories of single reads, on Tokio, with an origin that a test holds in its hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::*;

/// An origin whose loads wait until the test answers them.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<oneshot::Sender<Loaded>>>>);

impl Origin for Held {
    type Call = ();

    async fn load(&self, (): ()) -> Loaded {
        let (answer, answered) = oneshot::channel();
        self.0.lock().unwrap().push(answer);
        answered.await.expect("the origin panics where the test drops its load")
    }
}

impl Held {
    /// The oldest load that waits.
    async fn next(&self) -> oneshot::Sender<Loaded> {
        for _ in 0..1_000 {
            if let Some(load) = self.take() {
                return load;
            }
            tokio::task::yield_now().await;
        }
        panic!("nothing is loaded");
    }

    fn take(&self) -> Option<oneshot::Sender<Loaded>> {
        let mut loads = self.0.lock().unwrap();
        if loads.is_empty() { None } else { Some(loads.remove(0)) }
    }
}

/// A world whose time the test moves.
#[derive(Clone, Default)]
struct Stopped(Arc<Mutex<Moment>>);

impl World for Stopped {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }

    fn chance(&self) -> f64 {
        0.0
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

impl Stopped {
    fn pass(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        *now = now.after(Duration::from_secs(seconds));
    }
}

type Subject = Engine<Held, Memory, Stopped>;

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(10),
    stale_while_revalidate: Duration::from_secs(5),
    stale_if_error: Duration::from_mins(1),
    negative_ttl: Duration::ZERO,
    max_bytes: 10,
};

fn subject() -> (Subject, Held, Stopped) {
    let bounds = Bounds {
        capacity: 1 << 20,
        waiters: 3,
        flights: 2,
        tags: 100,
        rest: Duration::from_secs(1),
        uncacheable: Duration::from_secs(10),
    };
    let (origin, world) = (Held::default(), Stopped::default());
    let metrics = Metrics::new(&opentelemetry::global::meter("test"));
    let store = Memory::new(bounds.capacity, |_| {});
    (Engine::new(origin.clone(), store, world.clone(), bounds, metrics), origin, world)
}

fn of(name: &str) -> Read<()> {
    let identity =
        Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes: name.as_bytes() };
    Read {
        key: Key::of(&identity),
        policy: POLICY,
        tags: [Tag::named(name)].into(),
        wish: Wish::Contract,
        patience: Duration::from_secs(100),
        call: (),
    }
}

fn says(text: &'static str) -> Loaded {
    Loaded { load: Ok(Bytes::from_static(text.as_bytes())), tags: Some(Vec::new()) }
}

fn fails(code: i32) -> Loaded {
    Loaded { load: Err(Failure { code, ..Failure::default() }), tags: Some(Vec::new()) }
}

fn ask(engine: &Subject, read: Read<()>) -> tokio::task::JoinHandle<Result<Answer, Overload>> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.read(&read).await })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn stored(engine: &Subject, origin: &Held, name: &str, text: &'static str) {
    let asked = ask(engine, of(name));
    origin.next().await.send(says(text)).unwrap();
    assert!(asked.await.unwrap().unwrap().stored);
}

#[tokio::test]
async fn one_load_answers_all_who_ask_and_then_the_store_does() {
    let (engine, origin, world) = subject();
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    world.pass(2);
    load.send(says("1")).unwrap();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!((first.outcome, first.stored, first.collapsed), (Outcome::Miss, true, false));
    assert_eq!((second.outcome, second.stored, second.collapsed), (Outcome::Miss, false, true));
    world.pass(1);
    let third = engine.read(&of("milk")).await.unwrap();
    assert_eq!((third.outcome, third.age), (Outcome::Hit, Duration::from_secs(3)));
    assert!(origin.take().is_none());
}

#[tokio::test]
async fn a_read_after_an_invalidation_does_not_join_the_load_before_it() {
    let (engine, origin, _) = subject();
    let before = ask(&engine, of("milk"));
    let old = origin.next().await;
    engine.invalidate([Tag::named("milk")]);
    let after = ask(&engine, of("milk"));
    origin.next().await.send(says("new")).unwrap();
    assert_eq!(after.await.unwrap().unwrap().load.unwrap(), "new");
    old.send(says("old")).unwrap();
    let before = before.await.unwrap().unwrap();
    assert_eq!((before.load.unwrap(), before.stored), (Bytes::from_static(b"old"), false));
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn an_invalidation_by_a_tag_of_the_answer_reaches_loads_under_way() {
    let (engine, origin, _) = subject();
    let before = ask(&engine, of("list"));
    let old = origin.next().await;
    engine.invalidate([Tag::named("product/1")]);
    let after = ask(&engine, of("list"));
    settle().await;
    old.send(Loaded { tags: Some(vec![Tag::named("product/1")]), ..says("old") }).unwrap();
    assert_eq!(before.await.unwrap().unwrap().load.unwrap(), "old");
    origin.next().await.send(says("new")).unwrap();
    assert_eq!(after.await.unwrap().unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn a_load_outlives_its_first_caller_and_ends_with_the_last() {
    let (engine, origin, _) = subject();
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    first.abort();
    settle().await;
    assert!(!load.is_closed());
    second.abort();
    settle().await;
    assert!(load.is_closed());
}

#[tokio::test]
async fn a_reader_whose_time_is_not_over_loads_again_where_another_one_had_too_little() {
    let (engine, origin, world) = subject();
    let hurried = |seconds| Read { patience: Duration::from_secs(seconds), ..of("milk") };
    let short = ask(&engine, hurried(2));
    let first = origin.next().await;
    let (long, longer) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    settle().await;
    world.pass(2);
    first.send(fails(4)).unwrap();
    assert_eq!(short.await.unwrap().unwrap().load.unwrap_err().code, 4);
    let second = origin.next().await;
    settle().await;
    assert!(origin.take().is_none(), "those who go on share a load");
    second.send(says("1")).unwrap();
    assert_eq!(long.await.unwrap().unwrap().load.unwrap(), "1");
    assert_eq!(longer.await.unwrap().unwrap().load.unwrap(), "1");
}

#[tokio::test]
async fn readers_with_little_time_cut_a_patient_one_short_only_once() {
    let (engine, origin, world) = subject();
    let hurried = || Read { patience: Duration::from_secs(2), ..of("milk") };
    let short = ask(&engine, hurried());
    let first = origin.next().await;
    let long = ask(&engine, of("milk"));
    settle().await;
    world.pass(2);
    let _next = ask(&engine, Read { wish: Wish::Strong, ..hurried() });
    let _second = origin.next().await;
    first.send(fails(4)).unwrap();
    assert_eq!(short.await.unwrap().unwrap().load.unwrap_err().code, 4);
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(long.await.unwrap().unwrap().load.unwrap(), "1");
}

#[tokio::test]
async fn an_origin_that_gives_up_by_itself_has_failed_for_all_who_wait() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.pass(100);
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    world.pass(50);
    load.send(fails(4)).unwrap();
    for answer in [first, second] {
        assert_eq!(answer.await.unwrap().unwrap().load.unwrap_err().code, 4);
    }
    assert!(origin.take().is_none());
}

#[tokio::test]
async fn a_panic_of_a_load_is_internal_to_those_who_wait_and_the_next_one_runs() {
    let (engine, origin, _) = subject();
    let asked = ask(&engine, of("milk"));
    drop(origin.next().await);
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, 13);
    stored(&engine, &origin, "milk", "1").await;
}

#[tokio::test]
async fn waiters_and_loads_are_bounded() {
    let (engine, origin, _) = subject();
    let _waiting: Vec<_> = (0..3).map(|_| ask(&engine, of("milk"))).collect();
    let _load = origin.next().await;
    settle().await;
    assert_eq!(engine.read(&of("milk")).await.unwrap_err(), Overload::Waiters);
    let _bread = ask(&engine, of("bread"));
    let _second = origin.next().await;
    assert_eq!(engine.read(&of("salt")).await.unwrap_err(), Overload::Flights);
}

#[tokio::test]
async fn a_stale_answer_is_served_while_one_reload_runs() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.pass(12);
    for _ in 0..3 {
        let stale = engine.read(&of("milk")).await.unwrap();
        assert_eq!((stale.outcome, stale.stale), (Outcome::Hit, Some(Stale::Revalidating)));
    }
    origin.next().await.send(says("2")).unwrap();
    settle().await;
    assert!(origin.take().is_none());
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "2");
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failure_and_the_origin_rests() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.pass(30);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(14)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().stale, Some(Stale::OriginFailed));
    assert_eq!(engine.read(&of("milk")).await.unwrap().stale, Some(Stale::OriginFailed));
    assert!(origin.take().is_none(), "the origin was asked again at once");
    world.pass(2);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(says("2")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "2");
}

#[tokio::test]
async fn nothing_stands_in_after_an_invalidation_nor_for_a_refusal() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.pass(30);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(7)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, 7);
    engine.invalidate([Tag::named("milk")]);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(14)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, 14);
}

#[tokio::test]
async fn an_absence_takes_the_older_answer_away() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.pass(30);
    for code in [5, 14] {
        let asked = ask(&engine, of("milk"));
        origin.next().await.send(fails(code)).unwrap();
        assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, code);
    }
}

#[tokio::test]
async fn an_absence_is_remembered_for_its_own_time() {
    let (engine, origin, world) = subject();
    let negative = Read { policy: Policy { negative_ttl: Duration::from_secs(2), ..POLICY }, ..of("milk") };
    let asked = ask(&engine, negative.clone());
    origin.next().await.send(fails(5)).unwrap();
    assert!(asked.await.unwrap().unwrap().stored);
    assert_eq!(engine.read(&negative.clone()).await.unwrap().load.unwrap_err().code, 5);
    world.pass(2);
    let asked = ask(&engine, negative);
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "1");
}

#[tokio::test]
async fn a_too_large_answer_drops_the_older_one_and_its_readers_do_not_queue() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    let strong = ask(&engine, Read { wish: Wish::Strong, ..of("milk") });
    origin.next().await.send(says("far too much milk")).unwrap();
    assert!(!strong.await.unwrap().unwrap().stored);
    let (one, two) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    origin.next().await.send(says("2")).unwrap();
    origin.next().await.send(says("3")).unwrap();
    assert_eq!(one.await.unwrap().unwrap().outcome, Outcome::Bypass);
    assert_eq!(two.await.unwrap().unwrap().outcome, Outcome::Bypass);
    world.pass(11);
    stored(&engine, &origin, "milk", "4").await;
}

#[tokio::test]
async fn an_answer_beyond_all_memory_is_not_stored() {
    let (engine, origin, _) = subject();
    let huge = Read { policy: Policy { max_bytes: u64::MAX, ..POLICY }, ..of("milk") };
    let asked = ask(&engine, huge.clone());
    let message = Bytes::from(vec![0; 2 << 20]);
    origin.next().await.send(Loaded { load: Ok(message), tags: Some(Vec::new()) }).unwrap();
    assert!(!asked.await.unwrap().unwrap().stored);
    let again = ask(&engine, huge);
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(again.await.unwrap().unwrap().outcome, Outcome::Bypass);
}

#[tokio::test]
async fn a_strong_read_goes_to_the_origin_and_an_older_load_does_not_undo_it() {
    let (engine, origin, _) = subject();
    let old = ask(&engine, of("milk"));
    let old_load = origin.next().await;
    let strong = ask(&engine, Read { wish: Wish::Strong, ..of("milk") });
    origin.next().await.send(says("new")).unwrap();
    assert_eq!(strong.await.unwrap().unwrap().outcome, Outcome::Request);
    old_load.send(says("old")).unwrap();
    assert!(!old.await.unwrap().unwrap().stored);
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn a_wish_for_less_staleness_loads_and_does_not_wait_for_an_older_load() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.pass(5);
    let wish = |seconds| Read { wish: Wish::MaxStaleness(Duration::from_secs(seconds)), ..of("milk") };
    assert_eq!(engine.read(&wish(6)).await.unwrap().outcome, Outcome::Hit);
    let asked = ask(&engine, wish(4));
    let _slow = origin.next().await;
    world.pass(5);
    let stricter = ask(&engine, wish(3));
    origin.next().await.send(says("2")).unwrap();
    assert_eq!(stricter.await.unwrap().unwrap().load.unwrap(), "2");
    asked.abort();
}

#[tokio::test]
async fn loads_of_what_can_not_be_stored_count_as_loads() {
    let (engine, origin, _) = subject();
    let never = Read { policy: Policy { ttl: Duration::ZERO, ..POLICY }, ..of("milk") };
    let _loading: Vec<_> = (0..2).map(|_| ask(&engine, never.clone())).collect();
    let (_one, two) = (origin.next().await, origin.next().await);
    let third = engine.read(&never).now_or_never().expect("it is refused, and does not wait");
    assert_eq!(third.unwrap_err(), Overload::Flights);
    two.send(says("2")).unwrap();
    settle().await;
    let _third = ask(&engine, never);
    origin.next().await;
}

#[tokio::test]
async fn who_is_turned_away_takes_nobody_along() {
    let (engine, origin, _) = subject();
    let (turned_away, welcome) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    load.send(fails(7)).unwrap();
    assert_eq!(turned_away.await.unwrap().unwrap().load.unwrap_err().code, 7);
    origin.next().await.send(says("1")).unwrap();
    let welcome = welcome.await.unwrap().unwrap();
    assert_eq!((welcome.load.unwrap(), welcome.outcome), (Bytes::from_static(b"1"), Outcome::Bypass));
}

#[tokio::test]
async fn a_stored_answer_stands_in_for_one_that_does_not_come_unless_it_was_invalidated() {
    let (engine, origin, world) = subject();
    assert!(engine.stand_in(&of("milk")).is_none());
    stored(&engine, &origin, "milk", "1").await;
    world.pass(30);
    assert_eq!(engine.stand_in(&of("milk")).unwrap().stale, Some(Stale::OriginFailed));
    let next = engine.read(&of("milk")).now_or_never().expect("others need not wait");
    assert_eq!(next.unwrap().stale, Some(Stale::OriginFailed));
    assert!(engine.stand_in(&Read { wish: Wish::Strong, ..of("milk") }).is_none());
    engine.invalidate([Tag::named("milk")]);
    assert!(engine.stand_in(&of("milk")).is_none());
}

#[tokio::test]
async fn a_contract_that_became_shorter_counts_for_those_who_join_too() {
    let (engine, origin, _) = subject();
    let shorter = Read { policy: Policy { ttl: Duration::from_secs(1), ..POLICY }, ..of("milk") };
    let (_first, second) = (ask(&engine, of("milk")), ask(&engine, shorter));
    let load = origin.next().await;
    settle().await;
    load.send(says("1")).unwrap();
    assert_eq!(second.await.unwrap().unwrap().life, Duration::from_secs(1));
}
