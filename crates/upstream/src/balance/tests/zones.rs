use super::*;

/// Endpoints by zone and hints; those of zone `a` have ports below 10, of `b` below 20, and so on.
fn zoned(counts: &[(&str, u16)], hints: &[(u16, &str)]) -> Addresses {
    let ports = counts.iter().zip(1..).flat_map(|((_, count), tens)| (10 * tens..).take((*count).into()));
    let zones = counts.iter().flat_map(|(zone, count)| vec![Arc::<str>::from(*zone); (*count).into()]);
    let hint = |port: u16| hints.iter().filter(|(of, _)| *of == port).map(|(_, zone)| Arc::from(*zone)).collect();
    let found = nowhere(ports.collect::<Vec<_>>()).to_vec().into_iter().zip(zones);
    let with = |(found, zone): (Discovered, _)| {
        let for_zones = hint(found.address.socket.port());
        Discovered { zone: Some(zone), for_zones, ..found }
    };
    found.map(with).collect()
}

fn in_zone(zone: &str, found: Addresses) -> Arc<Upstream> {
    discovered_in(zone, found, |_| {}).0
}

fn of_a(port: u16) -> bool {
    (10..20).contains(&port)
}

fn eject(upstream: &Upstream, ports: impl IntoIterator<Item = u16>) {
    for port in ports {
        let endpoints = upstream.endpoints();
        let endpoint = endpoints.iter().find(|it| it.address().socket.port() == port).unwrap();
        endpoint.eject(EjectionCause::ConnectFailed);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_stay_in_the_own_zone_while_it_has_its_share_of_the_endpoints() {
    let upstream = in_zone("a", zoned(&[("a", 3), ("b", 3), ("c", 3)], &[]));
    assert_near(share(&upstream, of_a), 1.0);
}

#[tokio::test(start_paused = true)]
async fn calls_of_no_zone_and_of_an_unknown_one_go_everywhere() {
    for zone in ["", "d"] {
        let upstream = in_zone(zone, zoned(&[("a", 3), ("b", 3), ("c", 3)], &[]));
        assert_near(share(&upstream, of_a), 1.0 / 3.0);
    }
}

#[tokio::test(start_paused = true)]
async fn zone_with_too_few_endpoints_takes_no_more_calls_than_it_can() {
    let upstream = in_zone("a", zoned(&[("a", 1), ("b", 4), ("c", 5)], &[]));
    // It can take 1/10 and a fifth more, where 1/3 is expected; of the rest it gets its tenth as all others do.
    let stays = 0.12 * 3.0;
    assert_near(share(&upstream, of_a), stays + (1.0 - stays) * 0.1);
}

#[tokio::test(start_paused = true)]
async fn zone_with_ejected_endpoints_gives_calls_to_the_others() {
    let upstream = in_zone("a", zoned(&[("a", 4), ("b", 4)], &[]));
    eject(&upstream, [10, 11, 12]);
    let stays = 1.0 / 5.0 * 1.2 * 2.0;
    assert_near(share(&upstream, of_a), stays + (1.0 - stays) * 0.2);
}

#[tokio::test(start_paused = true)]
async fn zone_whose_endpoints_are_all_ejected_gets_no_call_until_one_is_back() {
    let upstream = in_zone("a", zoned(&[("a", 2), ("b", 2)], &[]));
    assert_near(share(&upstream, of_a), 1.0);
    eject(&upstream, [10, 11]);
    // So long the last count of the zone may hold; those that are ejected get no call even so.
    assert_near(share(&upstream, of_a), 0.0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_near(share(&upstream, of_a), 1.0);
}

#[tokio::test(start_paused = true)]
async fn hints_say_which_endpoints_are_near_where_all_have_them() {
    let hints = [(10, "b"), (11, "a"), (20, "a"), (21, "b")];
    let upstream = in_zone("a", zoned(&[("a", 2), ("b", 2)], &hints));
    assert_near(share(&upstream, |port| [11, 20].contains(&port)), 1.0);
}

#[tokio::test(start_paused = true)]
async fn hints_that_some_endpoints_lack_do_not_count() {
    let hints = [(11, "a"), (20, "a"), (21, "b")];
    let upstream = in_zone("a", zoned(&[("a", 2), ("b", 2)], &hints));
    assert_near(share(&upstream, of_a), 1.0);
}

#[tokio::test(start_paused = true)]
async fn retry_leaves_the_zone_where_no_other_endpoint_is_there() {
    let upstream = in_zone("a", zoned(&[("a", 1), ("b", 1)], &[]));
    let near = Arc::clone(&upstream.endpoints()[0]);
    assert_eq!(near.address().socket.port(), 10);
    let other = upstream.pick_other_than(&near).unwrap();
    assert_eq!(other.endpoint().address().socket.port(), 20);
}

#[tokio::test(start_paused = true)]
async fn endpoint_keeps_its_state_when_its_hints_change() {
    let (upstream, told) = discovered_in("a", zoned(&[("a", 1), ("b", 1)], &[(10, "a"), (20, "b")]), |_| {});
    let known = Arc::clone(&upstream.endpoints()[0]);
    let mut changed = upstream.discovered.subscribe();
    told.send_replace(zoned(&[("a", 1), ("b", 1)], &[(10, "b"), (20, "a")]));
    changed.changed().await.unwrap();
    assert!(Arc::ptr_eq(&known, &upstream.endpoints()[1]));
}
