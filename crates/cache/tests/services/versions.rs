//! Versions that an upstream gives its answers, in a field or a header that its contract names.

use accord_api::accord::cache::v1::tag_template::{FieldPath, Step};
use accord_api::accord::cache::v1::{Consistency, Outcome, consistency::Requirement};

use crate::fixture::{ADA, PlannedRead, begin, get, outcome, product};

/// A read whose answers have a version: the field of this number and type.
fn versioned(number: u32, r#type: i32) -> PlannedRead {
    let leaf = Some(Step { number, oneof_siblings: vec![] });
    let path = FieldPath { parents: vec![], leaf, r#type, default: None };
    get("milk").with(|plan| plan.version_field = vec![path])
}

/// The version of a product, an `int64`.
fn read() -> PlannedRead {
    versioned(7, 3)
}

fn strong(mut read: PlannedRead) -> PlannedRead {
    let requirement = Some(Requirement::Strong(true));
    read.read.consistency = Some(Consistency { requirement, ..Consistency::default() });
    read
}

#[tokio::test]
async fn answer_of_a_replica_that_lags_replaces_no_newer_one() {
    let fixture = begin().await;
    fixture.shop.versions.lock().unwrap().extend([7, 5, 8]);
    let first = fixture.read(read(), ADA).await.unwrap();
    assert_eq!((product(&first).version, first.freshness.unwrap().version), (7, Some(7)));
    // The second load brings 5, and the third 8.
    for (version, is_stored) in [(7, false), (8, true)] {
        let answer = fixture.read(strong(read()), ADA).await.unwrap();
        assert_eq!((product(&answer).version, outcome(&answer)), (version, Outcome::Request));
        let freshness = answer.freshness.unwrap();
        assert_eq!((freshness.version, freshness.stored), (u64::try_from(version).ok(), is_stored));
        assert_eq!(fixture.version(read()).await, version);
    }
    assert_eq!(fixture.shop.calls(), 3);
}

#[tokio::test]
async fn version_in_a_header_is_compared_as_one_in_a_field_is() {
    let fixture = begin().await;
    let read = || get("milk").cached(|cache| cache.version_header = "etag".to_owned());
    for (tag, told) in [("\"7\"", 7), ("W/\"5\"", 7), ("8", 8)] {
        fixture.shop.head.lock().unwrap().insert("etag", tag.parse().unwrap());
        let answer = fixture.read(strong(read()), ADA).await.unwrap();
        assert_eq!(answer.freshness.unwrap().version, Some(told), "{tag}");
    }
    assert_eq!(fixture.shop.calls(), 3);
}

#[tokio::test]
async fn plan_whose_version_has_no_order_is_refused() {
    let fixture = begin().await;
    for r#type in [9, 14, 1, 8] {
        let refused = fixture.read(versioned(2, r#type), ADA).await.unwrap_err();
        assert!(refused.message().contains("plan"), "{}", refused.message());
    }
}
