//! Cache invalidation, and gaps in it.

use crate::fixture::{begin, by_answer, get};

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
