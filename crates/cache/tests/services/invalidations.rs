//! Cache invalidation, and gaps in it.

use accord_api::accord::cache::v1::StaleReason;
use tonic::Status;

use crate::fixture::{ADA, begin, by_answer, failure, get, product};

#[tokio::test]
async fn what_expired_is_served_while_its_origin_fails_and_what_was_deleted_is_not() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.expire(&["product/milk"], 2).await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::unavailable("the shop is closed"));
    let stale = fixture.read(get("milk"), ADA).await.unwrap();
    assert_eq!((product(&stale).version, fixture.shop.calls()), (1, 2), "the origin is asked first");
    assert_eq!(stale.freshness.unwrap().stale_reason(), StaleReason::OriginFailed);
    fixture.invalidate(&["product/milk"], 3).await;
    assert_eq!(failure(fixture.read(get("milk"), ADA).await.unwrap()).code, 14);
}

#[tokio::test]
async fn invalidation_is_seen_by_every_read_after_it_is_acknowledged() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.invalidate(&["product/bread"], 2).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.invalidate(&["product/milk"], 3).await;
    assert_eq!(fixture.version(get("milk")).await, 2);
}

#[tokio::test]
async fn invalidation_gap_drops_earlier_answers() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.invalidate(&["product/bread"], 3).await;
    assert_eq!(fixture.version(get("milk")).await, 2);
}

#[tokio::test]
async fn invalidation_reaches_tags_over_the_response() {
    let fixture = begin().await;
    let read = by_answer(get("milk"));
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(read.clone()).await, 1);
    assert_eq!(fixture.version(read.clone()).await, 1);
    fixture.invalidate(&["product/milk"], 2).await;
    assert_eq!(fixture.version(read).await, 2);
}
