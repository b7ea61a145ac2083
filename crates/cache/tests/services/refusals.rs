//! What is not answered.

use accord_api::accord::cache::v1::invalidation_service_client::InvalidationServiceClient;
use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::{
    AnswerTag, InvalidateRequest, Origin, ReadRequest,
    answer_tag::{FieldPath, Part, part},
};
use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::Cache;
use accord_cache::config::Config;
use accord_runtime::fault;
use tokio::sync::Semaphore;
use tonic::Code;

use crate::fixture::{ADA, begin, begin_with, by_mesh, product, seconds};

#[tokio::test]
async fn strangers_and_nonsense_are_refused() {
    let fixture = begin().await;
    let mut client = ReadThroughServiceClient::new(fixture.channel.clone());
    let stranger = client.read(fixture.get("milk")).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    let elsewhere = fixture.read(fixture.get("milk"), Some("north/ada@bank")).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::Unauthenticated);
    let good = fixture.get("milk");
    for nonsense in [
        ReadRequest { method: "shop.v1.Shop".to_owned(), ..good.clone() },
        ReadRequest { method: "shop.v1.Shop/Get?x".to_owned(), ..good.clone() },
        ReadRequest { origin: None, ..good.clone() },
        ReadRequest { policy: None, ..good },
    ] {
        let status = fixture.read(nonsense, ADA).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn more_than_anybody_means_is_refused() {
    let fixture = begin().await;
    let good = fixture.get("milk");
    let crowd = |text: &str| vec![text.to_owned(); 1025];
    let deep = FieldPath { numbers: vec![1; 101], r#type: 9 };
    let deep = AnswerTag { parts: vec![Part { part: Some(part::Part::Field(deep)) }] };
    for (field, read) in [
        (
            "policy.ttl",
            ReadRequest { policy: Some(Cache { ttl: seconds(i64::MAX), ..Cache::default() }), ..good.clone() },
        ),
        ("tags", ReadRequest { tags: crowd("product/milk"), ..good.clone() }),
        ("answer_tags", ReadRequest { answer_tags: vec![AnswerTag::default(); 1025], ..good.clone() }),
        ("answer_tags.parts.field.numbers", ReadRequest { answer_tags: vec![deep], ..good.clone() }),
        ("origin.endpoints", {
            let origin = Origin { name: "shop".to_owned(), endpoints: crowd(&fixture.shop.url) };
            ReadRequest { origin: Some(origin), ..good }
        }),
    ] {
        let status = fixture.read(read, ADA).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
        assert!(status.message().contains(&format!("`{field}`")), "{}", status.message());
    }
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn of_two_passports_none_counts() {
    let fixture = begin().await;
    let mut request = by_mesh(fixture.get("milk"));
    for passport in ["north/ada@shop", "north/bob@shop"] {
        request.metadata_mut().append("x-accord-passport", passport.parse().unwrap());
    }
    let refused = ReadThroughServiceClient::new(fixture.channel.clone()).read(request).await.unwrap_err();
    assert_eq!(fault::reason_of(&refused), Some(Reason::HeaderRefused));
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn a_batch_of_nobody_or_out_of_count_is_refused() {
    let fixture = begin().await;
    let mut client = InvalidationServiceClient::new(fixture.channel.clone());
    for (incarnation, sequence) in [("", 1), ("gateway-1", 0), (&*"g".repeat(129), 1)] {
        let batch = InvalidateRequest { tags: vec![], incarnation: incarnation.to_owned(), sequence };
        let status = client.invalidate(by_mesh(batch)).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
}

#[tokio::test]
async fn a_load_beyond_the_bound_is_refused() {
    let mut config = Config::default();
    config.engine.max_flights = 1;
    let fixture = begin_with(config).await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let second = async {
        fixture.shop.saw(1).await;
        let refused = fixture.read(fixture.get("bread"), ADA).await.unwrap_err();
        fixture.shop.open.add_permits(1);
        refused
    };
    let (first, refused) = tokio::join!(fixture.read(fixture.get("milk"), ADA), second);
    assert_eq!(product(&first.unwrap()).id, "milk");
    assert_eq!((refused.code(), fault::reason_of(&refused)), (Code::ResourceExhausted, Some(Reason::Overloaded)));
}
