//! The details of an error in JSON: each as its type is written, one of an unknown type as its bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value as Field};
use prost_types::Any;
use serde_json::{Map, Value};
use std::sync::LazyLock;
use tonic::Status;
use tonic_types::pb;

/// Messages in a detail nest at most this deep. Each `Any` in it is decoded anew, so that no decoder counts all of the levels,
/// and writing them is a recursion.
const MOST_LEVELS: usize = 64;

/// The types that gRPC itself has for details.
static RPC: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).ok());

/// The details of a status as JSON. `known` has the types of the contract of whoever sent it.
pub(super) fn json(status: &Status, known: Option<&DescriptorPool>) -> Value {
    of(status).iter().map(|detail| written(&detail.type_url, &detail.value, known)).collect()
}

/// The details of a status.
pub(super) fn of(status: &Status) -> Vec<Any> {
    pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default()
}

fn written(url: &str, value: &[u8], known: Option<&DescriptorPool>) -> Value {
    let mut detail = match form(url, value, known) {
        Some(Value::Object(members)) => members,
        // A type with a JSON form of its own, such as a Duration, stands in a member.
        Some(other) => Map::from_iter([("value".to_owned(), other)]),
        None => Map::from_iter([("value".to_owned(), STANDARD.encode(value).into())]),
    };
    detail.insert("@type".to_owned(), url.into());
    detail.into()
}

/// The JSON form of a detail whose type is known.
pub(super) fn form(url: &str, value: &[u8], known: Option<&DescriptorPool>) -> Option<Value> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let mut pools = RPC.as_ref().into_iter().chain(known);
    let descriptor = pools.find_map(|pool| pool.get_message_by_name(name))?;
    let message = DynamicMessage::decode(descriptor, value).ok()?;
    is_shallow(&message, MOST_LEVELS).then(|| serde_json::to_value(message).ok()).flatten()
}

/// Whether messages nest at most so many levels deep, those in `Any` included.
fn is_shallow(message: &DynamicMessage, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return false };
    let packed = unpacked(message);
    packed.is_none_or(|packed| is_shallow(&packed, left))
        && message.fields().all(|(_, field)| is_shallow_field(field, left))
}

fn is_shallow_field(field: &Field, levels: usize) -> bool {
    match field {
        Field::Message(message) => is_shallow(message, levels),
        Field::List(items) => items.iter().all(|item| is_shallow_field(item, levels)),
        Field::Map(entries) => entries.values().all(|value| is_shallow_field(value, levels)),
        _ => true,
    }
}

/// What is in an `Any`, as far as it can be decoded.
fn unpacked(message: &DynamicMessage) -> Option<DynamicMessage> {
    let descriptor = message.descriptor();
    if descriptor.full_name() != "google.protobuf.Any" {
        return None;
    }
    let any = message.transcode_to::<Any>().ok()?;
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    DynamicMessage::decode(descriptor.parent_pool().get_message_by_name(name)?, &*any.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.to_owned(), value }
    }

    fn of(details: Vec<Any>) -> Status {
        let status = pb::Status { code: 5, message: String::new(), details };
        Status::with_details(Code::NotFound, "", status.encode_to_vec().into())
    }

    #[test]
    fn detail_of_unknown_type_is_written_as_bytes_beside_the_others() {
        let known = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap();
        let product = accord_api::catalog::v1::Product { id: "desk".to_owned(), ..Default::default() };
        let status = of(vec![
            any("type.googleapis.com/catalog.v1.Product", product.encode_to_vec()),
            any("type.googleapis.com/acme.v1.Unknown", vec![8, 5]),
            any("type.googleapis.com/google.protobuf.Duration", vec![8, 5]),
        ]);
        let details = json(&status, Some(&known));
        assert_eq!(details[0], serde_json::json!({"@type": "type.googleapis.com/catalog.v1.Product", "id": "desk"}));
        assert_eq!(details[1], serde_json::json!({"@type": "type.googleapis.com/acme.v1.Unknown", "value": "CAU="}));
        assert_eq!(details[2]["value"], "5s");
        assert_eq!(json(&status, None)[0]["value"], STANDARD.encode(product.encode_to_vec()), "of another contract");
    }

    #[test]
    fn details_of_grpc_and_of_the_contract_are_written_beside_each_other() {
        let known = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap();
        let product = accord_api::catalog::v1::Product { id: "desk".to_owned(), ..Default::default() };
        let info = pb::ErrorInfo { reason: "WHY".to_owned(), ..Default::default() };
        let details = json(
            &of(vec![
                any("type.googleapis.com/google.rpc.ErrorInfo", info.encode_to_vec()),
                any("type.googleapis.com/catalog.v1.Product", product.encode_to_vec()),
            ]),
            Some(&known),
        );
        assert_eq!((&details[0]["reason"], &details[1]["id"]), (&"WHY".into(), &"desk".into()));
    }

    fn nested(url: &str, levels: usize) -> Value {
        let wrap = |inner: Any| match url {
            "a/google.rpc.Status" => {
                any(url, pb::Status { details: vec![inner], ..Default::default() }.encode_to_vec())
            }
            _ => any(url, inner.encode_to_vec()),
        };
        json(&of(vec![(0..levels).fold(any(url, Vec::new()), |inner, _| wrap(inner))]), None)
    }

    #[test]
    fn details_that_nest_without_end_are_written_as_bytes() {
        for url in ["a/google.protobuf.Any", "a/google.rpc.Status"] {
            assert!(nested(url, 2000)[0]["value"].is_string(), "{url}");
        }
        let shallow = nested("a/google.rpc.Status", 20);
        assert_eq!(shallow[0]["details"][0]["@type"], "a/google.rpc.Status");
    }

    #[test]
    fn error_info_is_written_without_a_contract() {
        let details = ErrorDetails::with_error_info("WHY", "accord", [("a".to_owned(), "b".to_owned())]);
        let details = json(&Status::with_error_details(Code::NotFound, "", details), None);
        assert_eq!(details[0]["reason"], "WHY");
        assert_eq!(json(&Status::not_found("plain"), None), serde_json::json!([]));
    }
}
