//! What is found in the second level, and who may be told it.

use futures_util::future::BoxFuture;

use super::*;

const LOG: u128 = 9;

/// A second level that has one value for whichever key, and remembers what was put.
#[derive(Debug)]
struct Holding {
    value: SharedValue,
    looks: Mutex<u32>,
    put: Mutex<Vec<SharedValue>>,
}

impl SecondLevel for Holding {
    fn find(&self, _: Key, _: Duration) -> BoxFuture<'_, Result<SharedValue, SharedMiss>> {
        *self.looks.lock().unwrap() += 1;
        Box::pin(async { Ok(self.value.clone()) })
    }

    fn put(&self, _: Key, value: SharedValue) {
        self.put.lock().unwrap().push(value);
    }
}

/// The milk as another replica has loaded it a second ago, when the log had this number.
fn shared(number: u64) -> SharedValue {
    SharedValue {
        since: Position { log: LOG, number, mark: number },
        age: Duration::from_secs(1),
        life: Duration::from_secs(9),
        share: 1.0,
        took: Duration::ZERO,
        tags: [Tag::named("milk")].into(),
        metadata: Bytes::new(),
        load: Ok(Bytes::from_static(b"shared")),
        version: None,
    }
}

/// A process that has read the log up to its fifth record, and has lived for a minute.
fn with(value: SharedValue) -> (Subject, ManualOrigin, ManualWorld, Arc<Holding>) {
    let (engine, origin, world) = subject();
    world.advance(60);
    engine.0.validity.begin_log(LOG, (0, None));
    for number in 1..6 {
        read_record(&engine, number, false);
    }
    let holding = Arc::new(Holding { value, looks: Mutex::default(), put: Mutex::default() });
    engine.use_second_level(Arc::clone(&holding) as Arc<dyn SecondLevel>);
    (engine, origin, world, holding)
}

fn read_record(engine: &Subject, number: u64, is_flush: bool) {
    let tags = [Tag::named("bread")].into();
    engine.0.validity.reach(&Record { number, is_flush, tags, writer: None, mark: number, change: None });
    engine.reached(number);
}

/// What a read is told: from the second level, or by the origin, which then says something else.
async fn told(engine: &Subject, origin: &ManualOrigin, read: Read<()>) -> Answer {
    let asked = ask(engine, read);
    settle().await;
    if let Some(load) = origin.take() {
        load.send(says("loaded")).unwrap();
    }
    asked.await.unwrap().unwrap()
}

#[tokio::test]
async fn value_of_another_replica_is_told_with_its_age_and_without_a_load() {
    let (engine, origin, ..) = with(shared(5));
    let answer = told(&engine, &origin, of("milk")).await;
    assert_eq!((answer.load.unwrap(), answer.is_shared), (Bytes::from_static(b"shared"), true));
    assert_eq!(answer.age, Duration::from_secs(1));
}

#[tokio::test]
async fn value_from_before_everything_was_flushed_is_not_told() {
    let (engine, origin, ..) = with(shared(5));
    read_record(&engine, 6, true);
    assert_eq!(told(&engine, &origin, of("milk")).await.load.unwrap(), "loaded");
}

#[tokio::test]
async fn value_older_than_its_contract_or_its_reader_permits_is_not_told() {
    let old = SharedValue { age: POLICY.ttl, ..shared(5) };
    let (engine, origin, ..) = with(old);
    assert_eq!(told(&engine, &origin, of("milk")).await.load.unwrap(), "loaded");
    let (engine, origin, ..) = with(shared(5));
    let consistency = ConsistencyRequirement::MaxStaleness(Duration::from_millis(999));
    assert_eq!(told(&engine, &origin, Read { consistency, ..of("milk") }).await.load.unwrap(), "loaded");
}

#[tokio::test]
async fn value_that_is_too_old_does_not_stand_in_for_an_origin_that_fails() {
    let (engine, origin, ..) = with(SharedValue { age: POLICY.ttl, ..shared(5) });
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(14)).unwrap();
    assert!(asked.await.unwrap().unwrap().load.is_err(), "it is none of what was stored here");
}

#[tokio::test]
async fn value_that_is_older_than_the_own_clock_is_not_told() {
    let (engine, origin, ..) = with(SharedValue { age: Duration::from_secs(61), ..shared(5) });
    let policy = Policy { ttl: Duration::from_hours(1), ..POLICY };
    assert_eq!(told(&engine, &origin, Read { policy, ..of("milk") }).await.load.unwrap(), "loaded");
}

#[tokio::test]
async fn nobody_looks_for_a_reader_who_requires_the_origins_word_or_in_a_first_lease_time() {
    let (engine, origin, _, holding) = with(shared(5));
    let strong = Read { consistency: ConsistencyRequirement::Strong, ..of("milk") };
    assert_eq!(told(&engine, &origin, strong).await.load.unwrap(), "loaded");
    assert_eq!(*holding.looks.lock().unwrap(), 0);
    let (engine, origin, world, holding) = with(shared(5));
    engine.begin_first_lease_time(world.now().after(Duration::from_secs(1)));
    assert_eq!(told(&engine, &origin, of("milk")).await.load.unwrap(), "loaded");
    assert_eq!(*holding.looks.lock().unwrap(), 0);
}

/// It is no load of this process: what has begun here after a reader came is not before it.
#[tokio::test]
async fn value_that_was_loaded_elsewhere_meets_no_token_by_the_count_of_this_process() {
    let (engine, origin, ..) = with(shared(5));
    let floor = StartFloor { number: 6, from: engine.0.flights.next_serial(), ..StartFloor::default() };
    assert_eq!(told(&engine, &origin, Read { floor, ..of("milk") }).await.load.unwrap(), "loaded");
}

#[tokio::test]
async fn load_that_is_not_stored_is_not_put() {
    let (engine, origin, _, holding) = with(SharedValue { since: Position { log: 8, ..shared(5).since }, ..shared(5) });
    let asked = ask(&engine, of("milk"));
    let load = origin.next().await;
    engine.invalidate([Tag::named("milk")]);
    load.send(says("before")).unwrap();
    asked.await.unwrap().unwrap();
    assert!(holding.put.lock().unwrap().is_empty());
    assert!(told(&engine, &origin, of("milk")).await.stored);
    let put = holding.put.lock().unwrap();
    assert_eq!((put.len(), put[0].load.clone().unwrap()), (1, Bytes::from_static(b"loaded")));
}
