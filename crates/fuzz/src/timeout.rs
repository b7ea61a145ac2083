//! The timeouts of each protocol: exactly the texts that their grammars make, with exactly their length.

use std::time::Duration;

use accord_gateway::parsers::{connect_timeout, request_timeout};
use accord_runtime::deadline::parse_grpc_timeout;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "timeout",
    check,
    tokens: &["0", "9", "99999999", "H", "M", "S", "m", "u", "n", ".", "-", "+", " ", "e", "0.000000001"],
};

fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    assert_eq!(parse_grpc_timeout(text).ok(), grpc(text), "grpc-timeout");
    assert_eq!(connect_timeout(text), number(text, 10).map(Duration::from_millis), "connect-timeout-ms");
    assert_eq!(request_timeout(text), seconds(text), "request-timeout");
}

/// A number of at most so many digits.
fn number(text: &str, most: usize) -> Option<u64> {
    let digits: Option<Vec<u64>> = text.chars().map(|digit| digit.to_digit(10).map(u64::from)).collect();
    let digits = digits.filter(|digits| (1..=most).contains(&digits.len()))?;
    Some(digits.iter().fold(0, |number, digit| number * 10 + digit))
}

fn grpc(text: &str) -> Option<Duration> {
    let units = [
        ("H", 3_600_000_000_000),
        ("M", 60_000_000_000),
        ("S", 1_000_000_000),
        ("m", 1_000_000),
        ("u", 1_000),
        ("n", 1),
    ];
    let (unit, nanoseconds) = units.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let amount = u128::from(number(text.strip_suffix(unit)?, 8)?) * nanoseconds;
    let (seconds, rest) = (amount / 1_000_000_000, amount % 1_000_000_000);
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(rest).ok()?))
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let (whole, count) = (number(whole, 8)?, u32::try_from(decimals.len()).ok()?);
    let nanoseconds = number(decimals, 9)? * 10_u64.pow(9 - count);
    Some(Duration::from_secs(whole) + Duration::from_nanos(nanoseconds))
}
