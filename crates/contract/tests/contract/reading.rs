//! Reading fields from the wire and the canonical form, against a decoder as the oracle.

use accord_contract::{Canonical, compile_path, compile_template};
use accord_wire::{Malformed, Part, ScalarType};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use prost::encoding::{self, WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, Value};

use crate::fixture::{Inline, source};

const PROTO: &str = "syntax = \"proto3\"; package test.v1;
    message All {
      int32 int = 1; string text = 2; repeated int32 packed = 3; repeated int64 loose = 4 [packed = false];
      map<string, int32> numbers = 5; map<int32, Inner> inners = 6; Inner inner = 7;
      oneof choice { string left = 8; Inner right = 9; int64 middle = 10; }
      optional string note = 11; sint32 zigzag = 12; fixed64 fixed = 13; bytes data = 14; Color color = 15;
      bool flag = 16; repeated Inner list = 17; uint32 small = 18; sint64 wide = 19; sfixed32 signed = 20;
    }
    message Inner {
      string id = 1; int32 number = 2; Inner deeper = 3; map<string, string> labels = 4;
      oneof choice { string one = 5; string other = 6; }
    }
    enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; }";

/// Paths to every kind of place.
const PATHS: [&str; 20] = [
    "int",
    "text",
    "left",
    "middle",
    "note",
    "zigzag",
    "fixed",
    "data",
    "color",
    "flag",
    "small",
    "wide",
    "signed",
    "inner.id",
    "inner.number",
    "inner.one",
    "inner.other",
    "inner.deeper.id",
    "right.id",
    "right.deeper.other",
];

fn all() -> MessageDescriptor {
    source(Inline(vec![("test.proto", PROTO.to_owned())])).pool.get_message_by_name("test.v1.All").unwrap()
}

/// One occurrence of a field: which field, or which oneof, and its bytes.
type Occurrence = (u32, Vec<u8>);

fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::Varint, &mut out);
    encode_varint(value, &mut out);
    out
}

fn bytes(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c/{}%é]{1,3}"]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..4_u64, Just(u64::MAX), any::<u64>()]
}

fn inner() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        (prop_oneof![Just(1_u32), Just(5), Just(6)], text()).prop_map(|(field, text)| bytes(field, text.as_bytes())),
        number().prop_map(|value| varint(2, value)),
        (text(), text()).prop_map(|(key, value)| entry(4, &bytes(1, key.as_bytes()), &bytes(2, value.as_bytes()))),
    ];
    let body = vec(leaf, 0..4).prop_map(|occurrences| occurrences.concat());
    body.prop_recursive(3, 8, 2, |deeper| {
        vec(deeper.prop_map(|body| [bytes(3, &body), body].concat()), 0..3).prop_map(|all| all.concat())
    })
}

fn entry(number: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    bytes(number, &[key, value].concat())
}

fn occurrence() -> impl Strategy<Value = Occurrence> {
    prop_oneof![
        (prop_oneof![Just(1_u32), Just(12), Just(15), Just(16), Just(18), Just(19)], number())
            .prop_map(|(field, value)| (field, varint(field, value))),
        (prop_oneof![Just(2_u32), Just(11), Just(14)], text())
            .prop_map(|(field, text)| (field, bytes(field, text.as_bytes()))),
        vec(number(), 0..3).prop_map(|values| {
            let mut packed = Vec::new();
            for value in values {
                encode_varint(value, &mut packed);
            }
            (3, bytes(3, &packed))
        }),
        (3..5_u32, number()).prop_map(|(field, value)| (field, varint(field, value))),
        (text(), number()).prop_map(|(key, value)| (5, entry(5, &bytes(1, key.as_bytes()), &varint(2, value)))),
        (0..3_u64, inner()).prop_map(|(key, value)| (6, entry(6, &varint(1, key), &bytes(2, &value)))),
        (prop_oneof![Just(7_u32), Just(17)], inner()).prop_map(|(field, body)| (field, bytes(field, &body))),
        text().prop_map(|text| (8, bytes(8, text.as_bytes()))),
        inner().prop_map(|body| (8, bytes(9, &body))),
        number().prop_map(|value| (8, varint(10, value))),
        any::<u64>().prop_map(|value| {
            let mut out = Vec::new();
            encoding::fixed64::encode(13, &value, &mut out);
            (13, out)
        }),
        any::<i32>().prop_map(|value| {
            let mut out = Vec::new();
            encoding::sfixed32::encode(20, &value, &mut out);
            (20, out)
        }),
        (100..103_u32, number()).prop_map(|(field, value)| (field, varint(field, value))),
    ]
}

fn concat(occurrences: &[Occurrence]) -> Vec<u8> {
    occurrences.iter().flat_map(|occurrence| occurrence.1.clone()).collect()
}

/// The same reading through a whole decode.
fn oracle(path: &str, message: &DynamicMessage) -> Option<String> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.descriptor().get_field_by_name(name).unwrap();
    if field.supports_presence() && !message.has_field(&field) {
        return None;
    }
    match (message.get_field(&field).as_ref(), rest) {
        (Value::Message(inner), Some(rest)) => oracle(rest, inner),
        (Value::String(text), None) => Some(text.clone()),
        (Value::Bytes(data), None) => {
            Some(base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, data))
        }
        (Value::I32(value) | Value::EnumNumber(value), None) => Some(value.to_string()),
        (Value::I64(value), None) => Some(value.to_string()),
        (Value::U32(value), None) => Some(value.to_string()),
        (Value::U64(value), None) => Some(value.to_string()),
        (Value::Bool(value), None) => Some(value.to_string()),
        (value, _) => unreachable!("{value:?}"),
    }
}

proptest! {
    #[test]
    fn field_path_reads_what_a_decoder_reads(occurrences in vec(occurrence(), 0..12)) {
        let (all, wire) = (all_once(), concat(&occurrences));
        let decoded = DynamicMessage::decode(all.clone(), wire.as_slice()).unwrap();
        for path in PATHS {
            let read = compile_path(path, all).unwrap();
            prop_assert_eq!(read.read(&wire).unwrap().map(String::from), oracle(path, &decoded), "{}", path);
        }
    }

    #[test]
    fn canonical_form_is_idempotent_and_the_same_message(occurrences in vec(occurrence(), 0..12)) {
        let (all, wire) = (all_once(), concat(&occurrences));
        let form = canonical(&wire).unwrap();
        let decode = |wire: &[u8]| DynamicMessage::decode(all.clone(), wire).unwrap();
        // Written again first: a decoder remembers defaults that were on the wire. Not prop_assert_eq: the debug form of
        // a type that holds itself has no end.
        prop_assert!(decode(&form) == decode(&decode(&wire).encode_to_vec()));
        prop_assert_eq!(canonical(&form).unwrap(), form.clone());
        prop_assert_eq!(canonical(&decode(&wire).encode_to_vec()).unwrap(), form);
    }

    #[test]
    fn canonical_form_ignores_the_order_of_fields(
        occurrences in vec(occurrence(), 0..12),
        ranks in vec(any::<u32>(), 103),
    ) {
        let mut shuffled = occurrences.clone();
        // Stable: what belongs to one field or one oneof keeps its order, which does matter.
        shuffled.sort_by_key(|occurrence| ranks[occurrence.0 as usize]);
        prop_assert_eq!(canonical(&concat(&shuffled)), canonical(&concat(&occurrences)));
    }

    #[test]
    fn malformed_message_makes_nothing_panic(wire in vec(any::<u8>(), 0..64)) {
        let all = all_once();
        let decodes = DynamicMessage::decode(all.clone(), wire.as_slice()).is_ok();
        // The oracle takes an entry of a map whatever its wire type is; we don't (see the test below).
        let is_refused = |error| error == Malformed::WrongType || !decodes;
        prop_assert!(canonical(&wire).map_or_else(is_refused, |_| decodes));
        for path in PATHS {
            let path = compile_path(path, all).unwrap();
            prop_assert!(path.read(&wire).map_or_else(is_refused, |_| true));
        }
    }

    #[test]
    fn different_values_never_make_the_same_tag(one in (text(), text()), other in (text(), text())) {
        let template = compile_template("{text}/{note}", all_once(), all_once()).unwrap();
        let tag = |pair: &(String, String)| {
            let request = [bytes(2, pair.0.as_bytes()), bytes(11, pair.1.as_bytes())].concat();
            template.expand(&request, None).unwrap().unwrap()
        };
        prop_assert_eq!(tag(&one) == tag(&other), one == other);
    }
}

#[test]
fn groups_are_merged_and_take_the_place_of_their_rivals() {
    let text = "syntax = \"proto2\"; package test.v1; message Old {
        optional group Part = 1 { optional string name = 1; optional int32 count = 2; }
        oneof choice { string text = 3; group Other = 4 { optional string id = 1; } }
    }";
    let old = source(Inline(vec![("test.proto", text.to_owned())])).pool.get_message_by_name("test.v1.Old").unwrap();
    let group = |number: u32, body: Vec<u8>| {
        let mut out = Vec::new();
        encode_key(number, WireType::StartGroup, &mut out);
        out.extend(body);
        encode_key(number, WireType::EndGroup, &mut out);
        out
    };
    let (name, count) = (bytes(1, b"a"), varint(2, 5));
    let whole = group(1, [name.clone(), count.clone()].concat());
    let form = Canonical::of(&old);
    assert_eq!(form.form(&[group(1, count), group(1, name)].concat()).unwrap(), whole);
    assert_eq!(form.form(&whole).unwrap(), whole);

    let path = compile_path("text", &old).unwrap();
    let (chosen, other) = (bytes(3, b"x"), group(4, bytes(1, b"y")));
    assert_eq!(path.read(&[other.clone(), chosen.clone()].concat()).unwrap().as_deref(), Some("x"));
    assert_eq!(path.read(&[chosen, other].concat()).unwrap(), None);
}

#[test]
fn template_over_an_answer_knows_oneofs_and_declared_defaults() {
    let text = "syntax = \"proto2\"; package test.v1; message Old {
        oneof choice { Item item = 1; string text = 2; }
    }
    message Item { optional string id = 1 [default = \"none\"]; }";
    let old = source(Inline(vec![("test.proto", text.to_owned())])).pool.get_message_by_name("test.v1.Old").unwrap();
    let template = compile_template("item/{response.item.id}", &old, &old).unwrap();
    let expanded = |answer: &[u8]| template.expand(b"", Some(answer)).unwrap().unwrap();
    let (item, text) = (bytes(1, &bytes(1, b"milk")), bytes(2, b"x"));
    assert_eq!(expanded(&item), "item/milk");
    assert_eq!(expanded(&[text.clone(), item.clone()].concat()), "item/milk");
    assert_eq!(expanded(&[item, text].concat()), "item/none");
}

#[test]
fn canonical_form_keeps_negative_zero() {
    let price = crate::fixture::reading("").pool.get_message_by_name("test.v1.Item").unwrap();
    let double = |value: f64| {
        let mut out = Vec::new();
        encoding::double::encode(4, &value, &mut out);
        Canonical::of(&price).form(&out).unwrap()
    };
    assert!(double(0.0).is_empty());
    assert_ne!(double(-0.0), double(0.0));
}

fn canonical(wire: &[u8]) -> Result<bytes::Bytes, Malformed> {
    static FORM: std::sync::LazyLock<Canonical> = std::sync::LazyLock::new(|| Canonical::of(all_once()));
    FORM.form(wire)
}

#[test]
fn unknown_fields_have_one_canonical_spelling() {
    // Field 4094 as a varint, and a group 4095 that holds field 1: each once with tags and values longer than they need to be.
    let short = [0xf0, 0xff, 0x01, 0x05, 0xfb, 0xff, 0x01, 0x08, 0x07, 0xfc, 0xff, 0x01];
    let long = [
        0xf0, 0xff, 0x81, 0x00, 0x85, 0x00, 0xfb, 0xff, 0x81, 0x00, 0x88, 0x00, 0x87, 0x80, 0x00, 0xfc, 0xff, 0x81,
        0x00,
    ];
    assert_eq!(canonical(&long).unwrap(), &short[..]);
    assert_eq!(canonical(&short).unwrap(), &short[..]);
}

fn all_once() -> &'static MessageDescriptor {
    static ALL: std::sync::LazyLock<MessageDescriptor> = std::sync::LazyLock::new(all);
    &ALL
}

#[test]
fn response_template_becomes_field_numbers() {
    let all = all_once();
    let template = compile_template("{text}/x-{response.inner.deeper.id}", all, all).unwrap();
    assert!(template.is_over_answer());
    assert_eq!(template.expand(b"", None).unwrap(), None);
    let [Part::Request(request), Part::Literal(literal), Part::Answer(answer)] = &template.parts[..] else {
        panic!("{template:?}");
    };
    assert_eq!((request.parents.len(), request.leaf.number, literal.as_str()), (0, 2, "/x-"));
    let parents: Vec<_> = answer.parents.iter().map(|step| step.number).collect();
    assert_eq!((parents, answer.leaf.number, answer.scalar), (vec![7, 3], 1, ScalarType::String));
}

#[test]
fn cache_key_of_several_fields_keeps_their_borders() {
    let shop = crate::fixture::reading("cache: { ttl: { seconds: 1 } key: \"id\" key: \"note\" key: \"other\" }");
    let method = crate::fixture::accepted(shop, &[]);
    let cache = method.policy.cache.as_ref().unwrap();
    let key = |id: &str, note: Option<&str>, other: &str| {
        let note = note.map(|note| bytes(6, note.as_bytes())).unwrap_or_default();
        let request = [bytes(1, id.as_bytes()), note, bytes(7, other.as_bytes()), bytes(2, b"")].concat();
        method.cache_key(cache, &request).unwrap()
    };
    let keys = [
        key("a", Some("bc"), ""),
        key("ab", Some("c"), ""),
        key("a", Some(""), "bc"),
        key("a", None, "bc"),
        key("", Some("a"), "bc"),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(keys.iter().skip(index + 1).all(|other| other != one));
    }
    assert_eq!(key("a", None, ""), key("a", None, ""));
}

#[test]
fn map_entry_of_another_wire_type_is_malformed() {
    // Field 5 as a varint, with the bytes of an entry after it.
    assert_eq!(canonical(&[5 << 3, 2, 16, 0]), Err(Malformed::WrongType));
}
