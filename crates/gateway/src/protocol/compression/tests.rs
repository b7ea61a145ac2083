use super::*;
use crate::{memory::MemoryBudget, protocol::tests::memory};
use accord_runtime::fair_share::{FairShare, Holder};
use flate2::read::GzDecoder;
use std::io::Read;

fn accepted(lines: &[&'static str]) -> Option<Coding> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
    }
    Coding::accepted(&headers)
}

#[test]
fn caller_gets_the_coding_that_it_weighs_most() {
    for lines in [&["gzip"][..], &["GZIP;q=0.5, zstd;q=0.4"], &["br", "x-gzip"], &["*"], &["zstd;q=0, *"]] {
        assert_eq!(accepted(lines), Some(Coding::Gzip), "{lines:?}");
    }
    for lines in [&["zstd"][..], &["gzip, deflate, br, zstd"], &["gzip;q=0.5", "zstd;q=0.5, *;q=0.1"]] {
        assert_eq!(accepted(lines), Some(Coding::Zstd), "{lines:?}");
    }
}

#[test]
fn caller_that_would_rather_have_plain_bytes_gets_them() {
    for lines in [
        &[][..],
        &["identity"],
        &["br, deflate"],
        &["gzip;q=0"],
        &["gzip;q=0, *"],
        &["*;q=0"],
        &["gzip;q=0.5, identity"],
        &["gzip;q=2"],
        &[""],
    ] {
        assert_eq!(accepted(lines), None, "{lines:?}");
    }
    assert_eq!(accepted(&["gzip, identity"]), Some(Coding::Gzip), "of two alike the shorter");
}

fn text() -> String {
    "all work and no play makes jack a dull boy ".repeat(100)
}

fn answer(content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Whole::bytes(text.into(), None));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"a\""));
    response
}

fn memory_of(bytes: u64) -> CallMemory {
    CallMemory::new(&MemoryBudget::new(bytes, FairShare::DEFAULT), Holder::principal("ada", 1))
}

fn on() -> Compression {
    Compression::new(&CompressionConfig::default())
}

async fn plain(coding: Coding, response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let mut plain = String::new();
    let read = match coding {
        Coding::Gzip => GzDecoder::new(&*body).read_to_string(&mut plain),
        Coding::Zstd => zstd::Decoder::with_buffer(&*body).unwrap().read_to_string(&mut plain),
    };
    assert_eq!(read.unwrap(), plain.len());
    plain
}

#[tokio::test]
async fn compressed_answer_is_the_same_text_and_has_a_weak_tag() {
    for (coding, name) in [(Coding::Gzip, "gzip"), (Coding::Zstd, "zstd")] {
        // The second one is compressed beside the workers.
        for text in [text(), text().repeat(100)] {
            let mut response = answer("application/json", text.clone());
            assert_eq!(on().negotiate(Some(coding), &mut response), Some(coding));
            let response = compressed(response, coding, &memory_of(64 << 20)).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_ENCODING], name);
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            assert_eq!(response.headers()[header::ETAG], "W/\"a\"");
            assert_eq!(plain(coding, response).await, text);
        }
    }
}

#[tokio::test]
async fn answer_without_memory_for_two_of_it_is_left_as_it_is() {
    let response = answer("application/json", "x".repeat(600_000));
    let response = compressed(response, Coding::Gzip, &memory()).await.unwrap();
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 600_000);
}

#[test]
fn answer_that_may_be_compressed_says_so_to_callers_that_get_plain_bytes() {
    let mut response = answer("application/json", text());
    assert_eq!(on().negotiate(None, &mut response), None);
    assert_eq!(response.headers()[header::VARY], "accept-encoding");
    assert_eq!(response.headers()[header::ETAG], "\"a\"");
}

#[test]
fn short_answer_says_nothing_of_compression() {
    let mut response = answer("application/json", "x".repeat(1023));
    assert_eq!(on().negotiate(Some(Coding::Gzip), &mut response), None);
    assert!(!response.headers().contains_key(header::VARY));
}

#[test]
fn answer_is_left_alone_where_it_is_no_text_or_compressed_or_to_stay() {
    for content_type in ["image/png", "application/grpc", "application/connect+json", "text/event-stream", "nonsense"] {
        assert_eq!(on().negotiate(Some(Coding::Gzip), &mut answer(content_type, text())), None, "{content_type}");
    }
    for (name, value) in [("content-encoding", "br"), ("cache-control", "max-age=3, No-Transform")] {
        let html = || answer("text/html; charset=utf-8", text());
        assert!(on().negotiate(Some(Coding::Gzip), &mut html()).is_some(), "but for this one");
        let mut response = html();
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        assert_eq!(on().negotiate(Some(Coding::Gzip), &mut response), None, "{name}");
    }
}

#[test]
fn nothing_is_compressed_where_that_is_switched_off() {
    let off = Compression::new(&CompressionConfig { enabled: false, ..CompressionConfig::default() });
    assert_eq!(off.negotiate(Some(Coding::Gzip), &mut answer("application/json", text())), None);
}

#[tokio::test]
async fn refusal_is_compressed_where_it_is_long() {
    let response = on().refusal(Some(Coding::Gzip), answer("application/problem+json", text()));
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(plain(Coding::Gzip, response).await, text());
    let response = on().refusal(Some(Coding::Gzip), answer("application/problem+json", "{}".to_owned()));
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
}

#[test]
fn text_that_compression_makes_longer_stays_as_it_is() {
    let head = Response::new(());
    let response = respond(head, Coding::Gzip, Bytes::from_static(b"ab"), Ok(vec![1, 2, 3]), None);
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
}
