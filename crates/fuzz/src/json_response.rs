//! Protobuf to JSON: what is written is JSON, is what prost-reflect writes, and is read back as the same, in every form that an
//! answer can have.

use accord_transcode::{Malformed, Output};
use prost::Message as _;

use crate::{
    Target,
    oracle::{parsed, theirs, written},
    schemas::{MESSAGES, Message},
};

pub(crate) const TARGET: Target = Target {
    name: "json_response",
    check,
    tokens: &[
        "\x08\x01",
        "\x0a\x00",
        "\x0b",
        "\x0c",
        "\x07a/kitchen.Leaf",
        "a/google.protobuf.Any",
        "\x08\u{1}\x10\u{1}",
    ],
};

/// The most bytes that a byte of a message becomes: the name of an empty field, and a control character.
const MOST: usize = 32;

fn check(input: &[u8]) {
    MESSAGES.iter().for_each(|message| write(message, input));
}

/// The entries of maps come in any order.
fn is_same_but_for_order(one: &[u8], other: &[u8]) -> bool {
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    sorted(one) == sorted(other)
}

fn write(message: &Message, input: &[u8]) {
    let decoded = message.decoded(input);
    let theirs = decoded.as_ref().and_then(theirs);
    let text = match written(&message.plan, input) {
        Ok(text) => text,
        // Nested more deeply than the limit, or a value that prost-reflect writes although nobody could read it.
        Err(Malformed::Depth | Malformed::Value(_)) => return,
        // It reads more than there is: an entry of a map whatever its wire type says. What it writes itself is read here.
        Err(problem) => {
            let is_its_own = decoded.is_some_and(|decoded| is_same_but_for_order(&decoded.encode_to_vec(), input));
            assert!(theirs.is_none() || !is_its_own, "{problem}, but prost-reflect writes {theirs:?}");
            return;
        }
    };
    assert!(text.len() <= input.len() * MOST + 16, "{} bytes became {}", input.len(), text.len());
    let ours = parsed(&text);
    if let Some(theirs) = theirs {
        assert_eq!(ours, theirs, "written by prost-reflect");
    }
    // The only value of `NullValue` is 0; another number is written as null all the same, and read as 0.
    if text.contains("\"nothing\":null") {
        return;
    }
    let form = Output { defaults: true, proto_names: true, enum_numbers: true };
    for text_in_a_form in
        [text.clone(), written(&message.plan.clone().written(form), input).expect("written in a form")]
    {
        let again = message.plan.request(&[], None, None, text_in_a_form.as_bytes());
        let again = again.unwrap_or_else(|violation| panic!("{violation}: {text_in_a_form}"));
        assert_eq!(written(&message.plan, &again).as_ref(), Ok(&text), "read back of {text_in_a_form}");
    }
}
