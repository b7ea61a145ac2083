//! Which upstream serves a service that the descriptors of several have.

use accord_contract::{Contract, Finding, Severity, Source};

use crate::fixture::{Inline, refused, source};

const COMMON: &str = "syntax = \"proto3\"; package common.v1; message M {} service Status { rpc Get(M) returns (M); }";

/// The descriptors of an upstream with a service of its own, whose file imports another that has one as well.
fn importing(upstream: &str) -> Source {
    let file = format!(
        "syntax = \"proto3\"; package {upstream}.v1; import \"common.proto\";
         service Own {{ rpc Get(common.v1.M) returns (common.v1.M); }}"
    );
    let source = source(Inline(vec![("own.proto", file), ("common.proto", COMMON.to_owned())]));
    Source { upstream: upstream.into(), ..source }
}

fn serving(upstream: &str, services: &[&str]) -> Source {
    importing(upstream).only(services.iter().map(ToString::to_string))
}

/// Who serves the imported service, and what was found besides that nobody may call.
fn owner(sources: &[Source]) -> (Option<String>, Vec<Finding>) {
    let (contract, mut findings) = Contract::load(sources, &[]);
    findings.retain(|finding| finding.option != "access");
    (contract.method("common.v1.Status/Get").map(|method| method.upstream.to_string()), findings)
}

#[test]
fn imported_service_of_one_upstream_is_served() {
    assert_eq!(owner(&[importing("cart")]), (Some("cart".to_owned()), Vec::new()));
}

#[test]
fn imported_service_of_two_upstreams_is_served_by_neither_with_a_warning() {
    let (owner, findings) = owner(&[importing("cart"), importing("ads")]);
    assert_eq!(owner, None);
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(finding.severity, Severity::Warning);
    let text = finding.to_string();
    assert!(text.contains("common.v1.Status") && text.contains("cart, ads") && text.contains("`services`"), "{text}");
}

#[test]
fn imported_service_of_two_upstreams_belongs_to_the_one_that_names_it() {
    let named = serving("ads", &["ads.v1.Own", "common.v1.Status"]);
    assert_eq!(owner(&[importing("cart"), named]), (Some("ads".to_owned()), Vec::new()));
}

#[test]
fn imported_service_belongs_to_the_upstream_whose_own_file_declares_it() {
    let own = Source { upstream: "status".into(), ..source(Inline(vec![("common.proto", COMMON.to_owned())])) };
    assert_eq!(owner(&[importing("cart"), own, importing("ads")]), (Some("status".to_owned()), Vec::new()));
}

#[test]
fn upstreams_that_share_a_descriptor_set_serve_the_services_they_name() {
    let file = "syntax = \"proto3\"; package demo.v1; message M {}
        service Cart { rpc Get(M) returns (M); } service Ads { rpc Get(M) returns (M); }";
    let shared = || source(Inline(vec![("demo.proto", file.to_owned())]));
    let naming =
        |upstream: &str, service: &str| Source { upstream: upstream.into(), ..shared() }.only([service.to_owned()]);
    let (contract, findings) = Contract::load(&[naming("cart", "demo.v1.Cart"), naming("ads", "demo.v1.Ads")], &[]);
    assert!(!accord_contract::refused(&findings), "{findings:?}");
    let upstream = |method: &str| contract.method(method).unwrap().upstream.to_string();
    assert_eq!((upstream("demo.v1.Cart/Get"), upstream("demo.v1.Ads/Get")), ("cart".to_owned(), "ads".to_owned()));
}

#[test]
fn service_that_the_descriptors_do_not_have_is_refused_with_those_they_have() {
    let (_, findings) = owner(&[serving("cart", &["cart.v1.Owm"])]);
    refused(&findings, "services", "don't have it");
    assert!(findings[0].remedy.contains("common.v1.Status, cart.v1.Own"), "{}", findings[0]);
}
