//! When a certificate ends (RFC 5280, section 4.1). Nothing else of it is read, and nobody is trusted by this: it is told to operators,
//! and says when a connection goes whose client was verified by others.

use std::time::SystemTime;

/// The moment after which a certificate in DER is not valid; None where that can't be read.
pub(crate) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    // The version is left out of certificates of the first one.
    if tag == VERSION {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first element of some DER: its tag, its content, and what follows it.
pub(crate) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let within = bytes.len() <= size_of::<u32>();
        within.then(|| (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest))?
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; of the short form, 50 to 99 are of the last century.
fn moment(tag: u8, text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let year = match (tag, digits.len()) {
        (UTC_TIME, 12) if digits < "50" => format!("20{}", &digits[..2]),
        (UTC_TIME, 12) => format!("19{}", &digits[..2]),
        (GENERALIZED_TIME, 14) => digits[..4].to_owned(),
        _ => return None,
    };
    let rest = &digits[digits.len() - 10..];
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| &rest[at..at + 2]);
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

#[cfg(test)]
mod tests {
    use accord_test_certificates::Identity;

    use super::*;

    fn certificate(ends: SystemTime) -> Vec<u8> {
        Identity::self_signed_until(&["localhost"], ends).der.to_vec()
    }

    #[test]
    fn end_of_a_certificate_is_read_in_either_form() {
        for text in ["2031-03-04T00:00:00Z", "2061-03-04T00:00:00Z"] {
            let ends = humantime::parse_rfc3339(text).unwrap();
            assert_eq!(not_after(&certificate(ends)), Some(ends), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_end() {
        let good = certificate(SystemTime::now());
        for length in 0..200 {
            assert_eq!(not_after(&good[..length]), None, "{length}");
        }
        assert_eq!(not_after(&[0x30, 0xff, 0xff]), None);
    }
}
