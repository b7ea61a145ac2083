//! Descriptors that come from others: the names of well-known messages over fields of their own.

use std::sync::Arc;

use accord_transcode::{Limits, Plan, Schema};
use prost_reflect::DescriptorPool;
use protox::file::{File, FileResolver};

const FORGED: &str = "syntax = \"proto3\"; package google.protobuf;
    message BoolValue { BoolValue value = 1; }
    message Value { Value a = 1; Value b = 2; Value c = 3; Value d = 4; Value e = 5; Value f = 6; }
    message Both { BoolValue flag = 1; Value value = 2; }
    service Forger { rpc Forge(Both) returns (Both); }";

struct One;

impl FileResolver for One {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        File::from_source(name, FORGED)
    }
}

#[test]
fn type_that_holds_only_itself_has_no_json_form() {
    let mut compiler = protox::Compiler::with_file_resolver(One);
    compiler.open_file("forged.proto").unwrap();
    let pool = DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap();
    let method = pool.services().next().unwrap().methods().next().unwrap();
    let plan = Plan::compile(&Arc::new(Schema::compile(&pool)), &method, None, Limits::default()).unwrap();
    let json = br#"{"flag":{"value":{}},"value":{"a":{}}}"#;
    let (wire, mut out) = (plan.request(&[], None, None, json).unwrap(), Vec::new());
    plan.response(&wire, &mut out).unwrap();
    assert_eq!(out, json);
    assert!(plan.request(&[], None, None, br#"{"flag":true}"#).is_err());
}
