//! A replica before a log that a test answers for.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const LEASE: Duration = Duration::from_secs(1);

/// A log that has only ever got as far as the test says, and keeps no records.
#[derive(Clone, Default)]
struct Trimmed(Arc<Mutex<u64>>);

impl InvalidationLog for Trimmed {
    async fn append(&self, _: &[Invalidation]) -> Result<Appended, LogError> {
        Err(LogError("nobody appends".to_owned()))
    }

    async fn verify(&self, _: &Verification) -> Result<Verified, LogError> {
        let head = *self.0.lock().unwrap();
        let (oldest, records, members) = (head + 1, Vec::new(), Vec::new());
        Ok(Verified { incarnation: 1, oldest, head, head_mark: 0, has_seen: true, records, members })
    }
}

fn verify(replica: &Replica<Trimmed, ManualOrigin, MemoryStore, ManualWorld>) {
    replica.verify().now_or_never().expect("the log answers at once").unwrap();
}

/// Real threads, many times: one looks for an acknowledgement while the other one begins anew.
#[test]
fn number_that_a_replica_skipped_is_not_acknowledged_before_its_first_lease_time_is_over() {
    for _ in 0..100 {
        let (engine, _, world) = subject();
        let log = Trimmed(Arc::new(Mutex::new(1)));
        let replica = Replica::sharing(engine, log.clone(), 1, LEASE);
        verify(&replica);
        world.advance(10);
        *log.0.lock().unwrap() = 3;
        let (is_looking, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    assert_ne!(replica.acknowledgement(1, 3), Acknowledgement::Done);
                    is_looking.store(true, Ordering::SeqCst);
                }
            });
            while !is_looking.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            verify(&replica);
            is_over.store(true, Ordering::SeqCst);
        });
        world.advance(1);
        assert_eq!(replica.acknowledgement(1, 3), Acknowledgement::Done);
    }
}

/// A log in whose place another one comes, which takes an append and is not reached any more.
#[derive(Clone, Default)]
struct Replaced(Arc<AtomicBool>);

impl InvalidationLog for Replaced {
    async fn append(&self, _: &[Invalidation]) -> Result<Appended, LogError> {
        self.0.store(true, Ordering::SeqCst);
        let noted = Noted { continuity: Continuity::InOrder, is_settled: true, round: 0 };
        Ok(Appended { incarnation: 2, noted: vec![(noted, Some(1))], head: 1, members: Vec::new() })
    }

    async fn verify(&self, _: &Verification) -> Result<Verified, LogError> {
        if self.0.load(Ordering::SeqCst) {
            return Err(LogError("it is not reached".to_owned()));
        }
        let (records, members) = (Vec::new(), Vec::new());
        Ok(Verified { incarnation: 1, oldest: 14, head: 13, head_mark: 0, has_seen: true, records, members })
    }
}

#[tokio::test]
async fn token_of_write_that_another_log_took_is_not_judged_by_the_number_of_the_one_before() {
    let (engine, _, _) = subject();
    let replica = Replica::sharing(engine, Replaced::default(), 1, LEASE);
    replica.verify().await.unwrap();
    let change = NamespaceChange::new("carts", "north", Change::PrefixInvalidated("".into()));
    let told = replica.invalidate(Invalidation::of_namespace(change)).await.unwrap();
    let token = replica.written(told.number.map(|number| (told.incarnation, number)), 1);
    let required = replica.require(&[Opened::Known(token)], &of("a").key, true);
    assert!(required.is_unjudged, "number 1 of log 2, where log 1 was read up to 13: {required:?}");
}

#[test]
fn what_others_confirmed_is_read_where_somebody_waits_for_it() {
    let (engine, _, _) = subject();
    let replica = Replica::sharing(engine, Trimmed::default(), 1, LEASE);
    let is_wanted = || replica.verification_wanted().now_or_never().is_some();
    replica.others_confirmed();
    assert!(!is_wanted(), "nobody waits");
    let waiting = replica.changes();
    assert!(is_wanted(), "confirmed before somebody waited");
    verify(&replica);
    drop((waiting, replica.changes()));
    assert!(!is_wanted(), "it is read");
    let _waiting = replica.changes();
    replica.others_confirmed();
    assert!(is_wanted(), "confirmed while somebody waits");
}
