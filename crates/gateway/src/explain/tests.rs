use accord_contract::Source;

use super::*;

fn sample() -> Contract {
    let source = Source::descriptor_set("catalog", "catalog.binpb", accord_api::FILE_DESCRIPTOR_SET).unwrap();
    let source = source.only(["catalog.v1.ProductService".to_owned()]);
    let (contract, findings) = Contract::load(&[source], &[]);
    assert!(!accord_contract::refused(&findings), "{findings:?}");
    contract
}

#[test]
fn each_field_stands_with_its_value_and_its_source_in_columns() {
    let contract = sample();
    let text = text(contract.method("catalog.v1.ProductService/GetProduct").unwrap());
    assert!(text.starts_with("catalog.v1.ProductService/GetProduct\n"), "{text}");
    assert!(text.contains("http      GET /v1/products/{id}\n"), "{text}");

    let table: Vec<_> = text.lines().skip_while(|line| !line.starts_with("FIELD")).collect();
    let column = table[0].find("SOURCE").unwrap();
    assert!(table.iter().all(|line| line.as_bytes()[column - 1] == b' ' && line.as_bytes()[column] != b' '), "{text}");

    let deadline = table.iter().find(|line| line.starts_with("deadline.max ")).unwrap();
    assert!(deadline.contains("10s") && deadline.contains("file catalog/v1/product_service.proto"), "{deadline}");
    let cache = table.iter().find(|line| line.starts_with("cache.ttl ")).unwrap();
    assert!(cache.contains("30s") && cache.contains("method "), "{cache}");
}

#[test]
fn explain_response_carries_what_the_text_shows() {
    let contract = sample();
    let answer = response(contract.method("catalog.v1.ProductService/GetProduct").unwrap());
    assert_eq!(answer.upstream, "catalog");
    assert_eq!(answer.kind, "UNARY");
    assert_eq!(answer.http, ["GET /v1/products/{id}"]);
    assert!(answer.policy.unwrap().cache.is_some());
    assert!(answer.sources.iter().any(|source| source.field == "access.permission"));
}

#[test]
fn method_that_is_open_to_nobody_is_shown_so() {
    let source = Source::descriptor_set("echo", "echo.binpb", &crate::table::tests::undeclared_service()).unwrap();
    let (contract, _) = Contract::load(&[source], &[]);
    let text = text(contract.method("echo.v1.EchoService/Say").unwrap());
    let access = text.lines().find(|line| line.starts_with("access ")).unwrap_or_else(|| panic!("{text}"));
    assert!(access.contains("none: every call is denied"), "{text}");
}

#[test]
fn method_written_with_a_dot_is_suggested_first() {
    let message = unknown(&sample(), &[], "catalog.v1.ProductService.UpdateProduct");
    assert!(message.contains("such as catalog.v1.ProductService/UpdateProduct"), "{message}");
}

#[test]
fn unknown_method_is_answered_with_similar_names() {
    let contract = sample();
    let message = unknown(&contract, &["shop".into()], "catalog.v1.ProductService.GetProduct");
    assert!(message.contains("such as catalog.v1.ProductService/"), "{message}");
    assert!(message.ends_with("; the descriptors of shop could not be read"), "{message}");
}
