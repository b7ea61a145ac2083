//! What an invalidation reaches.

use crate::fixture::{begin, by_answer, get};

#[tokio::test]
async fn an_acknowledged_invalidation_is_seen_by_every_later_read() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.invalidate(&["product/bread"], 2).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.invalidate(&["product/milk"], 3).await;
    assert_eq!(fixture.version(get("milk")).await, 2);
}

#[tokio::test]
async fn a_gap_in_the_invalidations_drops_what_was_loaded_before() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.invalidate(&["product/bread"], 3).await;
    assert_eq!(fixture.version(get("milk")).await, 2);
}

#[tokio::test]
async fn a_tag_that_only_the_answer_tells_invalidates_too() {
    let fixture = begin().await;
    let read = by_answer(get("milk"));
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(read.clone()).await, 1);
    assert_eq!(fixture.version(read.clone()).await, 1);
    fixture.invalidate(&["product/milk"], 2).await;
    assert_eq!(fixture.version(read).await, 2);
}
