//! proto2: groups, required fields, defaults.

use prost::Message;
use prost_reflect::DynamicMessage;

use super::kitchen::{POOL, plan};

#[test]
fn groups_and_explicit_zeros_pass_both_ways() {
    let json = r#"{"part":{"name":"a","numbers":[1,2]},"item":[{"count":0},{}],"size":0,"preset":0,"packed":[3,4]}"#;
    let (plan, old) = (plan("legacy.Attic.Fetch", None), POOL.get_message_by_name("legacy.Old").unwrap());
    let wire = plan.request(&[], None, None, json.as_bytes()).unwrap();
    let read = DynamicMessage::decode(old, &*wire).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);

    for wire in [read.encode_to_vec(), wire.to_vec()] {
        let mut out = Vec::new();
        plan.response(&wire, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), json);
    }
}

#[test]
fn group_in_pieces_is_merged() {
    let plan = plan("legacy.Attic.Fetch", None);
    let [name, numbers] = [r#"{"part":{"name":"a"}}"#, r#"{"part":{"numbers":[1]}}"#]
        .map(|json| plan.request(&[], None, None, json.as_bytes()).unwrap());
    let mut out = Vec::new();
    plan.response(&[numbers, name].concat(), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"part":{"name":"a","numbers":[1]}}"#);
}

#[test]
fn enum_value_with_aliases_is_written_by_the_name_declared_first() {
    let plan = plan("legacy.Attic.Fetch", None);
    let wire = plan.request(&[], None, None, br#"{"kind":"SIZE_TINY"}"#).unwrap();
    let mut out = Vec::new();
    plan.response(&wire, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"kind":"SIZE_SMALL"}"#);
}

#[test]
fn extensions_pass_both_ways_under_their_full_names() {
    let json = r#"{"size":1,"[legacy.remark]":"a","[legacy.marks]":[1,2],"[legacy.inner]":{"size":0,"[legacy.remark]":""},"[legacy.Scope.tally]":{"count":3}}"#;
    let (plan, old) = (plan("legacy.Attic.Fetch", None), POOL.get_message_by_name("legacy.Old").unwrap());
    let wire = plan.request(&[], None, None, json.as_bytes()).unwrap();
    assert_eq!(DynamicMessage::decode(old, &*wire).unwrap().encode_to_vec(), wire);
    let mut out = Vec::new();
    plan.response(&wire, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), json);
}

#[test]
fn extension_without_brackets_is_an_unknown_field() {
    let plan = plan("legacy.Attic.Fetch", None);
    let violation = plan.request(&[], None, None, br#"{"legacy.remark":"a"}"#).unwrap_err();
    assert_eq!(violation.kind, accord_transcode::ViolationKind::UnknownField);
}
