//! Requests that are refused.

use accord_api::accord::cache::v1::invalidation_service_client::InvalidationServiceClient;
use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::tag_template::{FieldPath, Part, Step, part};
use accord_api::accord::cache::v1::{InvalidateRequest, TagTemplate};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use tokio::sync::Semaphore;
use tonic::Code;

use crate::fixture::{ADA, begin, begin_with, by_mesh, get, product, seconds};

#[tokio::test]
async fn unauthenticated_and_malformed_reads_are_refused() {
    let fixture = begin().await;
    let mut client = ReadThroughServiceClient::new(fixture.channel.clone());
    let stranger = client.read(get("milk").whole()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    let elsewhere = fixture.read(get("milk"), Some("north/ada@bank")).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::Unauthenticated);
    let good = get("milk");
    for nonsense in [
        good.clone().with(|plan| plan.method = "shop.v1.Shop".to_owned()),
        good.clone().with(|plan| plan.method = "shop.v1.Shop/Get?x".to_owned()),
        good.clone().with(|plan| plan.upstream.clear()),
        good.clone().with(|plan| plan.cache = None),
        good.with_headers(&[("accept-language", "de")]),
    ] {
        let status = fixture.read(nonsense, ADA).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn request_beyond_its_bounds_is_refused() {
    let fixture = begin().await;
    let good = || get("milk");
    let step = Step { number: 1, oneof_siblings: vec![] };
    let deep = FieldPath { parents: vec![step.clone(); 100], leaf: Some(step), r#type: 9, default: None };
    let deep = TagTemplate { parts: vec![Part { part: Some(part::Part::Answer(deep)) }] };
    let crowd = vec![("accept-language", "de"); 1025];
    let vary = || good().cached(|cache| cache.vary.push("accept-language".to_owned()));
    for (field, read) in [
        ("plan.cache.ttl", good().cached(|cache| cache.ttl = seconds(i64::MAX))),
        ("plan.tags", good().with(|plan| plan.tags = vec![TagTemplate::default(); 1025])),
        ("plan.tags.parts.parents", good().with(|plan| plan.tags = vec![deep])),
        ("headers", vary().with_headers(&crowd)),
        ("plan", good().with(|plan| plan.method = "m".repeat(64 * 1024))),
    ] {
        let status = fixture.read(read, ADA).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
        assert!(status.message().contains(&format!("`{field}`")), "{}", status.message());
    }
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn request_with_two_passports_is_refused() {
    let fixture = begin().await;
    let mut request = by_mesh(get("milk").whole());
    for passport in ["north/ada@shop", "north/bob@shop"] {
        request.metadata_mut().append("x-accord-passport", passport.parse().unwrap());
    }
    let refused = ReadThroughServiceClient::new(fixture.channel.clone()).read(request).await.unwrap_err();
    assert_eq!(fault::reason_of(&refused), Some(Reason::HeaderRefused));
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn invalidation_batch_without_sender_or_sequence_is_refused() {
    let fixture = begin().await;
    let mut client = InvalidationServiceClient::new(fixture.channel.clone());
    for (incarnation, sequence) in [("", 1), ("gateway-1", 0), (&*"g".repeat(129), 1)] {
        let batch =
            InvalidateRequest { tags: vec![], incarnation: incarnation.to_owned(), sequence, ..Default::default() };
        let status = client.invalidate(by_mesh(batch)).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
}

#[tokio::test]
async fn load_beyond_max_flights_is_refused() {
    let fixture = begin_with(|config, _| config.engine.max_flights = 1).await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let second = async {
        fixture.shop.saw(1).await;
        let refused = fixture.read(get("bread"), ADA).await.unwrap_err();
        fixture.shop.open.add_permits(1);
        refused
    };
    let (first, refused) = tokio::join!(fixture.read(get("milk"), ADA), second);
    assert_eq!(product(&first.unwrap()).id, "milk");
    assert_eq!((refused.code(), fault::reason_of(&refused)), (Code::ResourceExhausted, Some(Reason::Overloaded)));
}
