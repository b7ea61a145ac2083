//! The one answer, as `bench_service.proto` declares it.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// What a gRPC message begins with: no compression, and its length.
const PREFIX: usize = 5;

#[derive(Message)]
struct Item {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(message, optional, tag = "3")]
    price: Option<Price>,
    #[prost(int32, tag = "4")]
    availability: i32,
    #[prost(string, repeated, tag = "5")]
    keywords: Vec<String>,
    #[prost(btree_map = "string, string", tag = "6")]
    attributes: BTreeMap<String, String>,
    #[prost(int64, tag = "7")]
    version: i64,
}

#[derive(Message)]
struct Price {
    #[prost(string, tag = "1")]
    currency: String,
    #[prost(int64, tag = "2")]
    minor_units: i64,
}

#[derive(Message)]
struct GetItemRequest {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Message)]
struct WatchRequest {
    #[prost(uint32, tag = "1")]
    count: u32,
}

/// The same as JSON, as the gateway writes it.
pub(crate) const JSON: &str = concat!(
    r#"{"id":"oak-desk","title":"Oak desk, oiled by hand","price":{"currency":"EUR","minorUnits":"45900"},"#,
    r#""availability":"AVAILABILITY_IN_STOCK","keywords":["desk","oak"],"attributes":{"colour":"natural","width":"160 cm"},"#,
    r#""version":"7"}"#
);

/// The item as a message of gRPC.
pub(crate) fn framed() -> Bytes {
    let item = Item {
        id: "oak-desk".to_owned(),
        title: "Oak desk, oiled by hand".to_owned(),
        price: Some(Price { currency: "EUR".to_owned(), minor_units: 45_900 }),
        availability: 1,
        keywords: vec!["desk".to_owned(), "oak".to_owned()],
        attributes: [("colour", "natural"), ("width", "160 cm")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        version: 7,
    };
    with_prefix(&item)
}

/// A message in which nothing is set.
pub(crate) fn empty() -> Bytes {
    Bytes::from_static(&[0; PREFIX])
}

/// A request of one item.
pub(crate) fn get(id: &str) -> Bytes {
    with_prefix(&GetItemRequest { id: id.to_owned() })
}

/// A request of so many.
pub(crate) fn watch(count: u32) -> Bytes {
    with_prefix(&WatchRequest { count })
}

fn with_prefix(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

/// How many messages a request of `Watch` asks for.
pub(crate) fn asked_for(request: &[u8]) -> u32 {
    let message = request.get(PREFIX..).unwrap_or_default();
    WatchRequest::decode(message).map_or(0, |request| request.count)
}
