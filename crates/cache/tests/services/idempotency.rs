//! Idempotency keys.

use accord_api::accord::cache::v1::idempotency_service_client::IdempotencyServiceClient;
use accord_api::accord::cache::v1::{
    AbandonRequest, AnswerMetadata, BeginRequest, CompleteRequest, Header, StoredAnswer, begin_response::Decision,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use tonic::Code;

use crate::fixture::{begin, by_mesh, seconds};

#[tokio::test]
async fn idempotency_key_is_claimed_once_and_refused_without_records() {
    let fixture = begin().await;
    let mut client = IdempotencyServiceClient::new(fixture.channel.clone());
    let ask = order("order-17");
    let first = client.begin(by_mesh(ask.clone())).await.unwrap().into_inner();
    let Some(Decision::Claim(claim)) = first.decision else { panic!("a new key is free") };
    let second = client.begin(by_mesh(ask.clone())).await.unwrap().into_inner();
    assert!(matches!(second.decision, Some(Decision::InFlight(_))));
    let header = |name: &str| Header { name: name.to_owned(), value: vec![255].into() };
    let metadata =
        AnswerMetadata { head: vec![header("location")], trailers: vec![header("x-cost")], is_trailers_only: true };
    let answer = StoredAnswer { response: vec![1, 2, 3], metadata: Some(metadata), ..StoredAnswer::default() };
    let complete = CompleteRequest { claim_id: claim.id, answer: Some(answer.clone()) };
    client.complete(by_mesh(complete)).await.unwrap();
    let third = client.begin(by_mesh(ask.clone())).await.unwrap().into_inner();
    assert_eq!(third.decision, Some(Decision::Answer(answer)));

    fixture.records.close().await;
    let refused = client.begin(by_mesh(ask)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(fault::reason_of(&refused), Some(Reason::IdempotencyUnavailable));
}

#[tokio::test]
async fn idempotency_claim_that_is_asked_for_again_under_its_name_is_the_same() {
    let fixture = begin().await;
    let mut client = IdempotencyServiceClient::new(fixture.channel.clone());
    let named = |name: &str| BeginRequest { claim_id: name.to_owned(), ..order("order-17") };
    let mut ask = async |name: &str| client.begin(by_mesh(named(name))).await.map(|begun| begun.into_inner().decision);
    for _ in 0..2 {
        let Ok(Some(Decision::Claim(claim))) = ask("first").await else { panic!("it is its own") };
        assert_eq!(claim.id, "first");
    }
    assert!(matches!(ask("second").await, Ok(Some(Decision::InFlight(_)))));
    assert_eq!(ask(&"n".repeat(65)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn idempotency_claim_that_is_abandoned_is_free_for_another() {
    let fixture = begin().await;
    let mut client = IdempotencyServiceClient::new(fixture.channel.clone());
    let mut claim = async || {
        let begun = client.begin(by_mesh(order("order-17"))).await.unwrap().into_inner();
        let Some(Decision::Claim(claim)) = begun.decision else { panic!("the key is free") };
        client.abandon(by_mesh(AbandonRequest { claim_id: claim.id.clone() })).await.unwrap();
        claim.id
    };
    let (first, second) = (claim().await, claim().await);
    assert_ne!(first, second);
    let late = CompleteRequest { claim_id: first, answer: Some(StoredAnswer::default()) };
    assert_eq!(client.complete(by_mesh(late)).await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn idempotency_claim_without_its_fields_is_refused() {
    let fixture = begin().await;
    let mut client = IdempotencyServiceClient::new(fixture.channel.clone());
    for nonsense in [
        order(""),
        order("order\n17"),
        order("ördér-17"),
        order(&"1".repeat(256)),
        BeginRequest { method: String::new(), ..order("order-17") },
        BeginRequest { method: "m".repeat(1025), ..order("order-17") },
        BeginRequest { owner: "o".repeat(1025), ..order("order-17") },
        BeginRequest { window: seconds(i64::MAX), ..order("order-17") },
        BeginRequest { request_digest: vec![1; 31], ..order("order-17") },
        BeginRequest { window: None, ..order("order-17") },
        BeginRequest { lease: seconds(0), ..order("order-17") },
        BeginRequest { lease: seconds(-1), ..order("order-17") },
    ] {
        let status = client.begin(by_mesh(nonsense)).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
    let bare = CompleteRequest { claim_id: "1".to_owned(), answer: None };
    let status = client.complete(by_mesh(bare)).await.unwrap_err();
    assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
}

fn order(key: &str) -> BeginRequest {
    BeginRequest {
        method: "shop.v1.Shop/Order".to_owned(),
        owner: "north/ada".to_owned(),
        key: key.to_owned(),
        request_digest: vec![1; 32],
        window: seconds(60),
        lease: seconds(10),
        claim_id: String::new(),
    }
}
