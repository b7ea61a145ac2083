//! What makes a plan, and what is refused.

use accord_api::accord::policy::v1::StatusCode;
use accord_runtime::fault;

use super::*;

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn declared() -> api::Plan {
    api::Plan {
        method: "shop.v1.Shop/Get".to_owned(),
        upstream: "shop".to_owned(),
        cache: Some(Cache { ttl: Some(seconds(60)), ..Cache::default() }),
        max_response_bytes: 1024,
        load_timeout: Some(seconds(10)),
        ..api::Plan::default()
    }
}

fn compiled(change: impl FnOnce(&mut api::Plan)) -> Result<Plan, Status> {
    let mut plan = declared();
    change(&mut plan);
    Plan::compile([0; 32], plan)
}

#[track_caller]
fn assert_refused(field: &str, change: impl FnOnce(&mut api::Plan)) {
    let status = compiled(change).unwrap_err();
    assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    assert!(status.message().contains(&format!("`{field}`")), "{}", status.message());
}

fn cache(plan: &mut api::Plan) -> &mut Cache {
    plan.cache.as_mut().unwrap()
}

#[test]
fn call_with_less_time_than_the_median_is_told_why_and_when_to_come_back() {
    let plan = compiled(|_| {}).unwrap();
    (0..15).for_each(|_| plan.load_times.record(Duration::from_millis(80)));
    assert!(plan.too_late(Duration::from_millis(80)).is_none());
    let failure = plan.too_late(Duration::from_millis(60)).unwrap();
    let status = Status::with_details(failure.code.into(), failure.message, failure.details);
    assert_eq!((status.code(), fault::reason_of(&status)), (Code::DeadlineExceeded, Some(Reason::DeadlineTooShort)));
    // `google.rpc.RetryInfo`, of 80 ms.
    assert!(String::from_utf8_lossy(status.details()).contains("google.rpc.RetryInfo"));
}

#[test]
fn incomplete_plan_is_refused() {
    assert_refused("plan.method", |plan| plan.method = "shop.v1.Shop".to_owned());
    assert_refused("plan.method", |plan| plan.method = "shop.v1.Shop/Get?x".to_owned());
    assert_refused("plan.upstream", |plan| plan.upstream.clear());
    assert_refused("plan.cache", |plan| plan.cache = None);
    assert_refused("plan.max_response_bytes", |plan| plan.max_response_bytes = 0);
    assert_refused("plan.load_timeout", |plan| plan.load_timeout = None);
}

#[test]
fn plan_over_its_bounds_is_refused() {
    assert_refused("plan.cache.ttl", |plan| cache(plan).ttl = Some(seconds(i64::MAX)));
    assert_refused("plan.cache.negative_ttl", |plan| cache(plan).negative_ttl = Some(seconds(-1)));
    assert_refused("plan.tags", |plan| plan.tags = vec![api::TagTemplate::default(); 1025]);
    let step = api::tag_template::Step { number: 1, oneof_siblings: Vec::new() };
    let deep =
        api::tag_template::FieldPath { parents: vec![step.clone(); 100], leaf: Some(step), r#type: 9, default: None };
    let part = api::tag_template::Part { part: Some(api::tag_template::part::Part::Answer(deep)) };
    assert_refused("plan.tags.parts.parents", |plan| plan.tags = vec![api::TagTemplate { parts: vec![part] }]);
    assert_refused("plan.cache.vary", |plan| cache(plan).vary = vec!["x".to_owned(); 17]);
}

#[test]
fn reserved_header_name_is_refused() {
    let of_a_connection = ["connection", "content-length", "te", "transfer-encoding"];
    let long = "x".repeat(101);
    let ours = ["x-accord-passport", "x_accord-passport", "grpc-timeout", "Accept-Language", "", "a b", &long];
    for name in ours.into_iter().chain(of_a_connection) {
        assert_refused("plan.cache.vary", |plan| cache(plan).vary.push(name.to_owned()));
        assert_refused("plan.cache.keep_headers", |plan| cache(plan).keep_headers.push(name.to_owned()));
    }
    assert_eq!(compiled(|plan| cache(plan).vary.push("accept-language".to_owned())).unwrap().vary, ["accept-language"]);
}

#[test]
fn tag_beyond_its_length_is_no_tag() {
    let leaf = Some(api::tag_template::Step { number: 1, oneof_siblings: Vec::new() });
    let path = api::tag_template::FieldPath { parents: Vec::new(), leaf, r#type: 9, default: None };
    let part = api::tag_template::Part { part: Some(api::tag_template::part::Part::Request(path)) };
    let plan = compiled(|plan| plan.tags = vec![api::TagTemplate { parts: vec![part; 1000] }]).unwrap();
    let request = |length: usize| prost::Message::encode_to_vec(&"x".repeat(length));
    assert_eq!(plan.request_tags(&request(60)).unwrap().len(), 1);
    assert_eq!(plan.request_tags(&request(70)), Err(Malformed::TooLarge));
}

#[test]
fn retries_are_those_that_the_contract_declares() {
    let retry = |retry: Retry| compiled(|plan| plan.retry = Some(retry));
    let usual = retry(Retry { max_attempts: 3, ..Retry::default() }).unwrap().retries.unwrap();
    assert_eq!((usual.max_attempts, &*usual.on, usual.hedge_after), (3, &[Code::Unavailable][..], None));
    let on = vec![StatusCode::Aborted.into()];
    let hedged = retry(Retry { max_attempts: 2, on, hedge_after: Some(seconds(1)), attempt_timeout: Some(seconds(2)) })
        .unwrap()
        .retries
        .unwrap();
    assert_eq!((&*hedged.on, hedged.hedge_after), (&[Code::Aborted][..], Some(Duration::from_secs(1))));
    assert_eq!(hedged.attempt_timeout, Some(Duration::from_secs(2)));
    assert!(compiled(|_| {}).unwrap().retries.is_none());

    assert_refused("plan.retry.max_attempts", |plan| plan.retry = Some(Retry { max_attempts: 6, ..Retry::default() }));
    assert_refused("plan.retry.on", |plan| {
        plan.retry = Some(Retry { max_attempts: 2, on: vec![0], ..Retry::default() });
    });
    assert_refused("plan.retry.hedge_after", |plan| {
        plan.retry = Some(Retry { max_attempts: 2, hedge_after: Some(seconds(0)), ..Retry::default() });
    });
}
