//! How the upstream is called, and what becomes of its failures.

use std::time::Duration;

use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::{ReadRequest, StaleReason, read_response::Result as Said};
use accord_api::accord::fault::v1::Reason;
use accord_cache::config::Config;
use accord_runtime::fault;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use crate::fixture::{ADA, begin, begin_with, by_answer, by_mesh, failure, product, seconds};

#[tokio::test]
async fn a_failure_of_the_origin_is_part_of_the_answer() {
    let fixture = begin().await;
    let details = fault::status(Code::PermissionDenied, Reason::PermissionMissing, "not yours");
    *fixture.shop.failure.lock().unwrap() = Some(details.clone());
    let answer = fixture.read(fixture.get("milk"), ADA).await.unwrap();
    let failure = failure(answer);
    assert_eq!((failure.code, failure.message.as_str()), (7, "not yours"));
    assert_eq!(failure.details, details.details());
}

#[tokio::test]
async fn a_stored_answer_stands_in_where_the_origin_is_gone() {
    let fixture = begin().await;
    let no_time = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let mut read = fixture.get("milk");
    read.policy.as_mut().unwrap().ttl = no_time;
    assert_eq!(fixture.version(read.clone()).await, 1);
    *fixture.shop.failure.lock().unwrap() = Some(Status::unavailable("closed"));
    let answer = fixture.read(read, ADA).await.unwrap();
    assert_eq!(product(&answer).version, 1);
    let freshness = answer.freshness.unwrap();
    assert_eq!(freshness.stale_reason(), StaleReason::OriginFailed);
    assert!(freshness.ttl.unwrap().nanos < 0);

    let mut nowhere = fixture.get("bread");
    nowhere.origin.as_mut().unwrap().endpoints = vec!["http://127.0.0.1:1".to_owned()];
    let failure = failure(fixture.read(nowhere, ADA).await.unwrap());
    assert_eq!((failure.code, failure.message.as_str()), (14, "the upstream can't be reached"));
}

#[tokio::test]
async fn a_crowd_waits_for_one_load_and_the_deadline_of_a_caller_holds() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let reads = (0..50).map(|_| fixture.read(fixture.get("milk"), ADA));
    let open = async {
        fixture.shop.saw(1).await;
        fixture.shop.open.add_permits(1);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(reads), open);
    assert!(answers.iter().all(|answer| product(answer.as_ref().unwrap()).version == 1));
    assert_eq!(fixture.shop.calls(), 1);

    let mut hurried = by_mesh(fixture.get("bread"));
    hurried.set_timeout(Duration::from_millis(150));
    let late = ReadThroughServiceClient::new(fixture.channel.clone()).read(hurried).await;
    assert!(late.is_err() || matches!(late.unwrap().into_inner().result, Some(Said::Failure(_))));
    assert!(fixture.shop.time_left(1) <= Duration::from_millis(150));
}

#[tokio::test]
async fn a_reader_with_more_time_does_not_fail_with_one_in_a_hurry() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let mut hurried = by_mesh(fixture.get("milk"));
    hurried.metadata_mut().insert("x-accord-passport", "north/ada@shop".parse().unwrap());
    hurried.set_timeout(Duration::from_millis(300));
    let mut client = ReadThroughServiceClient::new(fixture.channel.clone());
    let hurried = tokio::spawn(async move { client.read(hurried).await });
    fixture.shop.saw(1).await;
    let open = async {
        fixture.shop.saw(2).await;
        fixture.shop.open.add_permits(2);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = fixture.read(fixture.get("milk"), ADA) => assert_eq!(product(&answer.unwrap()).version, 2),
        () = open => {}
    }
    let late = hurried.await.unwrap();
    assert!(late.is_err() || matches!(late.unwrap().into_inner().result, Some(Said::Failure(_))));
}

#[tokio::test]
async fn a_load_ends_by_the_timeout_of_its_origin() {
    let mut config = Config::default();
    config.origin.timeout = Duration::from_millis(100);
    let fixture = begin_with(config).await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let failure = failure(fixture.read(fixture.get("milk"), ADA).await.unwrap());
    assert_eq!(Code::from_i32(failure.code), Code::DeadlineExceeded);
    assert_eq!(fixture.shop.calls(), 1, "a timeout is no reason to ask again");
}

#[tokio::test]
async fn another_endpoint_answers_where_one_is_gone() {
    let fixture = begin().await;
    for id in ["milk", "bread"] {
        let mut read = fixture.get(id);
        read.origin.as_mut().unwrap().endpoints.insert(0, "http://127.0.0.1:1".to_owned());
        assert_eq!(product(&fixture.read(read, ADA).await.unwrap()).id, id);
    }
}

#[tokio::test]
async fn an_absence_is_remembered_only_where_its_tags_are_known() {
    let fixture = begin().await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::not_found("sold out"));
    let mut known = fixture.get("milk");
    known.policy.as_mut().unwrap().negative_ttl = seconds(60);
    let unknown = ReadRequest { answer_tags: vec![by_answer()], ..known.clone() };
    for calls in [1, 2] {
        assert_eq!(failure(fixture.read(unknown.clone(), ADA).await.unwrap()).code, 5);
        assert_eq!(fixture.shop.calls(), calls);
    }
    for _ in 0..2 {
        assert_eq!(failure(fixture.read(known.clone(), ADA).await.unwrap()).message, "sold out");
        assert_eq!(fixture.shop.calls(), 3);
    }
}
