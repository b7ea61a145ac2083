//! Numbers of JSON texts, path segments and query parameters, read exactly.

use crate::json::number_length;

/// An integer of any declared type; `None` if `text` is not one. `1.0`, `1e3` are integers (proto3 JSON says so).
pub(crate) fn integer(text: &str) -> Option<i128> {
    if number_length(text.as_bytes()) != Some(text.len()) {
        return None;
    }
    if text.len() < 19 && !text.contains(['.', 'e', 'E']) {
        return text.parse::<i64>().ok().map(i128::from);
    }
    let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        None => (magnitude, 0),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let value = shifted(whole, fraction.trim_end_matches('0'), exponent)?;
    Some(if negative { -value } else { value })
}

/// `whole.fraction` times ten to the power of `exponent`, if that is whole and not much wider than 64 bits.
fn shifted(whole: &str, fraction: &str, exponent: i32) -> Option<i128> {
    let digits = whole.len() + fraction.len();
    if whole.len() > 40 || digits > 80 {
        return None;
    }
    let all = || whole.bytes().chain(fraction.bytes());
    let trailing = all().rev().take_while(|digit| *digit == b'0').count();
    if trailing == digits {
        return Some(0);
    }
    let shift =
        i32::try_from(trailing).ok()?.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scale = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
    let mut value = 0_i128;
    for digit in all().take(digits - trailing) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    value.checked_mul(scale)
}

/// A floating point number. `None` if `text` is not one, or is larger than its type can hold.
pub(crate) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if number_length(text.as_bytes()) == Some(text.len()) => {
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
        _ => None,
    }
}

/// As [`double`], for the narrower type.
pub(crate) fn float(text: &str) -> Option<f32> {
    match text {
        "NaN" => Some(f32::NAN),
        "Infinity" => Some(f32::INFINITY),
        "-Infinity" => Some(f32::NEG_INFINITY),
        _ if number_length(text.as_bytes()) == Some(text.len()) => {
            text.parse().ok().filter(|value: &f32| value.is_finite())
        }
        _ => None,
    }
}
