//! The messages of the tests, and plans for them.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use accord_contract::http::{Binding, Body};
use accord_transcode::{Limits, Plan, Schema, Violation};
use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};

pub(crate) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root.join("tests/transcode"), root.join("../../proto")]).unwrap();
    compiler.include_imports(true).open_files(["kitchen.proto", "bodies.proto", "legacy.proto"]).unwrap();
    DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap()
});

pub(crate) static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(Schema::compile(&POOL)));

/// `Cook` with its request and answer as whole bodies.
pub(crate) static COOK: LazyLock<Plan> = LazyLock::new(|| plan("kitchen.Kitchen.Cook", None));

pub(crate) fn method(name: &str) -> MethodDescriptor {
    let (service, method) = name.rsplit_once('.').unwrap();
    let service = POOL.get_service_by_name(service).unwrap();
    service.methods().find(|candidate| candidate.name() == method).unwrap()
}

pub(crate) fn plan(name: &str, binding: Option<&Binding>) -> Plan {
    Plan::compile(&SCHEMA, &method(name), binding, Limits::default()).unwrap()
}

/// A binding of a method's request; `body` is as in `google.api.http`.
pub(crate) fn binding(name: &str, template: &str, body: &str) -> Binding {
    let body = match body {
        "" => Body::None,
        "*" => Body::Whole,
        field => Body::Field(method(name).input().get_field_by_name(field).unwrap()),
    };
    Binding { method: "POST".to_owned(), template: template.parse().unwrap(), body, response_body: None }
}

pub(crate) fn sink() -> MessageDescriptor {
    POOL.get_message_by_name("kitchen.Sink").unwrap()
}

pub(crate) fn request(json: &str) -> Result<Bytes, Violation> {
    COOK.request(&[], None, None, json.as_bytes())
}

/// What the oracle reads from wire bytes.
pub(crate) fn decoded(wire: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(sink(), wire).unwrap()
}

/// What the oracle writes for JSON.
pub(crate) fn encoded(json: &str) -> Vec<u8> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(sink(), &mut deserializer).unwrap().encode_to_vec()
}

pub(crate) fn response(wire: &[u8]) -> String {
    let mut out = Vec::new();
    assert_eq!(COOK.response(wire, &mut out).unwrap(), None);
    String::from_utf8(out).unwrap()
}
