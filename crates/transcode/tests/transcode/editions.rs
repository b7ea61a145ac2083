//! Editions 2023 and 2024. The descriptor sets beside the protos were written by protoc 31, which wrote the messages as well.

use std::sync::Arc;

use accord_contract::{Source, SourceError};
use accord_transcode::{Limits, Plan, Schema};
use prost_reflect::{Cardinality, DescriptorPool};

const LAB: &[u8] = include_bytes!("editions/lab.binpb");
const CLOSED: &[u8] = include_bytes!("editions/closed.binpb");
const NEXT: &[u8] = include_bytes!("editions/next.binpb");

fn pool(set: &[u8]) -> DescriptorPool {
    Source::descriptor_set("lab", "test", set).unwrap().pool
}

fn plan(set: &[u8], service: &str) -> Plan {
    let pool = pool(set);
    let method = pool.get_service_by_name(service).unwrap().methods().next().unwrap();
    Plan::compile(&Arc::new(Schema::compile(&pool)), &method, None, Limits::default()).unwrap()
}

/// The wire bytes of JSON, and the JSON of these.
fn there_and_back(plan: &Plan, json: &str) -> (Vec<u8>, String) {
    let wire = plan.request(&[], None, None, json.as_bytes()).unwrap();
    let mut out = Vec::new();
    plan.response(&wire, &mut out).unwrap();
    (wire.to_vec(), String::from_utf8(out).unwrap())
}

#[test]
fn message_of_edition_2023_is_written_as_protobuf_writes_it() {
    let json = r#"{"id":"","code":"x","packed":[1,2],"expanded":[1,2],"part":{"name":"a"},"parts":{"k":{"name":"b"}},"plain":{"name":"c"}}"#;
    let (wire, back) = there_and_back(&plan(LAB, "lab.v1.Lab"), &json.replacen(',', r#","count":0,"#, 1));
    let expected = b"\x0a\x00\x1a\x01x\x22\x02\x01\x02\x28\x01\x28\x02\x33\x0a\x01a\x34\
                     \x3a\x08\x0a\x01k\x12\x03\x0a\x01b\x52\x03\x0a\x01c";
    assert_eq!(wire, expected);
    assert_eq!(back, json);
}

#[test]
fn presence_of_edition_2023_is_kept() {
    let sample = pool(LAB).get_message_by_name("lab.v1.Sample").unwrap();
    let field = |name: &str| sample.get_field_by_name(name).unwrap();
    assert!(field("id").supports_presence() && !field("count").supports_presence());
    assert_eq!(field("code").cardinality(), Cardinality::Required);
    assert_eq!(sample.oneofs().len(), 1);
}

#[test]
fn closed_enum_of_edition_2023_may_begin_anywhere() {
    let (wire, back) = there_and_back(&plan(CLOSED, "lab.v2.Lab"), r#"{"count":5,"phase":"PHASE_FIRST"}"#);
    assert_eq!(wire, [8, 5, 16, 3]);
    assert_eq!(back, r#"{"count":5,"phase":"PHASE_FIRST"}"#);
}

#[test]
fn edition_2024_is_read() {
    let (wire, back) = there_and_back(&plan(NEXT, "lab.v3.Lab"), r#"{"id":"","list":[1]}"#);
    assert_eq!(wire, [0x0a, 0, 0x12, 1, 1]);
    assert_eq!(back, r#"{"id":"","list":[1]}"#);
}

#[test]
fn later_edition_is_refused_by_its_number_and_its_file() {
    // EDITION_2024 is 1001, `70 e9 07`; 1002 is not known.
    let mut later = NEXT.to_vec();
    let place = later.windows(3).position(|bytes| bytes == [0x70, 0xe9, 0x07]).unwrap();
    later[place + 1] = 0xea;
    let error = Source::descriptor_set("lab", "test", &later).unwrap_err();
    assert!(matches!(&error, SourceError::Edition { file, edition: 1002, .. } if file == "next.proto"), "{error}");
}

#[test]
fn descriptors_of_an_edition_are_kept_as_they_came() {
    assert_eq!(Source::descriptor_set("lab", "test", LAB).unwrap().encoded.bytes(), LAB);
}
