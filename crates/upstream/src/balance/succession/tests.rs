use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use tokio::time::{Instant, advance};

use super::super::Version;
use super::*;
use crate::config::version::fixture::version;
use crate::config::{AdaptiveConfig, OutlierConfig};
use crate::endpoint::Endpoint;
use crate::metrics::EjectionCause;

fn shop(urls: &[&str]) -> UpstreamConfig {
    UpstreamConfig {
        name: "shop".to_owned(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..UpstreamConfig::default()
    }
}

fn after(before: Option<&Arc<Upstream>>, config: &UpstreamConfig) -> Arc<Upstream> {
    let before: Vec<_> = before.into_iter().cloned().collect();
    let made = Upstream::all_after(&before, std::slice::from_ref(config), &DiscoveryConfig::default());
    made.unwrap().remove(0)
}

fn is_same(one: &Arc<Endpoint>, other: &Arc<Endpoint>) -> bool {
    Arc::ptr_eq(one, other)
}

const A: &str = "http://127.0.0.1:10001";
const B: &str = "http://127.0.0.1:10002";

#[tokio::test]
async fn upstream_of_which_nothing_changed_is_the_same() {
    let (first, named) = (after(None, &shop(&[A])), shop(&[A]));
    assert!(Arc::ptr_eq(&first, &after(Some(&first), &named)));
    let zone = DiscoveryConfig { zone: "a".to_owned(), ..DiscoveryConfig::default() };
    let moved = Upstream::all_after(std::slice::from_ref(&first), &[named], &zone).unwrap();
    assert!(!Arc::ptr_eq(&first, &moved[0]));
}

#[tokio::test]
async fn endpoint_that_stays_keeps_its_connections_and_its_ejection() {
    let first = after(None, &shop(&[A, B]));
    let stays = Arc::clone(&first.endpoints()[1]);
    stays.eject(EjectionCause::ConnectFailed);
    let second = after(Some(&first), &UpstreamConfig { weight: 7, ..shop(&[B, "http://127.0.0.1:10003"]) });
    let endpoints = second.endpoints();
    assert!(endpoints.len() == 2 && is_same(&stays, &endpoints[0]));
    assert!(stays.is_ejected(Instant::now()) && !endpoints[1].is_ejected(Instant::now()));
    assert_eq!(first.endpoints().len(), 2, "calls in flight go on as they began");
}

#[tokio::test]
async fn endpoint_is_made_anew_where_connections_are_made_otherwise() {
    let first = after(None, &shop(&[A]));
    let changes: [fn(&mut UpstreamConfig); 4] = [
        |config| config.connect_timeout = Duration::from_millis(7),
        |config| config.connections = 7,
        |config| config.slow_start = Duration::ZERO,
        |config| config.keepalive_timeout = Duration::from_millis(7),
    ];
    for change in changes {
        let mut config = shop(&[A]);
        change(&mut config);
        let second = after(Some(&first), &config);
        assert!(!is_same(&first.endpoints()[0], &second.endpoints()[0]), "{config:?}");
    }
}

#[tokio::test]
async fn name_that_is_followed_stays_followed() {
    let first = after(None, &shop(&["http://localhost:10001"]));
    let second = after(Some(&first), &shop(&["http://localhost:10001", "http://localhost:10002"]));
    assert!(Arc::ptr_eq(&first.discoveries[0].1, &second.discoveries[0].1));
    assert_eq!(second.discoveries.len(), 3);
}

#[tokio::test]
async fn version_that_stays_is_the_same_where_others_change() {
    let of = |versions: &[_]| UpstreamConfig { version: versions.to_vec(), ..shop(&[A]) };
    let first = after(None, &of(&[version("b", 1, &[])]));
    let second = after(Some(&first), &of(&[version("c", 1, &[]), version("b", 9, &[])]));
    let known = |upstream: &Arc<Upstream>, name| upstream.version(name).map(Arc::as_ptr);
    assert_eq!(known(&first, "b"), known(&second, "b"));
    assert_eq!(second.versions().iter().map(Version::weight).collect::<Vec<_>>(), [1, 9]);
}

#[tokio::test]
async fn calls_in_flight_at_both_count_against_the_bound_of_the_one_in_place() {
    let of = |max_in_flight| UpstreamConfig { max_in_flight, ..shop(&[A]) };
    let first = after(None, &of(3));
    let _held = [first.admit_untimed().unwrap(), first.admit_untimed().unwrap()];
    let second = after(Some(&first), &of(2));
    let held = second.admit_untimed().unwrap();
    assert!(second.admit_untimed().is_err(), "the first one's bound, since it is not taken over yet");
    drop(held);
    second.take_place();
    assert!(first.admit_untimed().is_err() && second.admit_untimed().is_err());
    second.resize(4);
    assert!(second.admit_untimed().is_ok());
}

#[tokio::test]
async fn adaptive_limit_goes_on_within_its_new_bounds_unless_it_is_set_otherwise() {
    let of = |max_in_flight, adaptive| UpstreamConfig { max_in_flight, adaptive, ..shop(&[A]) };
    let first = after(None, &of(100, AdaptiveConfig::default()));
    let second = after(Some(&first), &of(40, AdaptiveConfig::default()));
    let limit = |upstream: &Arc<Upstream>| upstream.adaptive_limit.clone().unwrap();
    assert!(Arc::ptr_eq(&limit(&first), &limit(&second)));
    second.take_place();
    assert_eq!(limit(&second).limit(), 40);
    assert!(limit(&second).look(Criticality::Sheddable).is_ok());
    let other = AdaptiveConfig { min_in_flight: 1, ..AdaptiveConfig::default() };
    assert!(!Arc::ptr_eq(&limit(&second), &limit(&after(Some(&second), &of(40, other)))));
    let off = AdaptiveConfig { enabled: false, ..AdaptiveConfig::default() };
    assert!(after(Some(&second), &of(40, off)).adaptive_limit.is_none());
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_judged_by_the_upstream_in_place_alone() {
    let interval = Duration::from_secs(1);
    let judged = |percentage, minimum_hosts| OutlierConfig {
        interval,
        failure_percentage: percentage,
        minimum_hosts,
        request_volume: 1,
        max_ejection_percent: 100,
        ..OutlierConfig::default()
    };
    let first = after(None, &UpstreamConfig { outlier_detection: judged(100, 1), ..shop(&[A]) });
    let second = after(Some(&first), &UpstreamConfig { outlier_detection: judged(0, 1), ..shop(&[A]) });
    let endpoint = Arc::clone(&second.endpoints()[0]);
    let fail_for_an_interval = async || {
        endpoint.failed();
        endpoint.answered(None);
        advance(interval).await;
        // Both look on at the same moment.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        endpoint.is_ejected(Instant::now())
    };
    tokio::task::yield_now().await;
    assert!(!fail_for_an_interval().await, "the second one may yet be refused");
    second.take_place();
    assert!(fail_for_an_interval().await);
}
