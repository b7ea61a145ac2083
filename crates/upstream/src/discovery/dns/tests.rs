use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use accord_test_log::Log;
use tokio::sync::mpsc;

use super::*;

/// What is asked of a resolution at which time, and what it answers.
struct Script {
    dns: Dns,
    asked: mpsc::Receiver<Instant>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

enum Reply {
    Says(Result<Resolution, Failure>),
    Never,
}

impl Script {
    /// Answers the resolutions to come in this order. There must be no more than these.
    fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Arc::new(Mutex::new(VecDeque::from_iter(replies)));
        let (sender, asked) = mpsc::channel(1000);
        let source = Arc::clone(&replies);
        let dns = Dns::start(Arc::new(Url::parse("http://catalog.test:9000").unwrap()), move || {
            sender.try_send(Instant::now()).unwrap();
            let reply = source.lock().unwrap().pop_front().expect("no resolution is expected any more");
            async move {
                match reply {
                    Reply::Says(result) => result,
                    Reply::Never => std::future::pending().await,
                }
            }
        });
        Self { dns, asked, replies }
    }

    fn then(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    /// The times between the next resolutions, in seconds.
    async fn waits(&mut self, count: usize) -> Vec<f64> {
        let mut last = self.asked.recv().await.unwrap();
        let mut waits = Vec::new();
        for _ in 0..count {
            let next = self.asked.recv().await.unwrap();
            waits.push(next.duration_since(last).as_secs_f64());
            last = next;
        }
        waits
    }
}

fn found(hosts: impl IntoIterator<Item = u16>, ttl: u64) -> Reply {
    let sockets = hosts.into_iter().map(socket).collect();
    Reply::Says(Ok(Resolution { sockets, ttl: Duration::from_secs(ttl) }))
}

fn failed() -> Reply {
    Reply::Says(Err(Failure::Empty))
}

fn socket(host: u16) -> SocketAddr {
    let [high, low] = host.to_be_bytes();
    (Ipv4Addr::new(10, 0, high, low), 9000).into()
}

fn sockets(addresses: &watch::Receiver<Addresses>) -> Vec<SocketAddr> {
    addresses.borrow().iter().map(|found| found.address.socket).collect()
}

/// Waits are shortened by a tenth at most; timers round up to a millisecond.
fn assert_waits(waits: &[f64], expected: &[f64]) {
    assert_eq!(waits.len(), expected.len());
    for (wait, expected) in waits.iter().zip(expected) {
        assert!((0.9 * expected..=expected + 0.002).contains(wait), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn name_is_resolved_again_when_its_ttl_ends() {
    let mut script = Script::start([found([1], 30), found([1], 5), found([1], 5)]);
    assert_waits(&script.waits(2).await, &[30.0, 5.0]);
}

#[tokio::test(start_paused = true)]
async fn ttl_is_bounded_on_both_sides() {
    let mut script = Script::start([found([1], 0), found([1], 86_400), found([1], 0)]);
    assert_waits(&script.waits(2).await, &[1.0, 60.0]);
}

#[tokio::test(start_paused = true)]
async fn changed_answer_reaches_the_watch_sorted_and_without_repetition() {
    let script = Script::start([found([3, 1, 3], 1), found([2], 1), failed()]);
    let mut addresses = script.dns.watch();
    assert!(sockets(&addresses).is_empty(), "not known yet");
    addresses.changed().await.unwrap();
    assert_eq!(sockets(&addresses), [socket(1), socket(3)]);
    addresses.changed().await.unwrap();
    assert_eq!(sockets(&addresses), [socket(2)]);
}

#[tokio::test(start_paused = true)]
async fn same_answer_in_another_order_changes_nothing() {
    let mut script = Script::start([found([1, 2], 1), found([2, 1], 1), found([1, 2, 2], 1), failed()]);
    let mut addresses = script.dns.watch();
    addresses.changed().await.unwrap();
    addresses.mark_unchanged();
    script.waits(3).await;
    assert!(!addresses.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn failed_resolution_keeps_the_last_addresses_and_recovery_replaces_them() {
    let mut script = Script::start([found([1], 1), failed(), failed(), found([2], 1)]);
    let mut addresses = script.dns.watch();
    script.waits(2).await;
    assert_eq!(sockets(&addresses), [socket(1)], "one failure was handled");
    addresses.mark_unchanged();
    addresses.changed().await.unwrap();
    assert_eq!(sockets(&addresses), [socket(2)]);
}

#[tokio::test(start_paused = true)]
async fn failed_resolution_is_retried_with_backoff_that_success_resets() {
    let mut script = Script::start((0..7).map(|_| failed()));
    for reply in [found([1], 10), failed(), failed()] {
        script.then(reply);
    }
    let waits = script.waits(9).await;
    assert_waits(&waits, &[1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 10.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn resolution_without_an_answer_is_given_up_and_tried_again() {
    let mut script = Script::start([Reply::Never, found([1], 1), failed()]);
    let mut addresses = script.dns.watch();
    addresses.changed().await.unwrap();
    assert_eq!(sockets(&addresses), [socket(1)]);
    let wait = script.waits(1).await[0];
    assert!((5.9..=6.002).contains(&wait), "five seconds, and the first backoff: {wait}");
}

#[tokio::test(start_paused = true)]
async fn addresses_beyond_the_bound_are_left_out() {
    let script = Script::start([found(1..=300, 30)]);
    let mut addresses = script.dns.watch();
    addresses.changed().await.unwrap();
    assert_eq!(sockets(&addresses), (1..=256).map(socket).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn refresh_resolves_early_but_at_most_once_a_second() {
    let mut script = Script::start((0..20).map(|_| found([1], 60)));
    script.asked.recv().await.unwrap();
    let begin = Instant::now();
    for _ in 0..50 {
        script.dns.refresh();
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let mut early = Vec::new();
    while let Ok(at) = script.asked.try_recv() {
        early.push(at.duration_since(begin).as_secs_f64());
    }
    assert!((4..=5).contains(&early.len()), "in five seconds: {early:?}");
    assert!(early.windows(2).all(|pair| pair[1] - pair[0] >= 1.0), "{early:?}");
}

#[tokio::test(start_paused = true)]
async fn refresh_is_not_repeated_by_itself() {
    let mut script = Script::start([found([1], 60), found([1], 60), found([1], 60)]);
    script.dns.refresh();
    let waits = script.waits(2).await;
    assert!((1.0..1.01).contains(&waits[0]), "{waits:?}");
    assert_waits(&waits[1..], &[60.0]);
}

#[tokio::test(start_paused = true)]
async fn discovery_ends_when_it_is_dropped() {
    let mut script = Script::start([found([1], 1), found([1], 1), failed()]);
    let mut addresses = script.dns.watch();
    addresses.changed().await.unwrap();
    drop(script.dns);
    assert!(addresses.changed().await.is_err());
    script.asked.recv().await.unwrap();
    assert!(script.asked.recv().await.is_none(), "what resolves is gone");
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_warned_of_once_and_the_recovery_is_told() {
    let log = Log::default();
    let _guard = log.start();
    let mut script = Script::start([failed(), failed(), found([1], 1), found([1], 1), failed(), failed(), failed()]);
    script.waits(6).await;
    assert_eq!(log.count("WARN"), 2);
    assert_eq!(log.count("discovery failed, keeping the last addresses"), 2);
    assert_eq!(log.count("discovery works again"), 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_beyond_the_bound_are_warned_of_once() {
    let log = Log::default();
    let _guard = log.start();
    let mut script = Script::start([found(0..300, 1), found(0..300, 1), found(0..300, 1)]);
    script.waits(2).await;
    assert_eq!(log.count("more endpoints than are kept"), 1);
}
