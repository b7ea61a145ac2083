//! Random messages, against `prost-reflect`: both directions, any wire order, and bytes that mean nothing.

use std::sync::Arc;

use accord_contract::Canonical;
use accord_transcode::{Malformed, Output, Plan, Violation};
use bytes::Bytes;
use proptest::{collection, prelude::*};
use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};

use super::{
    invented::{Invented, schema, schema_without_extensions},
    kitchen::{COOK, request, response, sink},
    samples::{Sample, json, sample},
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fields_in_any_order_give_the_same_json(Sample(message) in sample(sink(), 2), seed in any::<u64>()) {
        let mut fields: Vec<_> = message.fields().map(|(field, value)| (field, value.clone())).collect();
        let length = fields.len().max(1) as u64;
        fields.sort_by_key(|(field, _)| (u64::from(field.number()).wrapping_mul(seed | 1)) % length);
        let mut wire = Vec::new();
        for (field, value) in fields {
            let mut part = DynamicMessage::new(sink());
            part.set_field(&field, value);
            wire.extend(part.encode_to_vec());
        }
        prop_assert_eq!(response(&wire), response(&message.encode_to_vec()));
    }

    #[test]
    fn transcoding_of_any_bytes_does_not_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        if COOK.response(&bytes, &mut out).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        }
        drop(COOK.request(&[], None, None, &bytes));
    }

    #[test]
    fn transcoding_of_json_like_text_does_not_panic(text in r#"[{}\[\]":,0-9eE.+\-truefalsn\\ud8@ ]{0,60}"#) {
        if let Ok(wire) = request(&text) {
            prop_assert!(DynamicMessage::decode(sink(), wire).is_ok());
            prop_assert!(text.is_empty() || serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }

    #[test]
    fn any_schema_is_transcoded_like_prost_reflect(Case { schema, messages } in case(), damage in damage()) {
        for Sample(message) in &messages {
            let text = json(message);
            let wire = schema.request(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed(&json(&schema.decoded(&wire).unwrap())), parsed(&text));

            let damaged = damage.done_to(text.into_bytes());
            if let (Ok(ours), Ok(theirs)) = (schema.request(&damaged), schema.read(&damaged)) {
                prop_assert!(alike(&parsed(&json(&schema.decoded(&ours).unwrap())), &parsed(&json(&theirs))));
            }
        }
        let wire: Vec<u8> = messages.iter().flat_map(|Sample(message)| message.encode_to_vec()).collect();
        // Merged, an Any may have the type of one message and the content of another.
        if let Some(theirs) = schema.written(&wire) {
            prop_assert_eq!(parsed(&schema.response(&wire).unwrap()), theirs);
        }
        let damaged = damage.done_to(wire);
        if let Ok(ours) = schema.response(&damaged) {
            let (ours, theirs) = (parsed(&ours), schema.written(&damaged));
            prop_assert!(theirs.is_none_or(|theirs| ours == theirs), "{ours}");
        }
    }

    // Cache keys are made of it; the schemas that it has to hold for are invented here. It knows no extensions.
    #[test]
    fn json_of_any_message_is_canonical(Case { schema, messages } in case_of(schema_without_extensions()), damage in damage()) {
        let canonical = Canonical::of(&schema.message);
        let wire: Vec<u8> = messages.iter().flat_map(|Sample(message)| message.encode_to_vec()).collect();
        let form = canonical.form(&wire).unwrap();
        let again = schema.decoded(&wire).unwrap().encode_to_vec();
        prop_assert_eq!(&canonical.form(&form).unwrap(), &form);
        prop_assert_eq!(&canonical.form(&again).unwrap(), &form);
        prop_assert!(schema.decoded(&form).unwrap() == schema.decoded(&again).unwrap());

        let damaged = damage.done_to(wire);
        if let (Ok(form), Ok(decoded)) = (canonical.form(&damaged), schema.decoded(&damaged)) {
            prop_assert_eq!(canonical.form(&decoded.encode_to_vec()).unwrap(), form);
        }
    }
}

proptest! {
    // Each case is a schema that has to be compiled, some of them twice.
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_of_any_schema_is_written_back_as_it_was(Case { schema, messages } in case()) {
        for Sample(message) in &messages {
            let text = json(message);
            let wire = schema.request(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed(&schema.response(&wire).unwrap()), without_empty_values(parsed(&text)));
        }
    }

    // By what the oracle writes of them: the bytes in an Any have the entries of its maps in any order.
    #[test]
    fn message_of_any_schema_is_read_back_as_it_was(Case { schema, messages } in case()) {
        for Sample(message) in &messages {
            let text = schema.response(&message.encode_to_vec()).unwrap();
            let again = schema.decoded(&schema.request(text.as_bytes()).unwrap()).unwrap();
            prop_assert_eq!(parsed(&json(&again)), parsed(&json(message)));
            // It does not read an `Empty` in an `Any` without a value.
            if let Ok(theirs) = schema.read(text.as_bytes()) {
                prop_assert!(alike(&parsed(&json(message)), &parsed(&json(&theirs))), "prost-reflect reads {}", text);
            }
        }
    }

    #[test]
    fn answers_of_any_schema_have_the_form_that_is_asked_for(Case { schema, messages } in case(), form in form()) {
        let (output, options) = form;
        for Sample(message) in &messages {
            let text = written(&schema.plan.clone().written(output), &message.encode_to_vec()).unwrap();
            let mut theirs = Vec::new();
            message.serialize_with_options(&mut serde_json::Serializer::new(&mut theirs), &options).unwrap();
            let theirs = String::from_utf8(theirs).unwrap();
            prop_assert_eq!(parsed(&text), without_empty_values(parsed(&theirs)));
            let again = schema.decoded(&schema.request(text.as_bytes()).unwrap()).unwrap();
            prop_assert_eq!(parsed(&json(&again)), parsed(&json(message)));
        }
    }

    #[test]
    fn any_schema_is_transcoded_alike_as_an_edition(Case { schema, messages } in case()) {
        let edition = schema.as_edition();
        for Sample(message) in &messages {
            let text = json(message);
            let wire = schema.request(text.as_bytes()).unwrap();
            prop_assert_eq!(&edition.request(&[], None, None, text.as_bytes()).unwrap(), &wire);
            prop_assert_eq!(written(&edition, &wire).unwrap(), schema.response(&wire).unwrap());
        }
    }
}

/// Both sides are read from text, so that numbers go through the same rounding.
fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

/// The oracle reads long decimals a little beside their value.
fn alike(ours: &serde_json::Value, theirs: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (ours, theirs) {
        (Number(ours), Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= ours.abs() * 1e-14
        }
        (Array(ours), Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| alike(ours, theirs))
        }
        (Object(ours), Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| alike(ours, theirs)))
        }
        _ => ours == theirs,
    }
}

/// The oracle writes an `Empty` in an `Any` under `value`, as Go does, against the page on `ProtoJSON`.
fn without_empty_values(mut json: serde_json::Value) -> serde_json::Value {
    use serde_json::Value::{Array, Object};
    match &mut json {
        Object(members) => {
            let url = members.get("@type").and_then(serde_json::Value::as_str);
            if url.is_some_and(|url| url.ends_with("/google.protobuf.Empty")) {
                members.remove("value");
            }
            members.values_mut().for_each(|value| *value = without_empty_values(value.take()));
        }
        Array(elements) => elements.iter_mut().for_each(|value| *value = without_empty_values(value.take())),
        _ => {}
    }
    json
}

/// A form of answers, and the options by which the oracle writes it.
fn form() -> impl Strategy<Value = (Output, SerializeOptions)> {
    any::<[bool; 3]>().prop_map(|[defaults, proto_names, enum_numbers]| {
        let options = SerializeOptions::new().skip_default_fields(!defaults).use_proto_field_name(proto_names);
        (Output { defaults, proto_names, enum_numbers }, options.use_enum_numbers(enum_numbers))
    })
}

fn written(plan: &Plan, wire: &[u8]) -> Result<String, Malformed> {
    let mut out = Vec::new();
    plan.response(wire, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// One byte replaced, and perhaps all behind it cut off.
#[derive(Debug)]
struct Damage {
    at: prop::sample::Index,
    byte: u8,
    cut: bool,
}

fn damage() -> impl Strategy<Value = Damage> {
    (any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(|(at, byte, cut)| Damage { at, byte, cut })
}

impl Damage {
    fn done_to(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if !bytes.is_empty() {
            let at = self.at.index(bytes.len());
            bytes[at] = self.byte;
            bytes.truncate(if self.cut { at } else { bytes.len() });
        }
        bytes
    }
}

/// A schema with messages of it.
#[derive(Debug)]
struct Case {
    schema: Arc<Invented>,
    messages: Vec<Sample>,
}

fn case() -> impl Strategy<Value = Case> {
    case_of(schema())
}

fn case_of(schema: impl Strategy<Value = Arc<Invented>>) -> impl Strategy<Value = Case> {
    schema.prop_flat_map(|schema| {
        let messages = collection::vec(sample(schema.message.clone(), 2), 1..4);
        (Just(schema), messages).prop_map(|(schema, messages)| Case { schema, messages })
    })
}

/// What the plan makes of a message, and what the oracle makes of it.
impl Invented {
    fn request(&self, text: &[u8]) -> Result<Bytes, Violation> {
        self.plan.request(&[], None, None, text)
    }

    fn response(&self, wire: &[u8]) -> Result<String, Malformed> {
        written(&self.plan, wire)
    }

    fn decoded(&self, wire: &[u8]) -> Result<DynamicMessage, prost::DecodeError> {
        DynamicMessage::decode(self.message.clone(), wire)
    }

    fn read(&self, text: &[u8]) -> Result<DynamicMessage, serde_json::Error> {
        DynamicMessage::deserialize(self.message.clone(), &mut serde_json::Deserializer::from_slice(text))
    }

    fn written(&self, wire: &[u8]) -> Option<serde_json::Value> {
        let text = serde_json::to_string(&self.decoded(wire).ok()?).ok()?;
        Some(without_empty_values(parsed(&text)))
    }
}
