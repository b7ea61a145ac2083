//! One-time codes by time (TOTP, RFC 6238): six digits, 30 seconds, HMAC-SHA-1, as every app has them.

use aws_lc_rs::{hmac, rand};

use super::encryption_key::EncryptionError;

/// Seconds that a code stands for.
const STEP: i64 = 30;

/// Codes of the step before and after count as well: clocks differ, and people type (section 5.2).
const SKEW: i64 = 1;

/// Bytes of a secret (RFC 4226, section 4, R6).
const SECRET: usize = 20;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new secret.
pub(super) fn generate() -> Result<Vec<u8>, EncryptionError> {
    let mut secret = vec![0; SECRET];
    rand::fill(&mut secret).map_err(|_| EncryptionError::Failed)?;
    Ok(secret)
}

/// The step whose code this is, if it is one of now that comes after `last`: no code is good twice (section 5.2).
pub(super) fn step_of(secret: &[u8], code: &str, last: i64, now: i64) -> Option<i64> {
    let digits: u32 =
        (code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())).then(|| code.parse().ok())??;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let now = now / STEP;
    (now - SKEW..=now + SKEW).find(|step| *step > last && code_of(&key, *step) == digits)
}

/// Section 5.3 of RFC 4226.
fn code_of(key: &hmac::Key, step: i64) -> u32 {
    let tag = hmac::sign(key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 15);
    let number = tag[offset..].iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte));
    (number & 0x7fff_ffff) % 1_000_000
}

/// A secret as people type it (RFC 4648, section 6, without padding).
pub(super) fn base32(secret: &[u8]) -> String {
    let mut text = String::new();
    for chunk in secret.chunks(5) {
        let bits = chunk.iter().fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        let letters = (8 * chunk.len()).div_ceil(5);
        text.extend((0..letters).map(|letter| char::from(BASE32[(bits >> (35 - 5 * letter) & 31) as usize])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix B of RFC 6238, of whose eight digits the last six are shown.
    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(step_of(SECRET, code, -10, time), Some(time / 30), "{time}");
        }
    }

    #[test]
    fn code_of_a_neighbouring_step_is_good_and_one_further_away_is_not() {
        let (time, step) = (1_111_111_109, 37_037_036);
        for (seconds, expected) in [(-60, None), (-30, Some(step)), (0, Some(step)), (30, Some(step)), (60, None)] {
            assert_eq!(step_of(SECRET, "081804", 0, time + seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn code_is_good_once() {
        assert_eq!(step_of(SECRET, "287082", 1, 59), None);
    }

    #[test]
    fn text_that_is_no_code_is_refused() {
        for text in ["", "28708", "2870820", "28708a", "+87082", " 87082"] {
            assert_eq!(step_of(SECRET, text, -10, 59), None, "{text}");
        }
    }

    #[test]
    fn secret_is_written_as_rfc_4648_has_it() {
        for (secret, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(secret.as_bytes()), text);
        }
    }
}
