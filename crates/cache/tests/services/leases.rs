//! Leases over the wire: who gets one, and how long an invalidation lasts elsewhere.

use std::time::Duration;

use accord_api::accord::cache::v1::{InvalidateResponse, Lease, ReadResponse};
use accord_api::accord::policy::v1::{Near, near::Promise};
use accord_readthrough::Tag;
use uuid::Uuid;

use crate::fixture::{ADA, Fixture, PlannedRead, begin_with, get, seconds};

/// More often than a busy machine can need.
const ATTEMPTS: u32 = 200;

/// A cache that grants the longest leases, and knows two gateways.
async fn leasing(gateways: [Uuid; 2]) -> Fixture {
    let fixture = begin_with(|config, _| config.leases.max = Duration::from_millis(400)).await;
    for gateway in gateways {
        let flushed = fixture.invalidate_as(&[], &gateway.to_string(), 1).await;
        assert!(flushed.wait.is_some(), "a new gateway hears how long all leases last");
    }
    fixture
}

fn near(id: &str) -> PlannedRead {
    get(id).cached(|cache| cache.near = Some(Near { promise: Some(Promise::Lease(seconds(1).unwrap())) }))
}

fn asked_by(mut read: PlannedRead, holder: Uuid) -> PlannedRead {
    read.read.holder = holder.as_bytes().to_vec().into();
    read
}

/// Reads until a lease comes: in the first lease time there is none.
async fn granted(fixture: &Fixture, read: &PlannedRead) -> (ReadResponse, Lease) {
    loop {
        let response = fixture.read(read.clone(), ADA).await.unwrap();
        if let Some(lease) = response.lease.clone() {
            return (response, lease);
        }
    }
}

fn leased(response: &InvalidateResponse) -> Vec<u32> {
    response.leased.iter().map(|tag| tag.index).collect()
}

#[tokio::test]
async fn lease_is_bounded_by_the_configured_maximum_and_names_the_tags() {
    let gateways = [Uuid::new_v4(), Uuid::new_v4()];
    let fixture = leasing(gateways).await;
    let (response, lease) = granted(&fixture, &asked_by(near("milk"), gateways[0])).await;
    assert!(Duration::try_from(lease.duration.unwrap()).unwrap() <= Duration::from_millis(400));
    assert_eq!(lease.tags, [Tag::named("product/milk").to_bits()]);
    assert_eq!(response.incarnation.len(), 16);
}

#[tokio::test]
async fn reader_that_asks_for_none_or_whose_contract_declares_none_gets_no_lease() {
    let gateways = [Uuid::new_v4(), Uuid::new_v4()];
    let fixture = leasing(gateways).await;
    granted(&fixture, &asked_by(near("milk"), gateways[0])).await;
    assert_eq!(fixture.read(near("milk"), ADA).await.unwrap().lease, None);
    assert_eq!(fixture.read(asked_by(get("milk"), gateways[0]), ADA).await.unwrap().lease, None);
}

#[tokio::test]
async fn tag_that_was_invalidated_a_moment_ago_is_leased_to_nobody() {
    let gateways = [Uuid::new_v4(), Uuid::new_v4()];
    let fixture = leasing(gateways).await;
    let read = asked_by(near("milk"), gateways[0]);
    granted(&fixture, &read).await;
    fixture.invalidate_as(&["product/milk"], &gateways[1].to_string(), 2).await;
    for _ in 0..2 {
        assert_eq!(fixture.read(read.clone(), ADA).await.unwrap().lease, None);
    }
}

#[tokio::test]
async fn invalidation_says_how_long_the_lease_of_another_lasts() {
    let gateways = [Uuid::new_v4(), Uuid::new_v4()];
    let fixture = leasing(gateways).await;
    for attempt in 0..ATTEMPTS {
        let (id, tag) = (format!("milk-{attempt}"), format!("product/milk-{attempt}"));
        granted(&fixture, &asked_by(near(&id), gateways[0])).await;
        let told =
            fixture.invalidate_as(&["product/bread", &tag], &gateways[1].to_string(), 2 + u64::from(attempt)).await;
        // Where the machine was slower than the lease, there is nothing to wait for any more.
        if leased(&told) == [1] {
            return;
        }
    }
    panic!("no write was told of the lease of another");
}

#[tokio::test]
async fn invalidation_leaves_out_the_lease_of_the_gateway_that_writes() {
    let gateways = [Uuid::new_v4(), Uuid::new_v4()];
    let fixture = leasing(gateways).await;
    for attempt in 0..5 {
        let (id, tag) = (format!("milk-{attempt}"), format!("product/milk-{attempt}"));
        granted(&fixture, &asked_by(near(&id), gateways[0])).await;
        let told = fixture.invalidate_as(&[&tag], &gateways[0].to_string(), 2 + attempt).await;
        assert!(leased(&told).is_empty());
    }
}

#[tokio::test]
async fn holder_that_is_no_name_of_a_gateway_is_refused() {
    let fixture = leasing([Uuid::new_v4(), Uuid::new_v4()]).await;
    let mut read = near("milk");
    read.read.holder = b"gateway".to_vec().into();
    assert_eq!(fixture.read(read, ADA).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}
