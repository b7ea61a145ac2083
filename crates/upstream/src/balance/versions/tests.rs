use super::*;
use crate::config::version::fixture::{config, version};

fn of(config: &UpstreamConfig) -> Versions {
    Versions::new(config, &DiscoveryConfig::default(), None).unwrap()
}

fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = given.iter();
    pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[tokio::test]
async fn each_draw_of_a_weight_goes_to_its_version() {
    let versions = of(&config(2, &[version("b", 0, &[]), version("c", 3, &[]), version("d", 1, &[])]));
    let drawn: Vec<_> = (0..6).map(|drawn| versions.choose(&HeaderMap::new(), |total| drawn.min(total))).collect();
    assert_eq!(drawn, [None, None, Some(1), Some(1), Some(1), Some(2)]);
}

#[tokio::test]
async fn first_version_whose_headers_all_fit_takes_the_call_whatever_its_weight() {
    let both = version("both", 0, &[("x-canary", "1"), ("x-region", "eu")]);
    let versions = of(&config(1, &[both, version("one", 0, &[("x-canary", "1")])]));
    let chosen = |given| versions.choose(&headers(given), |_| 0);
    assert_eq!(chosen(&[("x-canary", "1"), ("x-region", "eu")]), Some(0));
    assert_eq!(chosen(&[("x-canary", "1"), ("x-region", "us")]), Some(1));
    assert_eq!(chosen(&[("x-canary", "10")]), None);
    assert_eq!(chosen(&[]), None);
}

#[tokio::test]
async fn header_that_came_more_than_once_fits_by_any_of_its_values() {
    let versions = of(&config(1, &[version("b", 0, &[("X-Canary", "1")])]));
    let mut given = headers(&[("x-canary", "0")]);
    given.append("x-canary", HeaderValue::from_static("1"));
    assert_eq!(versions.choose(&given, |_| 0), Some(0));
}

#[tokio::test]
async fn version_is_an_upstream_of_its_own_that_is_found_by_its_name() {
    let upstream = Upstream::new(&config(1, &[version("b", 0, &[])])).unwrap();
    let named = upstream.version("b").unwrap();
    assert_eq!((&**named.name(), upstream.with_versions().count()), ("shop/b", 2));
    let labels = [&upstream, named].map(|upstream| upstream.endpoints()[0].label().to_owned());
    assert_eq!(labels, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    assert!(Arc::ptr_eq(upstream.version("").unwrap(), &upstream) && upstream.version("c").is_none());
}

#[tokio::test]
async fn versions_are_named_where_there_are_several() {
    let upstream = Upstream::new(&config(1, &[version("b", 0, &[])])).unwrap();
    let names = [None, Some(0)].map(|place| upstream.version_name(place).map(|name| &**name));
    assert_eq!(names, [Some("default"), Some("b")]);
    assert_eq!(Upstream::new(&config(1, &[])).unwrap().version_name(None), None);
}
