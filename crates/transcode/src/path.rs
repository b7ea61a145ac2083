//! The raw path of a request: its one accepted form, its segments, its values.

use std::{borrow::Cow, ops::Range};

use percent_encoding::percent_decode_str;

/// Where the segments of a path are. An error says what is wrong with the path.
pub(crate) fn segments(path: &str) -> Result<Vec<Range<usize>>, &'static str> {
    let inner = path.strip_prefix('/').ok_or("does not start with a slash")?;
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::with_capacity(8);
    let mut start = 1;
    for segment in inner.split('/') {
        check(segment)?;
        segments.push(start..start + segment.len());
        start += segment.len() + 1;
    }
    Ok(segments)
}

fn check(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("has an empty segment");
    }
    if !segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte)) {
        return Err("has a character that must be escaped");
    }
    let escapes = segment.split('%').skip(1);
    for escape in escapes.clone() {
        let digits = escape.as_bytes().first_chunk::<2>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let [high, low] = digits.ok_or("has a broken escape")?;
        if matches!(high, b'0' | b'1') || (*high == b'7' && low.eq_ignore_ascii_case(&b'f')) {
            return Err("has an escaped control character");
        }
    }
    // Others on the way may decode and fold dots, an escaped slash included: no such path gets to mean something here.
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| "is not UTF-8")?;
    if decoded.split(['/', '\\']).any(|piece| piece == "." || piece == "..") {
        return Err("has a segment of dots");
    }
    Ok(())
}

/// Takes what follows the last colon of the last segment.
pub(crate) fn split_verb<'p>(path: &'p str, segments: &mut [Range<usize>]) -> Option<&'p str> {
    let last = segments.last_mut()?;
    let (before, verb) = path[last.clone()].rsplit_once(':')?;
    if before.is_empty() || verb.is_empty() {
        return None;
    }
    last.end = last.start + before.len();
    Some(verb)
}

/// The value of a variable of one segment.
pub(crate) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// The value of a variable of several segments, in which an escaped slash has to stay apart from the others.
pub(crate) fn decoded_but_slashes(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let (mut value, mut start) = (String::with_capacity(text.len()), 0);
    let kept =
        text.match_indices('%').filter(|(at, _)| text[at + 1..].starts_with("2F") || text[at + 1..].starts_with("2f"));
    for (at, _) in kept {
        value.push_str(&decoded(&text[start..at])?);
        value.push_str(&text[at..at + 3]);
        start = at + 3;
    }
    value.push_str(&decoded(&text[start..])?);
    Some(Cow::Owned(value))
}
