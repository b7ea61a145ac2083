//! Percent-encoding, byte by byte.

/// The bytes that a text stands for. Escapes of bytes for which `is_kept` stay as they are.
pub(crate) fn decoded(text: &str, is_kept: impl Fn(u8) -> bool) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let escaped = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        if let Some(value) = escaped.filter(|value| *byte == b'%' && !is_kept(*value)) {
            plain.push(value);
            rest = &after[2..];
        } else {
            plain.push(*byte);
            rest = after;
        }
    }
    plain
}

/// As forms are read: a plus is a space.
pub(crate) fn decoded_form(text: &str) -> Vec<u8> {
    decoded(&text.replace('+', " "), |_| false)
}
