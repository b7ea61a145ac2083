//! What the limit keeps of an upstream's answers, and that it harms none, in paused time.

use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;

mod noise;
mod world;

use world::{CAPACITY, Load, Random, SERVICE, WORKERS, World, settled};

/// A world that has served half of its capacity for a while, and knows how long answers take.
async fn quiet() -> World {
    let world = World::new(WORKERS);
    let [calm] = world.run(10, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(calm.shed, 0);
    world
}

#[tokio::test(start_paused = true)]
async fn goodput_at_three_times_the_capacity_stays_at_its_peak() {
    let [peak] = settled(&quiet().await, [Load::of(CAPACITY * 0.95)]).await;
    let [over] = settled(&quiet().await, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.good() >= 0.9 * peak.good(), "{} of {}", over.good(), peak.good());
}

#[tokio::test(start_paused = true)]
async fn goodput_at_three_times_the_capacity_collapses_without_the_limit() {
    let world = quiet().await.unlimited();
    let [over] = settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.good() < 0.1 * CAPACITY * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn admitted_calls_take_at_most_three_times_as_long_in_an_overload() {
    let [over] = settled(&quiet().await, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.p99() <= SERVICE * 3, "{:?}", over.p99());
    assert_eq!(over.late, 0);
}

#[tokio::test(start_paused = true)]
async fn goodput_stays_at_its_peak_where_answers_take_widely_different_times() {
    fn service(random: &mut Random) -> Duration {
        Duration::from_millis(if random.unit() < 0.8 { 5 } else { 230 })
    }
    let world = World::new(WORKERS);
    world.run(10, [Load { service, ..Load::of(CAPACITY / 2.0) }]).await;
    let [over] = settled(&world, [Load { service, ..Load::of(CAPACITY * 3.0) }]).await;
    assert!(over.good() > 0.9 * CAPACITY * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn limit_follows_a_capacity_that_falls_during_an_overload() {
    let world = quiet().await;
    settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    let degraded = Load { service: |_| SERVICE * 4, ..Load::of(CAPACITY) };
    let [over] = settled(&world, [degraded]).await;
    assert!(over.good() > 0.9 * CAPACITY / 4.0 * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn critical_calls_are_served_while_sheddable_ones_are_shed() {
    let critical = Load::of(CAPACITY * 0.5);
    let sheddable = Load { criticality: Criticality::Sheddable, ..Load::of(CAPACITY * 2.5) };
    let [critical, sheddable] = settled(&quiet().await, [critical, sheddable]).await;
    assert!(critical.share_shed() < 0.01, "{}", critical.share_shed());
    assert!(sheddable.share_shed() > 0.7, "{}", sheddable.share_shed());
    let good = critical.good() + sheddable.good();
    assert!(good > 0.9 * CAPACITY * 20.0, "{good}");
}

#[tokio::test(start_paused = true)]
async fn neighbour_is_served_while_one_caller_calls_three_times_the_capacity() {
    let greedy = Load { caller: "greedy", ..Load::of(CAPACITY * 3.0) };
    let neighbour = Load { caller: "neighbour", ..Load::of(CAPACITY * 0.1) };
    let [greedy, neighbour] = settled(&quiet().await, [greedy, neighbour]).await;
    assert!(neighbour.share_shed() < 0.01, "{}", neighbour.share_shed());
    assert!(greedy.good() > 0.7 * CAPACITY * 20.0, "{}", greedy.good());
}

#[tokio::test(start_paused = true)]
async fn limit_opens_again_once_the_overload_is_over() {
    let world = quiet().await;
    settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    let limit = world.limit.as_ref().unwrap();
    assert!(limit.limit() < 40, "{}", limit.limit());
    world.run(12, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(limit.limit(), 2048);
}

#[tokio::test(start_paused = true)]
async fn limit_opens_again_while_nobody_calls() {
    let world = quiet().await;
    settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    sleep(Duration::from_secs(15)).await;
    let [burst] = world.run(1, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(burst.shed, 0);
}

/// Enough workers for anything.
async fn healthy<const N: usize>(loads: [Load; N]) -> World {
    let world = World::new(10_000);
    let served = world.run(20, loads).await;
    assert_eq!(served.map(|served| served.shed), [0; N]);
    world
}

#[tokio::test(start_paused = true)]
async fn upstream_with_widely_different_methods_is_served_when_their_mix_changes() {
    let quick = Load { service: |_| Duration::from_millis(1), ..Load::of(900.0) };
    let slow = Load { method: "Report", service: |_| Duration::from_millis(400), ..Load::of(100.0) };
    let world = healthy([quick, slow]).await;
    let mixed = world.run(20, [Load { rate: 50.0, ..quick }, Load { rate: 1_000.0, ..slow }]).await;
    assert_eq!(mixed.map(|mixed| mixed.shed), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn method_whose_answers_take_widely_different_times_is_served() {
    fn service(random: &mut Random) -> Duration {
        let is_hit = random.unit() < 0.7;
        Duration::from_secs_f64(random.exponential(if is_hit { 0.002 } else { 0.3 }))
    }
    healthy([Load { service, ..Load::of(1_500.0) }]).await;
}

#[tokio::test(start_paused = true)]
async fn pause_of_an_upstream_is_no_queue() {
    let world = healthy([Load::of(1_000.0)]).await;
    let pause = Arc::clone(&world.workers);
    let ((), [served]) = tokio::join!(
        async {
            sleep(Duration::from_secs(1)).await;
            let all = pause.acquire_many(10_000).await.unwrap();
            sleep(Duration::from_millis(150)).await;
            drop(all);
        },
        world.run(5, [Load::of(1_000.0)])
    );
    assert_eq!(served.shed, 0);
}

#[tokio::test(start_paused = true)]
async fn upstream_that_becomes_slower_without_a_queue_is_served() {
    let world = healthy([Load::of(1_000.0)]).await;
    let slower = Load { service: |_| Duration::from_millis(300), ..Load::of(1_000.0) };
    let [served] = world.run(20, [slower]).await;
    assert_eq!(served.shed, 0);
}

#[tokio::test(start_paused = true)]
async fn upstream_whose_answers_become_slow_and_uneven_is_served_after_two_trials() {
    fn service(random: &mut Random) -> Duration {
        Duration::from_secs_f64(random.unit() * 0.45)
    }
    let world = healthy([Load::of(500.0)]).await;
    let slower = Load { service, ..Load::of(500.0) };
    let [first] = world.run(10, [slower]).await;
    assert!(first.share_shed() < 0.1, "{}", first.share_shed());
    let [later] = world.run(20, [slower]).await;
    assert_eq!(later.shed, 0);
}

#[tokio::test(start_paused = true)]
async fn upstream_with_many_workers_that_becomes_slower_in_an_overload_is_kept_busy() {
    let world = World::new(10 * WORKERS);
    world.run(10, [Load::of(CAPACITY * 5.0)]).await;
    settled(&world, [Load::of(CAPACITY * 30.0)]).await;
    let slower = Load { service: |_| SERVICE * 3, ..Load::of(CAPACITY * 30.0) };
    let [over] = settled(&world, [slower]).await;
    assert!(over.good() > 0.9 * CAPACITY * 10.0 / 3.0 * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn queue_becomes_short_again_once_a_slow_upstream_has_recovered_in_an_overload() {
    let world = World::new(10 * WORKERS);
    world.run(10, [Load::of(CAPACITY * 5.0)]).await;
    let over = Load::of(CAPACITY * 30.0);
    settled(&world, [Load { service: |_| SERVICE * 4, ..over }]).await;
    world.run(20, [over]).await;
    let [over] = settled(&world, [over]).await;
    assert!(over.p99() <= SERVICE * 3, "{:?}", over.p99());
}

#[tokio::test(start_paused = true)]
async fn limit_is_found_where_the_first_answers_came_out_of_a_queue() {
    let world = World::new(WORKERS);
    let [over] = settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.good() > 0.9 * CAPACITY * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn goodput_stays_at_its_peak_where_eight_gateways_overload_one_upstream() {
    const SLOW: Duration = Duration::from_millis(120);
    let world = World::new(8 * WORKERS);
    let gateways: [World; 8] = std::array::from_fn(|_| world.another_gateway());
    let each = |part: f64| Load { service: |_| SLOW, ..Load::of(part * 10.0 / SLOW.as_secs_f64()) };
    let all =
        async |seconds: u64, load: Load| join_all(gateways.iter().map(|gateway| gateway.run(seconds, [load]))).await;
    all(10, each(0.5)).await;
    all(5, each(3.0)).await;
    let over = all(60, each(3.0)).await;
    let good: f64 = over.iter().map(|[over]| over.good()).sum();
    assert!(good > 0.9 * 80.0 / SLOW.as_secs_f64() * 60.0, "{good}");
}

#[tokio::test(start_paused = true)]
async fn calls_are_served_while_others_wait_for_something_to_happen() {
    fn event(random: &mut Random) -> Duration {
        Duration::from_secs_f64(random.exponential(0.02))
    }
    let quick = Load { service: |_| Duration::from_millis(5), ..Load::of(50.0) };
    let waits = Load { method: "Wait", service: event, ..Load::of(200.0) };
    let world = healthy([quick, waits]).await;
    let rare = Load { service: |_| Duration::from_millis(480), rate: 400.0, ..waits };
    let [quick, _] = world.run(30, [quick, rare]).await;
    assert!(quick.share_shed() < 0.05, "{}", quick.share_shed());
}
