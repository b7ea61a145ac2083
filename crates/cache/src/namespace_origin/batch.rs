//! Batch method of an upstream: many keys in one request, and an answer with an item for each.

use std::collections::HashMap;

use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count};
use accord_wire::{Value, occurrences, put_bytes};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use super::method::Method;
use super::value::{BESIDE_VALUE, MAX_FIELD, Unusable, last, value};
use crate::plan::method_path;

/// Most bytes of an answer with many values. A `BatchGet` answers with less than that.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The section `[namespace.origin.batch]`. Of several items of one key the last one counts, and one of a key that was not asked for
/// is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// The method, `pkg.Service/Method`: a unary one of the same upstream that changes nothing, for which `permission` of the
    /// origin is enough as well. No default.
    #[serde(deserialize_with = "bound::text")]
    pub method: String,
    /// The number of the field of its request that the keys fill, repeated strings or bytes. 1 to 536870911. Default: 1.
    #[serde(with = "Count::<1, MAX_FIELD>")]
    pub keys_field: u32,
    /// The number of the field of its answer that holds the items: repeated messages, or a map, whose items have the key as
    /// their field 1 and the value as 2. 1 to 536870911. Default: 1.
    #[serde(with = "Count::<1, MAX_FIELD>")]
    pub items_field: u32,
    /// The number of the field of an item that is its key, a string or bytes; a key without an item is absent. 0 to 536870911;
    /// with 0 the items are in the order of the keys, one for each. Default: 0.
    #[serde(with = "Count::<0, MAX_FIELD>")]
    pub key_field: u32,
    /// The number of the field of an item that is the value: a string, bytes or a message; the key of an item in which it is not
    /// set is absent. 0 to 536870911; 0 is the whole item, as it is encoded. Default: 0.
    #[serde(with = "Count::<0, MAX_FIELD>")]
    pub value_field: u32,
    /// The number of the field of an item that says why there is no value, a `google.rpc.Status`: then this key fails alone.
    /// 0 to 536870911; with 0 items say no such thing. Default: 0.
    #[serde(with = "Count::<0, MAX_FIELD>")]
    pub status_field: u32,
    /// Keys of one call; more are several calls. 2 to 100. Default: 100.
    #[serde(with = "Count::<2, 100>")]
    pub max_keys: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            method: String::new(),
            keys_field: 1,
            items_field: 1,
            key_field: 0,
            value_field: 0,
            status_field: 0,
            max_keys: 100,
        }
    }
}

impl BatchConfig {
    pub(super) fn contradictions(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        if method_path(&self.method).is_none() {
            let problem = format!("{:?} is not of the form pkg.Service/Method", self.method);
            found.push(Invalid::new("method", problem, "write it as in catalog.v1.ProductService/BatchGetProducts"));
        }
        let is_status = |field: u32| self.status_field != 0 && field == self.status_field;
        if is_status(self.key_field) || is_status(self.value_field) {
            let problem = format!("the field {} of an item can't be two things", self.status_field);
            found.push(Invalid::new("status_field", problem, "name the field that holds the google.rpc.Status, or 0"));
        }
        found.into_iter().map(|invalid| invalid.under("batch".to_owned())).collect()
    }
}

/// How many keys are loaded by one call.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) method: Method,
    pub(super) max_keys: usize,
    pub(super) max_response_bytes: u64,
    max_value_bytes: usize,
    fields: BatchConfig,
}

/// Why a batch has no value for a key.
#[derive(Clone, Debug)]
pub(super) enum BatchFailure {
    /// What there is of it can't be used.
    Unusable(Unusable),
    /// The answer says so.
    Said(Status),
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct ItemStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Batch {
    /// Nothing where the method is none, which is refused before.
    pub(super) fn new(config: &BatchConfig, max_value_bytes: usize) -> Option<Self> {
        let of_values = (max_value_bytes as u64 + BESIDE_VALUE).saturating_mul(config.max_keys as u64);
        Some(Self {
            method: Method::new(&config.method)?,
            max_keys: config.max_keys,
            max_response_bytes: of_values.min(MOST_BYTES),
            max_value_bytes,
            fields: config.clone(),
        })
    }

    pub(super) fn request(&self, keys: &[&str]) -> Vec<u8> {
        let mut request = Vec::with_capacity(keys.iter().map(|key| key.len() + 8).sum());
        for key in keys {
            put_bytes(&mut request, self.fields.keys_field, key.as_bytes());
        }
        request
    }

    /// The value of each key; `NOT_FOUND` where there is none.
    pub(super) fn values(&self, keys: &[&str], answer: &[u8]) -> Result<Vec<Result<Bytes, BatchFailure>>, Unusable> {
        let items = self.items(answer)?;
        let of_keys: Vec<Option<&[u8]>> = if self.fields.key_field == 0 {
            if items.len() != keys.len() {
                let problem =
                    format!("it has {} items for {} keys, and they go by their order", items.len(), keys.len());
                return Err(Unusable::Malformed(problem));
            }
            items.into_iter().map(Some).collect()
        } else {
            let mut by_key = HashMap::with_capacity(items.len());
            for item in items {
                by_key.insert(last(item, self.fields.key_field)?.unwrap_or_default(), item);
            }
            keys.iter().map(|key| by_key.get(key.as_bytes()).copied()).collect()
        };
        Ok(of_keys.into_iter().map(|item| self.value(item)).collect())
    }

    fn items<'a>(&self, answer: &'a [u8]) -> Result<Vec<&'a [u8]>, Unusable> {
        let mut items = Vec::new();
        for field in occurrences(answer) {
            let field = field?;
            match field.value {
                _ if field.number != self.fields.items_field => {}
                Value::Bytes(item) => items.push(item),
                _ => return Err(Unusable::Malformed(format!("its field {} holds numbers", field.number))),
            }
        }
        Ok(items)
    }

    fn value(&self, item: Option<&[u8]>) -> Result<Bytes, BatchFailure> {
        let BatchConfig { value_field, status_field, .. } = self.fields;
        let Some(item) = item else { return Err(absent()) };
        if status_field != 0 {
            said(item, status_field)?;
        }
        if value_field != 0 && last(item, value_field).map_err(BatchFailure::Unusable)?.is_none() {
            return Err(absent());
        }
        value(item, value_field, self.max_value_bytes).map_err(BatchFailure::Unusable)
    }
}

fn absent() -> BatchFailure {
    BatchFailure::Said(Status::not_found("it has no item of this key"))
}

/// What an item says of its failure, if it says one.
fn said(item: &[u8], status_field: u32) -> Result<(), BatchFailure> {
    let Some(bytes) = last(item, status_field).map_err(BatchFailure::Unusable)? else { return Ok(()) };
    let malformed = |error| Unusable::Malformed(format!("its field {status_field} is no google.rpc.Status: {error}"));
    let status = ItemStatus::decode(bytes).map_err(|error| BatchFailure::Unusable(malformed(error)))?;
    match Code::from_i32(status.code) {
        Code::Ok => Ok(()),
        code => Err(BatchFailure::Said(Status::with_details(code, status.message, Bytes::copy_from_slice(bytes)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &[u8] = b"\x0a\x03ada\x12\x04milk";
    const BOB: &[u8] = b"\x0a\x03bob\x12\x05bread";
    const EMPTY: &[u8] = b"\x0a\x03eve";
    /// Of `bob`: 5, `gone`.
    const FAILED: &[u8] = b"\x0a\x03bob\x1a\x08\x08\x05\x12\x04gone";

    fn batch(key_field: u32, value_field: u32) -> Batch {
        let method = "shop.v1.Shop/GetMany".to_owned();
        let fields = BatchConfig { method, key_field, value_field, max_keys: 9, ..BatchConfig::default() };
        Batch::new(&BatchConfig { keys_field: 3, items_field: 2, status_field: 3, ..fields }, 6).unwrap()
    }

    fn answer(items: &[&[u8]]) -> Vec<u8> {
        let mut answer = Vec::new();
        put_bytes(&mut answer, 1, b"a page token");
        for item in items {
            put_bytes(&mut answer, 2, item);
        }
        answer
    }

    /// The values, and the codes of failures: 13 where it can't be used.
    fn values(batch: &Batch, keys: &[&str], items: &[&[u8]]) -> Vec<Result<String, i32>> {
        let failure = |failure| match failure {
            BatchFailure::Said(status) => status.code().into(),
            BatchFailure::Unusable(_) => 13,
        };
        let values = batch.values(keys, &answer(items)).unwrap().into_iter();
        values.map(|value| value.map(|it| String::from_utf8(it.to_vec()).unwrap()).map_err(failure)).collect()
    }

    #[test]
    fn keys_fill_the_repeated_field_of_the_request() {
        assert_eq!(batch(1, 2).request(&["ada", "bob"]), b"\x1a\x03ada\x1a\x03bob");
    }

    #[test]
    fn items_are_matched_by_their_key_whatever_their_order() {
        let values = values(&batch(1, 2), &["ada", "carl", "bob"], &[BOB, ADA, BOB]);
        assert_eq!(values, [Ok("milk".to_owned()), Err(5), Ok("bread".to_owned())]);
    }

    #[test]
    fn items_without_a_key_are_matched_by_order() {
        let swapped = values(&batch(0, 2), &["ada", "bob"], &[BOB, ADA]);
        assert_eq!(swapped, [Ok("bread".to_owned()), Ok("milk".to_owned())]);
    }

    #[test]
    fn another_number_of_items_than_keys_is_malformed_where_order_counts() {
        assert!(matches!(batch(0, 2).values(&["ada", "bob"], &answer(&[ADA])), Err(Unusable::Malformed(_))));
    }

    #[test]
    fn item_without_its_value_is_absent() {
        assert_eq!(values(&batch(1, 2), &["eve"], &[EMPTY]), [Err(5)]);
    }

    #[test]
    fn item_with_a_status_fails_alone_with_what_it_says() {
        assert_eq!(values(&batch(1, 2), &["ada", "bob"], &[ADA, FAILED]), [Ok("milk".to_owned()), Err(5)]);
        let Err(BatchFailure::Said(status)) = &batch(1, 2).values(&["bob"], &answer(&[FAILED])).unwrap()[0] else {
            panic!("it says why");
        };
        assert_eq!((status.message(), status.details()), ("gone", &b"\x08\x05\x12\x04gone"[..]));
    }

    #[test]
    fn value_that_is_too_large_fails_alone() {
        let large = b"\x0a\x03bob\x12\x07seventh";
        assert_eq!(values(&batch(1, 2), &["ada", "bob"], &[ADA, large]), [Ok("milk".to_owned()), Err(13)]);
    }

    #[test]
    fn whole_item_is_the_value_where_no_field_is_named() {
        assert_eq!(values(&batch(0, 0), &["ada"], &[b"\x0a\x01a"]), [Ok("\u{a}\u{1}a".to_owned())]);
    }
}
