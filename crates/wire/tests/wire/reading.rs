//! The reader and the writer.

use accord_wire::{
    Malformed, ScalarType, Value, WireType, close_length, occurrences, open_length, put_tag, put_value, read_value,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::messages::{any_value, encoded, number};

proptest! {
    #[test]
    fn reader_reads_what_the_writer_wrote(fields in vec((number(), any_value()), 0..12)) {
        let raw: Vec<_> = fields.iter().map(|(number, value)| encoded(*number, value.value())).collect();
        let message = raw.concat();
        let read = occurrences(&message).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(read.len(), fields.len());
        for ((read, raw), (number, value)) in read.iter().zip(&raw).zip(&fields) {
            prop_assert_eq!((read.number, read.value, read.raw), (*number, value.value(), raw.as_slice()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_malformed(message in vec(any::<u8>(), 0..200)) {
        let mut read = 0;
        for occurrence in occurrences(&message).map_while(Result::ok) {
            prop_assert_eq!(occurrence.raw, &message[read..read + occurrence.raw.len()]);
            read += occurrence.raw.len();
        }
        let malformed = occurrences(&message).any(|occurrence| occurrence.is_err());
        prop_assert_eq!(malformed, read < message.len());
    }

    /// Bytes that begin like a message lead further into the reader than random ones.
    #[test]
    fn cut_messages_are_read_or_malformed(fields in vec((number(), any_value()), 1..6), cut: prop::sample::Index) {
        let message = fields.iter().flat_map(|(number, value)| encoded(*number, value.value())).collect::<Vec<_>>();
        let message = &message[..cut.index(message.len())];
        prop_assert!(occurrences(message).map(|occurrence| occurrence.map_or(0, |read| read.raw.len())).sum::<usize>()
            <= message.len());
    }

    #[test]
    fn packed_values_are_read_as_they_were_written(values in vec(any::<u64>(), 0..20)) {
        let mut packed = Vec::new();
        for value in &values {
 put_value(&mut packed, Value::Varint(*value)); }
        let mut rest = packed.as_slice();
        for value in values {
            prop_assert_eq!(read_value(&mut rest, WireType::Varint), Ok(Value::Varint(value)));
        }
        prop_assert!(rest.is_empty());
    }
}

#[test]
fn length_prefix_grows_in_place() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
        let body = vec![7; length];
        let mut out = vec![0x08, 0x01];
        put_tag(&mut out, 5, WireType::Bytes);
        let start = open_length(&mut out);
        out.extend_from_slice(&body);
        close_length(&mut out, start);
        let last = occurrences(&out).last().unwrap().unwrap();
        assert_eq!((last.number, last.value), (5, Value::Bytes(&body)), "{length}");
    }
}

#[test]
fn groups_are_no_packed_values() {
    for wire_type in [WireType::StartGroup, WireType::EndGroup] {
        assert_eq!(read_value(&mut &[1, 2, 3][..], wire_type), Err(Malformed::WrongType));
    }
}

#[test]
fn scalar_types_have_the_numbers_of_descriptors() {
    let numbers: Vec<_> = (0..20).filter(|number| ScalarType::from_number(*number).is_some()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18]);
}
