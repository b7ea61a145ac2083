//! Consistency tokens: what readers pass, and what they are told then.

use accord_api::accord::cache::v1::invalidation_service_client::InvalidationServiceClient;
use accord_api::accord::cache::v1::{Consistency, InvalidateRequest, Outcome, ReadResponse, read_response};
use accord_api::accord::fault::v1::Reason;
use accord_readthrough::ConsistencyToken;
use accord_runtime::fault;
use bytes::Bytes;
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

use crate::fixture::{ADA, Fixture, PlannedRead, begin, by_mesh, get, outcome, product};

fn passing(mut read: PlannedRead, tokens: &[Bytes]) -> PlannedRead {
    read.read.consistency = Some(Consistency { at_least_as_fresh: tokens.to_vec(), ..Consistency::default() });
    read
}

/// Sends a batch of writes of two tenants; the token of the northern one's.
async fn write(fixture: &Fixture, tags: &[&str], sequence: u64) -> Bytes {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let token_tenants = ["south", "north"].map(str::to_owned).to_vec();
    let incarnation = "gateway-1".to_owned();
    let batch = InvalidateRequest { tags, incarnation, sequence, token_tenants, ..Default::default() };
    let mut client = InvalidationServiceClient::new(fixture.channel.clone());
    let answer = client.invalidate(by_mesh(batch)).await.unwrap().into_inner();
    let [_, north] = <[Bytes; 2]>::try_from(answer.consistency_tokens).unwrap();
    north
}

async fn read(fixture: &Fixture, read: PlannedRead) -> (i64, Outcome, Bytes) {
    let answer: ReadResponse = fixture.read(read, ADA).await.unwrap();
    (product(&answer).version, outcome(&answer), answer.consistency_token)
}

/// A cache that knows its gateway, and has loaded the milk.
async fn with_milk() -> Fixture {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture
}

#[tokio::test]
async fn token_of_a_write_asks_for_a_load_whatever_its_tags_are() {
    let fixture = with_milk().await;
    let token = write(&fixture, &["of something else"], 2).await;
    let (version, from, told) = read(&fixture, passing(get("milk"), &[token])).await;
    assert_eq!((version, from), (2, Outcome::Stale));
    let (version, from, _) = read(&fixture, passing(get("milk"), &[told])).await;
    assert_eq!((version, from), (2, Outcome::Hit), "what it was told itself is new enough");
}

#[tokio::test]
async fn token_of_a_write_is_met_by_what_was_loaded_after_it() {
    let fixture = with_milk().await;
    let token = write(&fixture, &["product/milk"], 2).await;
    assert_eq!(fixture.version(get("milk")).await, 2);
    let (version, from, _) = read(&fixture, passing(get("milk"), &[token])).await;
    assert_eq!((version, from), (2, Outcome::Hit));
}

#[tokio::test]
async fn token_of_a_read_carries_what_its_reader_passed_to_other_keys() {
    let fixture = with_milk().await;
    let token = write(&fixture, &["of something else"], 2).await;
    let (.., told) = read(&fixture, passing(get("bread"), &[token])).await;
    let (_, from, _) = read(&fixture, passing(get("milk"), &[told])).await;
    assert_eq!(from, Outcome::Stale);
}

#[tokio::test]
async fn token_of_a_read_makes_no_miss_of_other_keys() {
    let fixture = with_milk().await;
    let (.., told) = read(&fixture, get("bread")).await;
    let (_, from, told) = read(&fixture, passing(get("milk"), &[told])).await;
    assert_eq!(from, Outcome::Hit);
    assert_eq!(read(&fixture, passing(get("bread"), &[told])).await.1, Outcome::Hit);
}

#[tokio::test]
async fn unknown_token_is_a_load_and_the_token_of_its_answer_is_not() {
    let fixture = with_milk().await;
    let unknown = Bytes::from_static(&ConsistencyToken::UNKNOWN);
    let (version, from, told) = read(&fixture, passing(get("milk"), &[unknown])).await;
    assert_eq!((version, from), (2, Outcome::Stale));
    assert_eq!(read(&fixture, passing(get("milk"), &[told])).await.1, Outcome::Hit);
}

#[tokio::test]
async fn flood_of_tokens_that_can_not_be_judged_makes_one_load_in_a_tenth_of_a_second() {
    let (fixture, begun) = (with_milk().await, Instant::now());
    let unknown = [Bytes::from_static(&ConsistencyToken::UNKNOWN)];
    for _ in 0..6 {
        let reads = (0..50).map(|_| fixture.read(passing(get("milk"), &unknown), ADA));
        for answer in join_all(reads).await {
            assert!(product(&answer.unwrap()).version > 1, "it is older than the reader");
        }
    }
    // One before, one at once, and one more where a reader came between a load and the next turn.
    let most = 3 + begun.elapsed().as_millis() / 100;
    assert!(fixture.shop.calls() as u128 <= most, "{} loads, and {most} are the most", fixture.shop.calls());
}

#[tokio::test]
async fn reader_who_leaves_before_the_next_forced_load_is_answered_that_and_asks_nobody_else() {
    let fixture = with_milk().await;
    let read = || passing(get("milk"), &[Bytes::from_static(&ConsistencyToken::UNKNOWN)]);
    fixture.read(read(), ADA).await.unwrap();
    let answer = fixture.send(read().whole(), ADA, Duration::from_millis(30)).await.unwrap();
    // A failure of the call would have the gateway ask the upstream.
    assert!(matches!(answer.result, Some(read_response::Result::Failure(_))), "{answer:?}");
    assert_eq!(fixture.shop.calls(), 2);
}

#[tokio::test]
async fn token_of_another_cache_asks_for_a_load() {
    let [fixture, other] = [with_milk().await, begin().await];
    let (.., token) = read(&other, get("milk")).await;
    assert_eq!(read(&fixture, passing(get("milk"), &[token])).await.1, Outcome::Stale);
}

#[tokio::test]
async fn token_that_nothing_stored_meets_is_not_stored_to_who_wants_no_load() {
    let fixture = with_milk().await;
    let token = write(&fixture, &["of something else"], 2).await;
    let mut only = passing(get("milk"), &[token]);
    only.read.consistency.as_mut().unwrap().only_if_cached = true;
    let answer = fixture.read(only, ADA).await.unwrap();
    assert!(matches!(answer.result, Some(read_response::Result::NotStored(_))), "{answer:?}");
}

#[tokio::test]
async fn token_that_nothing_stored_meets_fails_where_the_origin_does() {
    let fixture = with_milk().await;
    let token = write(&fixture, &["of something else"], 2).await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::unavailable("shut"));
    let answer = fixture.read(passing(get("milk"), &[token]), ADA).await.unwrap();
    assert!(
        matches!(answer.result, Some(read_response::Result::Failure(_))),
        "stale-if-error would be older: {answer:?}"
    );
}

#[tokio::test]
async fn token_of_a_tenants_write_is_judged_for_who_reads_in_no_name() {
    let fixture = with_milk().await;
    let in_no_name = async |tokens: &[Bytes]| {
        let answer = fixture.read(passing(get("milk"), tokens), None).await.unwrap();
        (outcome(&answer), answer.consistency_token)
    };
    in_no_name(&[]).await;
    let token = write(&fixture, &["of something else"], 2).await;
    let (from, told) = in_no_name(&[token]).await;
    assert_eq!(from, Outcome::Stale);
    assert_eq!(in_no_name(std::slice::from_ref(&told)).await.0, Outcome::Hit);
    // Somebody who logs in goes on from there.
    assert!(fixture.read(passing(get("milk"), &[told]), ADA).await.is_ok());
}

#[tokio::test]
async fn changed_token_and_one_of_another_tenant_are_invalid_argument() {
    let fixture = with_milk().await;
    let (.., token) = read(&fixture, get("milk")).await;
    let mut changed = token.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    for (passed, who) in [(changed.into(), ADA), (token, Some("south/ada@shop"))] {
        let refused = fixture.read(passing(get("milk"), &[passed]), who).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(fault::reason_of(&refused), Some(Reason::ConsistencyTokenInvalid));
    }
}
