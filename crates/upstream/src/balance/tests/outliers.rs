use tonic::Code;

use super::*;

/// An upstream of so many endpoints without a server.
fn of(count: u16, change: impl FnOnce(&mut OutlierConfig)) -> Arc<Upstream> {
    discovered_in("", nowhere(0..count), |config| change(&mut config.outlier_detection)).0
}

/// So many calls at an endpoint, of which these fail, never five in a row.
fn call(endpoint: &Endpoint, total: u32, failed: u32) {
    let failing = |call: u32| call * failed / total != (call + 1) * failed / total;
    for call in 0..total {
        endpoint.answered(Some(if failing(call) { Code::Internal } else { Code::Ok }));
    }
}

/// An interval in which the first endpoints fail these of their 100 calls, and the others none. Which are ejected then.
async fn after(upstream: &Upstream, failed: &[u32]) -> Vec<usize> {
    interval(upstream, 100, failed).await
}

async fn interval(upstream: &Upstream, total: u32, failed: &[u32]) -> Vec<usize> {
    let endpoints = upstream.endpoints();
    for (endpoint, failed) in endpoints.iter().zip(failed.iter().copied().chain(std::iter::repeat(0))) {
        call(endpoint, total, failed);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    tokio::task::yield_now().await;
    ejected(upstream)
}

fn ejected(upstream: &Upstream) -> Vec<usize> {
    let (endpoints, now) = (upstream.endpoints(), Instant::now());
    (0..endpoints.len()).filter(|index| endpoints[*index].is_ejected(now)).collect()
}

#[tokio::test(start_paused = true)]
async fn endpoint_whose_calls_fail_beyond_the_percentage_is_ejected() {
    let upstream = of(5, |config| config.max_ejection_percent = 100);
    assert_eq!(after(&upstream, &[86, 85]).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn success_does_not_bring_an_outlier_back_before_its_time() {
    let upstream = of(5, |_| {});
    after(&upstream, &[90]).await;
    upstream.endpoints()[0].succeeded();
    assert_eq!(ejected(&upstream), [0]);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(ejected(&upstream), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn errors_that_callers_cause_are_no_failures() {
    let upstream = of(5, |_| {});
    let endpoints = upstream.endpoints();
    for code in [Code::NotFound, Code::InvalidArgument, Code::PermissionDenied, Code::DeadlineExceeded] {
        (0..200).for_each(|_| endpoints[0].answered(Some(code)));
    }
    // With the hundred that succeed, 89% would be.
    assert_eq!(after(&upstream, &[]).await, [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn unavailable_answers_and_broken_calls_are_failures() {
    let upstream = of(5, |_| {});
    let endpoints = upstream.endpoints();
    for _ in 0..100 {
        endpoints[0].answered(Some(Code::Unavailable));
        endpoints[1].enter().failed(TransportError::Broken);
        endpoints[2].enter().failed(TransportError::Connect(ConnectCause::Refused));
    }
    // Those of calls in a row end within 10 s.
    let all = |config: &mut OutlierConfig| config.max_ejection_percent = 100;
    let counted = endpoints.iter().take(3).map(|endpoint| endpoint.take_counts().failed);
    assert_eq!(counted.collect::<Vec<_>>(), [100, 100, 100]);
    assert_eq!(after(&of(5, all), &[100, 100]).await, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_is_an_outlier_among_too_few() {
    assert_eq!(after(&of(4, |_| {}), &[100]).await, [0; 0]);
    assert_eq!(after(&of(4, |config| config.minimum_hosts = 4), &[100]).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn endpoint_with_too_few_calls_is_not_judged() {
    assert_eq!(interval(&of(6, |_| {}), 49, &[49]).await, [0; 0]);
    assert_eq!(interval(&of(6, |_| {}), 50, &[50]).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_an_earlier_interval_do_not_count() {
    let upstream = of(5, |_| {});
    assert_eq!(interval(&upstream, 40, &[40]).await, [0; 0]);
    assert_eq!(interval(&upstream, 40, &[40]).await, [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn worst_endpoints_are_ejected_first_up_to_the_percentage() {
    let upstream = of(10, |config| config.max_ejection_percent = 20);
    assert_eq!(after(&upstream, &[90, 100, 95, 99]).await, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_ejected_otherwise_count_for_the_percentage() {
    let upstream = of(10, |_| {});
    upstream.endpoints()[9].eject_outlier(Duration::from_mins(1), Duration::from_mins(1));
    assert_eq!(after(&upstream, &[100]).await, [9]);
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_is_an_outlier_with_a_percentage_of_100() {
    assert_eq!(after(&of(5, |config| config.failure_percentage = 100), &[100]).await, [0; 0]);
}
