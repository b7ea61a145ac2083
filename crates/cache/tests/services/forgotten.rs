//! What is answered and not kept.

use accord_api::accord::cache::v1::{AnswerTag, ReadRequest, answer_tag};
use prost_types::field_descriptor_proto::Type;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::fixture::{ADA, Fixture, begin, by_answer, failure, product, seconds};

/// Whether a read says that its answer was kept.
async fn is_kept(fixture: &Fixture, read: &ReadRequest) -> bool {
    fixture.read(read.clone(), ADA).await.unwrap().freshness.unwrap().stored
}

#[tokio::test]
async fn an_answer_that_was_invalidated_on_its_way_is_not_kept() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    let by_answer = ReadRequest { tags: vec![], answer_tags: vec![by_answer()], ..fixture.get("bread") };
    for (load, read) in [fixture.get("milk"), by_answer].into_iter().enumerate() {
        fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
        let overtaken = async {
            fixture.shop.saw(2 * load + 1).await;
            let sequence = u64::try_from(load).unwrap() + 2;
            fixture.invalidate(&["product/milk", "product/bread"], sequence).await;
            fixture.shop.open.add_permits(Semaphore::MAX_PERMITS);
        };
        let (kept, ()) = tokio::join!(is_kept(&fixture, &read), overtaken);
        assert!(!kept, "{read:?}");
        assert!(is_kept(&fixture, &read).await, "the next one is");
        assert!(!is_kept(&fixture, &read).await, "it is there already");
        assert_eq!(fixture.shop.calls(), 2 * load + 2);
    }
}

#[tokio::test]
async fn an_answer_whose_tags_can_not_be_told_is_not_kept() {
    let fixture = begin().await;
    let mut unfit: AnswerTag = by_answer();
    for part in &mut unfit.parts {
        if let Some(answer_tag::part::Part::Field(id)) = &mut part.part {
            // The id is text.
            id.r#type = Type::Int64.into();
        }
    }
    let read = ReadRequest { answer_tags: vec![unfit], ..fixture.get("milk") };
    for calls in [1, 2] {
        let answer = fixture.read(read.clone(), ADA).await.unwrap();
        assert_eq!((product(&answer).id.as_str(), fixture.shop.calls()), ("milk", calls));
        assert!(!answer.freshness.unwrap().stored);
    }
}

#[tokio::test]
async fn of_errors_only_an_absence_is_kept() {
    let fixture = begin().await;
    let mut read = fixture.get("milk");
    read.policy.as_mut().unwrap().negative_ttl = seconds(60);
    for (error, calls) in [(Status::permission_denied("not you"), [1, 2]), (Status::not_found("no milk"), [3, 3])] {
        *fixture.shop.failure.lock().unwrap() = Some(error.clone());
        for calls in calls {
            let failed = failure(fixture.read(read.clone(), ADA).await.unwrap());
            assert_eq!((failed.code, fixture.shop.calls()), (error.code() as i32, calls), "{error}");
        }
    }
}
