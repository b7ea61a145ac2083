//! Answers that are not stored.

use accord_api::accord::cache::v1::tag_template::part;
use prost_types::field_descriptor_proto::Type;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::fixture::{ADA, Fixture, PlannedRead, begin, by_answer, failure, get, product, seconds};

/// Whether a read says that its answer was stored.
async fn is_stored(fixture: &Fixture, read: &PlannedRead) -> bool {
    fixture.read(read.clone(), ADA).await.unwrap().freshness.unwrap().stored
}

#[tokio::test]
async fn answer_invalidated_during_its_load_is_not_stored() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    let told_by_answer = by_answer(get("bread"));
    for (load, read) in [get("milk"), told_by_answer].into_iter().enumerate() {
        fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
        let overtaken = async {
            fixture.shop.saw(2 * load + 1).await;
            let sequence = u64::try_from(load).unwrap() + 2;
            fixture.invalidate(&["product/milk", "product/bread"], sequence).await;
            fixture.shop.open.add_permits(Semaphore::MAX_PERMITS);
        };
        let (stored, ()) = tokio::join!(is_stored(&fixture, &read), overtaken);
        assert!(!stored, "{read:?}");
        assert!(is_stored(&fixture, &read).await, "the next one is");
        assert!(!is_stored(&fixture, &read).await, "it is there already");
        assert_eq!(fixture.shop.calls(), 2 * load + 2);
    }
}

#[tokio::test]
async fn answer_without_computable_tags_is_not_stored() {
    let fixture = begin().await;
    let mut read = by_answer(get("milk"));
    for part in read.plan.tags.iter_mut().flat_map(|tag| &mut tag.parts) {
        if let Some(part::Part::Answer(id)) = &mut part.part {
            // The id is text.
            id.r#type = Type::Int64.into();
        }
    }
    for calls in [1, 2] {
        let answer = fixture.read(read.clone(), ADA).await.unwrap();
        assert_eq!((product(&answer).id.as_str(), fixture.shop.calls()), ("milk", calls));
        assert!(!answer.freshness.unwrap().stored);
    }
}

#[tokio::test]
async fn error_other_than_not_found_is_not_stored() {
    let fixture = begin().await;
    let read = get("milk").cached(|cache| cache.negative_ttl = seconds(60));
    for (error, calls) in [(Status::permission_denied("not you"), [1, 2]), (Status::not_found("no milk"), [3, 3])] {
        *fixture.shop.failure.lock().unwrap() = Some(error.clone());
        for calls in calls {
            let failed = failure(fixture.read(read.clone(), ADA).await.unwrap());
            assert_eq!((failed.code, fixture.shop.calls()), (error.code() as i32, calls), "{error}");
        }
    }
}
