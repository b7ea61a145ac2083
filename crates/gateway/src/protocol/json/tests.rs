use super::*;

#[test]
fn request_timeout_is_seconds_with_decimals() {
    assert_eq!(parse_seconds("0.3"), Some(Duration::from_millis(300)));
    assert_eq!(parse_seconds("12"), Some(Duration::from_secs(12)));
}

#[test]
fn request_timeout_in_any_other_form_is_malformed() {
    for bad in ["", ".", ".3", "1.", "-1", "+1", "1e3", "1.0000000001", "123456789", " 1"] {
        assert_eq!(parse_seconds(bad), None, "{bad}");
    }
}

#[test]
fn header_about_the_http_exchange_is_no_metadata() {
    for name in ["accept", "cookie", "range", "sec-fetch-mode", "grpc-encoding", "grpc-trace-bin"] {
        assert!(!is_metadata(&HeaderName::from_static(name)), "{name}");
    }
    for name in ["idempotency-key", "tenant-hint"] {
        assert!(is_metadata(&HeaderName::from_static(name)), "{name}");
    }
}

fn added(is_passed_on: bool) -> Vec<String> {
    let metadata = HeaderMap::from_iter(
        ["content-encoding", "content-type", "grpc-encoding", "etag"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("gzip"))),
    );
    let mut response = HeaderMap::new();
    add_metadata(&metadata, is_passed_on, &mut response);
    let mut names: Vec<_> = response.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn content_encoding_of_an_upstream_is_kept_for_a_body_that_is_passed_on() {
    assert_eq!(added(true), ["content-encoding", "etag"]);
}

#[test]
fn content_encoding_of_an_upstream_is_left_out_where_the_body_is_transcoded() {
    assert_eq!(added(false), ["etag"]);
}

#[test]
fn shorter_of_request_timeout_and_grpc_timeout_is_the_calls() {
    let asked = |headers: &[(&'static str, &'static str)]| {
        let named =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        timeout(&named.collect()).map_err(|malformed| malformed.message.contains("grpc-timeout"))
    };
    let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
    assert_eq!(asked(&[]), Ok(None));
    assert_eq!(asked(&[("grpc-timeout", "2S")]), seconds(2));
    assert_eq!(asked(&[("grpc-timeout", "2S"), ("request-timeout", "1")]), seconds(1));
    assert_eq!(asked(&[("grpc-timeout", "2S"), ("request-timeout", "3")]), seconds(2));
    assert_eq!(asked(&[("grpc-timeout", "2s")]), Err(true));
}

/// The head of an answer with this product's id to a call by GET or by POST.
async fn answered(call: http::request::Builder, id: &str) -> HeaderMap {
    let parts = call.body(()).unwrap().into_parts().0;
    let table = crate::protocol::tests::table().await;
    let json = Json::new(&parts.headers);
    let route = Protocol::find(&json, &table, &parts).unwrap_or_else(|fault| panic!("{fault:?}"));
    let product = accord_api::catalog::v1::Product { id: id.to_owned(), ..Default::default() };
    let answer = accord_api::catalog::v1::GetProductResponse { product: Some(product) };
    let message = prost::Message::encode_to_vec(&answer);
    let reply = Reply::Unary(Answer::new(Ok(message.into())), None);
    let method = &route.entry.method;
    Json::respond(&route.codec, method, reply, &crate::protocol::tests::memory()).await.unwrap().into_parts().0.headers
}

#[tokio::test]
async fn cached_resource_that_is_read_has_a_tag_of_its_bytes() {
    let get = |id| answered(http::Request::get("/v1/products/oak"), id);
    let tag = get("oak").await[header::ETAG].clone();
    assert_eq!(get("oak").await[header::ETAG], tag);
    assert_ne!(get("ash").await[header::ETAG], tag);
}

#[tokio::test]
async fn answer_to_a_call_that_is_no_get_has_no_tag() {
    let post = http::Request::post("/catalog.v1.ProductService/GetProduct");
    assert!(!answered(post, "oak").await.contains_key(header::ETAG));
}
