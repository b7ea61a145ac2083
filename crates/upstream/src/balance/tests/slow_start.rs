use super::*;

const WINDOW: Duration = Duration::from_secs(10);

/// An upstream of warm endpoints, and one that was found just now.
async fn joined(warm: u16) -> Arc<Upstream> {
    let (upstream, told) = discovered_in("", nowhere(0..warm), |config| config.slow_start = WINDOW);
    tokio::time::advance(WINDOW).await;
    join(&upstream, &told, warm + 1).await;
    upstream
}

async fn join(upstream: &Upstream, told: &watch::Sender<Addresses>, count: u16) {
    let mut changed = upstream.discovered.subscribe();
    told.send_replace(nowhere(0..count));
    changed.changed().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn share_of_a_new_endpoint_grows_with_time_from_a_tenth_to_all_of_it() {
    let upstream = joined(3).await;
    for (wait, part) in [(0, 0.1), (500, 0.1), (2_000, 0.25), (2_500, 0.5), (5_000, 1.0), (60_000, 1.0)] {
        tokio::time::advance(Duration::from_millis(wait)).await;
        assert_near(share(&upstream, |port| port == 3), 0.25 * part);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_all_new_share_alike() {
    let (upstream, _told) = discovered_in("", nowhere(0..4), |config| config.slow_start = WINDOW);
    assert_near(share(&upstream, |port| port == 3), 0.25);
}

#[tokio::test(start_paused = true)]
async fn warm_endpoint_takes_no_more_than_twice_its_share_for_many_new_ones() {
    let (upstream, told) = discovered_in("", nowhere(0..1), |config| config.slow_start = WINDOW);
    tokio::time::advance(WINDOW).await;
    join(&upstream, &told, 20).await;
    // It is drawn in two of twenty draws, and wins all but a twentieth of them.
    assert_near(share(&upstream, |port| port == 0), 0.1 * 0.95);
}

#[tokio::test(start_paused = true)]
async fn new_endpoint_has_its_share_at_once_without_slow_start() {
    let (upstream, told) = discovered_in("", nowhere(0..3), |config| config.slow_start = Duration::ZERO);
    tokio::time::advance(WINDOW).await;
    join(&upstream, &told, 4).await;
    assert_near(share(&upstream, |port| port == 3), 0.25);
}

#[tokio::test(start_paused = true)]
async fn new_endpoint_takes_all_calls_where_the_warm_ones_are_ejected() {
    let upstream = joined(3).await;
    upstream.endpoints()[..3].iter().for_each(|endpoint| endpoint.eject(EjectionCause::ConnectFailed));
    assert_near(share(&upstream, |port| port == 3), 1.0);
}
