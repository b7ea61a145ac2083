//! `google.api.HttpBody`: bytes as they are, either way.

use super::kitchen::{binding, method, plan};

#[test]
fn http_body_passes_unchanged() {
    let plan = plan("bodies.Bodies.Raw", None);
    let wire = plan.request(&[], None, Some("image/png"), b"\x89PNG{").unwrap();
    let mut out = Vec::new();
    let content_type = plan.response(&wire, &mut out).unwrap();
    assert_eq!(content_type.unwrap(), "image/png");
    assert_eq!(out, b"\x89PNG{");
}

#[test]
fn http_body_can_be_one_field() {
    let mut binding = binding("bodies.Bodies.Send", "/v1/files/{name}", "file");
    binding.response_body = method("bodies.Bodies.Send").output().get_field_by_name("file");
    let plan = plan("bodies.Bodies.Send", Some(&binding));
    let wire = plan.request(&["a.txt".into()], None, Some("text/plain"), b"hello").unwrap();
    let mut out = Vec::new();
    assert_eq!(plan.response(&wire, &mut out).unwrap().unwrap(), "text/plain");
    assert_eq!(out, b"hello");
    assert_eq!(plan.response(&[], &mut out).unwrap().unwrap(), "application/octet-stream");
}

#[test]
fn http_body_content_type_that_is_no_header_value_is_refused() {
    let plan = plan("bodies.Bodies.Raw", None);
    let wire = plan.request(&[], None, Some("text/plain\r\nx: y"), b"").unwrap();
    assert!(plan.response(&wire, &mut Vec::new()).is_err());
}
