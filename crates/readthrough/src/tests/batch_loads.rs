//! Keys that are loaded together.

use super::*;

type Asked = tokio::task::JoinHandle<Vec<Result<KeyAnswer, Overload>>>;

/// An origin that is asked for batches, and answers when the test says what.
#[derive(Clone, Default)]
struct BatchOrigin {
    batches: Arc<Mutex<Vec<Batch>>>,
}

type Batch = (Vec<&'static str>, oneshot::Sender<Vec<Loaded>>);

impl Origin for BatchOrigin {
    type Call = &'static str;

    async fn load(&self, key: &'static str, time: Duration) -> Loaded {
        self.load_batch(vec![key], time).await.remove(0)
    }

    async fn load_batch(&self, keys: Vec<&'static str>, _: Duration) -> Vec<Loaded> {
        let (answer, answered) = oneshot::channel();
        self.batches.lock().unwrap().push((keys, answer));
        answered.await.expect("the origin panics where the test drops its batch")
    }
}

struct Carts {
    engine: Engine<BatchOrigin, MemoryStore, ManualWorld>,
    origin: BatchOrigin,
    world: ManualWorld,
    space: Namespace,
}

impl Carts {
    fn new() -> Self {
        let limits = Limits { flights: 4, ..LIMITS };
        let (origin, metrics) = (BatchOrigin::default(), Metrics::new(&opentelemetry::global::meter("test")));
        let store = MemoryStore::new(limits.capacity, |_| {});
        let world = ManualWorld::default();
        let engine = Engine::new(origin.clone(), store, world.clone(), limits, metrics);
        let space = engine.namespace("carts", NamespaceLimits { bytes: 1 << 18, entries: 100, changes: 100 });
        Self { engine, origin, world, space }
    }

    fn ask(&self, keys: &[&'static str], most: usize) -> Asked {
        let (engine, space) = (self.engine.clone(), self.space.clone());
        let load = |key| {
            (
                key,
                KeyLoad {
                    ttl: POLICY.ttl,
                    wait_budget: Duration::from_secs(9),
                    required: KeyRequirement::default(),
                    call: key,
                },
            )
        };
        let keys: Vec<_> = keys.iter().map(|key| load(*key)).collect();
        tokio::spawn(async move { engine.load_keys(&space, "north", &keys, most).await })
    }

    /// The batches that the origin has been asked for since the last look.
    async fn asked(&self) -> Vec<Batch> {
        settle().await;
        std::mem::take(&mut *self.origin.batches.lock().unwrap())
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.engine.get(&self.space, "north", key).map(|found| found.value)
    }
}

async fn values(asked: Asked) -> Vec<Result<Bytes, i32>> {
    let value = |answer: Result<KeyAnswer, Overload>| answer.unwrap().found;
    let answers = asked.await.unwrap().into_iter().map(value);
    answers.map(|found| found.map(|found| found.value).map_err(|failure| failure.code)).collect()
}

#[tokio::test]
async fn keys_asked_for_together_are_one_load_and_held_each() {
    let carts = Carts::new();
    let asked = carts.ask(&["ada", "bob", "eve"], 100);
    let (keys, batch) = carts.asked().await.remove(0);
    assert_eq!(keys, ["ada", "bob", "eve"]);
    batch.send(vec![says("milk"), says("bread"), says("wine")]).unwrap();
    assert_eq!(values(asked).await, [Ok("milk".into()), Ok("bread".into()), Ok("wine".into())]);
    assert_eq!((carts.value("ada"), carts.value("eve")), (Some("milk".into()), Some("wine".into())));
}

#[tokio::test]
async fn more_keys_than_one_call_takes_are_several_calls() {
    let carts = Carts::new();
    let _asked = carts.ask(&["ada", "bob", "eve"], 2);
    let mut batches: Vec<_> = carts.asked().await.into_iter().map(|(keys, _)| keys).collect();
    batches.sort();
    assert_eq!(batches, [vec!["ada", "bob"], vec!["eve"]]);
}

#[tokio::test]
async fn key_in_flight_is_waited_for_and_not_loaded_again() {
    let carts = Carts::new();
    let first = carts.ask(&["ada"], 100);
    let (_, of_first) = carts.asked().await.remove(0);
    let second = carts.ask(&["ada", "bob", "bob"], 100);
    let (keys, of_second) = carts.asked().await.remove(0);
    assert_eq!(keys, ["bob"]);
    of_second.send(vec![says("bread")]).unwrap();
    of_first.send(vec![says("milk")]).unwrap();
    assert_eq!(values(first).await, [Ok("milk".into())]);
    assert_eq!(values(second).await, [Ok("milk".into()), Ok("bread".into()), Ok("bread".into())]);
}

#[tokio::test]
async fn key_that_fails_fails_alone() {
    let carts = Carts::new();
    let asked = carts.ask(&["ada", "bob"], 100);
    carts.asked().await.remove(0).1.send(vec![fails(5), says("bread")]).unwrap();
    assert_eq!(values(asked).await, [Err(5), Ok("bread".into())]);
    assert_eq!((carts.value("ada"), carts.value("bob")), (None, Some("bread".into())));
}

#[tokio::test]
async fn key_put_during_a_batch_is_not_replaced_by_it() {
    let carts = Carts::new();
    let asked = carts.ask(&["ada", "bob"], 100);
    let (_, batch) = carts.asked().await.remove(0);
    let value = Bytes::from_static(b"wine");
    let write = Write { tenant: "north", key: "ada", value, tags: &[], ttl: POLICY.ttl, expected: Expected::Anything };
    carts.engine.put(&carts.space, write).unwrap();
    batch.send(vec![says("milk"), says("bread")]).unwrap();
    asked.await.unwrap();
    assert_eq!((carts.value("ada"), carts.value("bob")), (Some("wine".into()), Some("bread".into())));
}

#[tokio::test]
async fn batch_goes_on_while_somebody_waits_for_one_of_its_keys() {
    let carts = Carts::new();
    let all = carts.ask(&["ada", "bob"], 100);
    let (_, batch) = carts.asked().await.remove(0);
    let one = carts.ask(&["bob"], 100);
    settle().await;
    all.abort();
    settle().await;
    batch.send(vec![says("milk"), says("bread")]).unwrap();
    assert_eq!(values(one).await, [Ok("bread".into())]);
    assert_eq!(carts.value("ada"), None, "nobody waited for it any more");
}

#[tokio::test]
async fn batch_that_all_readers_left_is_cancelled() {
    let carts = Carts::new();
    let asked = carts.ask(&["ada", "bob"], 100);
    let (_, batch) = carts.asked().await.remove(0);
    asked.abort();
    settle().await;
    assert!(batch.is_closed());
}

#[tokio::test]
async fn key_that_the_origin_says_nothing_of_fails() {
    let carts = Carts::new();
    let asked = carts.ask(&["ada", "bob"], 100);
    carts.asked().await.remove(0).1.send(vec![says("milk")]).unwrap();
    assert_eq!(values(asked).await, [Ok("milk".into()), Err(13)]);
}

#[tokio::test]
async fn age_of_a_key_counts_what_it_waited_for_others() {
    let carts = Carts::new();
    let asked = carts.ask(&["ada", "bob"], 1);
    let mut batches = carts.asked().await;
    batches.remove(0).1.send(vec![says("milk")]).unwrap();
    settle().await;
    carts.world.advance(3);
    batches.remove(0).1.send(vec![says("bread")]).unwrap();
    let ages = asked.await.unwrap().into_iter().map(|answer| answer.unwrap().found.unwrap());
    let ages: Vec<_> = ages.map(|found| (found.age, found.ttl)).collect();
    assert_eq!(ages, [(Duration::from_secs(3), Duration::from_secs(7)); 2]);
}

#[tokio::test]
async fn keys_beyond_the_bound_of_loads_are_refused_alone() {
    let carts = Carts::new();
    let asked = carts.ask(&["a", "b", "c", "d", "e"], 100);
    let (keys, batch) = carts.asked().await.remove(0);
    batch.send(keys.iter().map(|_| says("milk")).collect()).unwrap();
    let refused: Vec<_> = asked.await.unwrap().iter().map(|answer| answer.as_ref().err().copied()).collect();
    assert_eq!(refused, [None, None, None, None, Some(Overload::Flights)]);
}
