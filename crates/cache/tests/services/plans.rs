//! Plans, which the cache is sent once, and the upstreams that they name.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use accord_api::accord::cache::v1::{PlanUnknown, ReadRequest, read_response::Result as ReadResult};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use tonic::Code;

use crate::fixture::{ADA, begin, get, product};

const TIME: Duration = Duration::from_secs(5);

#[tokio::test]
async fn plan_is_requested_once() {
    let fixture = begin().await;
    let read = get("milk");
    let unknown = fixture.send(read.brief(), ADA, TIME).await.unwrap();
    assert_eq!((unknown.result, fixture.shop.calls()), (Some(ReadResult::PlanUnknown(PlanUnknown {})), 0));
    assert!(unknown.freshness.is_none());
    assert_eq!(product(&fixture.send(read.whole(), ADA, TIME).await.unwrap()).id, "milk");
    assert_eq!(product(&fixture.send(get("bread").brief(), ADA, TIME).await.unwrap()).id, "bread");
}

#[tokio::test]
async fn plan_whose_digest_is_another_is_refused() {
    let fixture = begin().await;
    let good = get("milk");
    let other = good.clone().with(|plan| plan.max_response_bytes += 1);
    for nonsense in [
        ReadRequest { plan: other.whole().plan, ..good.brief() },
        ReadRequest { plan_digest: vec![0; 31].into(), ..good.whole() },
        ReadRequest { plan_digest: vec![].into(), ..good.whole() },
    ] {
        let status = fixture.send(nonsense, ADA, TIME).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
    assert_eq!(fixture.shop.calls(), 0);
}

/// Whoever may read can make the cache call what its configuration holds, and nothing else.
#[tokio::test]
async fn upstream_that_is_not_configured_is_refused_without_a_connection() {
    let fixture = begin().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    for name in [
        format!("http://{address}"),
        address.to_string(),
        fixture.shop.url.clone(),
        "bank".to_owned(),
        "Shop".to_owned(),
        "sh op".to_owned(),
    ] {
        let read = get("milk").with(|plan| plan.upstream.clone_from(&name));
        for passport in [Some(format!("north/ada@{name}")), None] {
            let refused = fixture.read(read.clone(), passport.as_deref()).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{name}");
            assert_eq!(fault::reason_of(&refused), Some(Reason::UpstreamUnknown));
        }
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(fixture.shop.calls(), 0);
}
