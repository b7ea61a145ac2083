//! Well-known messages whose JSON form is a string: timestamps, durations, field masks.

use accord_wire::{Value, WireType, occurrences, put_bytes, put_tag, put_varint};

use crate::{
    civil,
    schema::Known,
    text::{put, put_string},
    violation::{Malformed, Violation},
};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10 000 years, either way.
const LONGEST: i64 = 315_576_000_000;
const BILLION: i64 = 1_000_000_000;

/// Writes the fields of the message that `text` stands for.
pub(crate) fn put_text(out: &mut Vec<u8>, known: Known, text: &str) -> Result<(), Violation> {
    match known {
        Known::Timestamp => {
            let (seconds, nanos) = timestamp(text)
                .ok_or_else(|| Violation::invalid("must be a time of RFC 3339, such as 2026-01-31T12:00:00Z"))?;
            put_parts(out, seconds, nanos);
            Ok(())
        }
        Known::Duration => {
            let (seconds, nanos) =
                duration(text).ok_or_else(|| Violation::invalid("must be a duration in seconds, such as 1.5s"))?;
            put_parts(out, seconds, nanos);
            Ok(())
        }
        Known::FieldMask => put_paths(out, text),
        _ => Err(Violation::invalid("cannot be given as text")),
    }
}

fn put_parts(out: &mut Vec<u8>, seconds: i64, nanos: i64) {
    for (number, value) in [(1, seconds), (2, nanos)] {
        if value != 0 {
            put_tag(out, number, WireType::Varint);
            put_varint(out, value.cast_unsigned());
        }
    }
}

/// Seconds and nanoseconds since 1970.
fn timestamp(text: &str) -> Option<(i64, i64)> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, offset) = zone(time)?;
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = civil::days(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second - offset;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos(fraction)?))
}

/// Parts a time from its offset to UTC, in seconds.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let (time, offset) = time.split_at(time.rfind(['+', '-'])?);
    let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some((time, if offset.starts_with('-') { -seconds } else { seconds }))
}

/// Decimal numbers of fixed widths.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut read = [0; N];
    for (slot, width) in read.iter_mut().zip(widths) {
        *slot = decimal(parts.next().filter(|part| part.len() == width)?)?;
    }
    parts.next().is_none().then_some(read)
}

fn decimal(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// One to nine digits behind the point.
fn nanos(fraction: Option<&str>) -> Option<i64> {
    let Some(digits) = fraction else { return Some(0) };
    let missing = 9_usize.checked_sub(digits.len())?;
    Some(decimal(digits)? * 10_i64.pow(u32::try_from(missing).ok()?))
}

/// Seconds and nanoseconds, of one sign.
fn duration(text: &str) -> Option<(i64, i64)> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let (seconds, nanos) = (decimal(whole)?, nanos(fraction)?);
    // The bound is on the seconds alone: the conformance suite's longest is 315576000000.999999999s.
    (seconds <= LONGEST).then_some((sign * seconds, sign * nanos))
}

/// Paths in `lowerCamelCase`, as they are written, or in `snake_case`, as the fields are named. `*` stands for every field
/// (AIP-134), or every element (AIP-161).
fn put_paths(out: &mut Vec<u8>, text: &str) -> Result<(), Violation> {
    let mut path = String::new();
    for given in text.split(',').filter(|_| !text.is_empty()) {
        path.clear();
        for character in given.chars() {
            match character {
                'A'..='Z' => path.extend(['_', character.to_ascii_lowercase()]),
                'a'..='z' | '0'..='9' | '.' | '_' => path.push(character),
                '*' if has_whole_asterisks(given) => path.push('*'),
                _ => {
                    let problem = "must be field paths such as `displayName`, or `*`, separated by commas";
                    return Err(Violation::invalid(problem));
                }
            }
        }
        if path.is_empty() {
            return Err(Violation::invalid("must not have an empty field path"));
        }
        put_bytes(out, 1, path.as_bytes());
    }
    Ok(())
}

/// Whether each asterisk of a path stands for a name.
fn has_whole_asterisks(path: &str) -> bool {
    path.split('.').all(|name| name == "*" || !name.contains('*'))
}

/// Writes the JSON string that a message stands for.
pub(crate) fn put_json(out: &mut Vec<u8>, known: Known, message: &[u8]) -> Result<(), Malformed> {
    match known {
        Known::Timestamp => put_timestamp(out, parts(message)?),
        Known::Duration => put_duration(out, parts(message)?),
        _ => put_mask(out, message),
    }
}

fn parts(message: &[u8]) -> Result<(i64, i64), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for occurrence in occurrences(message) {
        let occurrence = occurrence?;
        match (occurrence.number, occurrence.value) {
            (1, Value::Varint(value)) => seconds = value.cast_signed(),
            (2, Value::Varint(value)) => nanos = value.cast_signed(),
            (1 | 2, _) => return Err(Malformed::Wire("a time is not made of varints")),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

fn put_timestamp(out: &mut Vec<u8>, (seconds, nanos): (i64, i64)) -> Result<(), Malformed> {
    if !TIMESTAMPS.contains(&seconds) || !(0..BILLION).contains(&nanos) {
        return Err(Malformed::Value("a timestamp is out of range"));
    }
    let (year, month, day) = civil::date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    put(out, format_args!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"));
    put_fraction(out, nanos);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

fn put_duration(out: &mut Vec<u8>, (seconds, nanos): (i64, i64)) -> Result<(), Malformed> {
    let range = -LONGEST..=LONGEST;
    let one_sign = seconds.signum() * nanos.signum() >= 0;
    if !range.contains(&seconds) || nanos <= -BILLION || nanos >= BILLION || !one_sign {
        return Err(Malformed::Value("a duration is out of range"));
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    put(out, format_args!("\"{sign}{}", seconds.abs()));
    put_fraction(out, nanos.abs());
    out.extend_from_slice(b"s\"");
    Ok(())
}

/// Three, six or nine digits, or none.
fn put_fraction(out: &mut Vec<u8>, nanos: i64) {
    match (nanos, nanos % 1_000_000, nanos % 1_000) {
        (0, ..) => {}
        (_, 0, _) => put(out, format_args!(".{:03}", nanos / 1_000_000)),
        (_, _, 0) => put(out, format_args!(".{:06}", nanos / 1_000)),
        _ => put(out, format_args!(".{nanos:09}")),
    }
}

fn put_mask(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    let mut mask = String::new();
    for occurrence in occurrences(message) {
        let occurrence = occurrence?;
        if let (1, Value::Bytes(path)) = (occurrence.number, occurrence.value) {
            mask.push_str(if mask.is_empty() { "" } else { "," });
            push_camel(&mut mask, path).ok_or(Malformed::Value("a field mask has a path that is not in snake_case"))?;
        }
    }
    put_string(out, &mask);
    Ok(())
}

/// None for what would be read back as another path, or as several.
fn push_camel(mask: &mut String, path: &[u8]) -> Option<()> {
    let path = std::str::from_utf8(path).ok().filter(|path| !path.is_empty() && has_whole_asterisks(path))?;
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '_' => mask.push(characters.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase()),
            'a'..='z' | '0'..='9' | '.' | '*' => mask.push(character),
            _ => return None,
        }
    }
    Some(())
}
