//! Deadlines: the moment by which a call must be over, `grpc-timeout`, and a body that ends in time.

mod race;
mod timer;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use accord_api::accord::fault::v1::Reason;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Status;

use crate::fault;

pub use race::{is_exceeded, is_race, is_race_in};
pub(crate) use timer::DeadlineTimer;
pub use timer::{Elapsed, Within, within};

/// A longer wait than anybody means; it keeps sums of durations far from overflow.
const FAR: Duration = Duration::from_hours(365 * 24);

/// A moment on the monotonic clock by which a call must be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline that lies `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration.min(FAR))
    }

    /// The time that is left; zero once the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether no time is left.
    pub fn expired(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of two deadlines.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The moment itself, for `tokio::time::timeout_at`.
    pub fn at(self) -> Instant {
        self.0
    }

    /// What is left now as a `grpc-timeout` value.
    pub fn grpc_timeout(self) -> HeaderValue {
        format_grpc_timeout(self.remaining())
    }

    /// The status of a call that did not make it.
    pub fn exceeded() -> Status {
        fault::status(Reason::DeadlineExceeded, "the call's deadline has passed")
    }
}

/// A `grpc-timeout` that is not one to eight digits and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout must be one to eight digits followed by one of H, M, S, m, u, n")]
pub struct MalformedTimeout;

/// Parses a `grpc-timeout` value, strictly as in gRPC's "HTTP/2 transport mapping".
pub fn parse_grpc_timeout(text: &str) -> Result<Duration, MalformedTimeout> {
    let (digits, unit) = text.split_at_checked(text.len().wrapping_sub(1)).ok_or(MalformedTimeout)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MalformedTimeout);
    }
    let amount: u64 = digits.parse().map_err(|_| MalformedTimeout)?;
    match unit {
        "H" => Ok(Duration::from_secs(amount * 3600)),
        "M" => Ok(Duration::from_secs(amount * 60)),
        "S" => Ok(Duration::from_secs(amount)),
        "m" => Ok(Duration::from_millis(amount)),
        "u" => Ok(Duration::from_micros(amount)),
        "n" => Ok(Duration::from_nanos(amount)),
        _ => Err(MalformedTimeout),
    }
}

/// The finest unit in which the duration fits eight digits, rounded down: a hop never has more time than its caller.
fn format_grpc_timeout(duration: Duration) -> HeaderValue {
    const MOST: u64 = 99_999_999;
    // What is longer than 584 years is told as that.
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (amount, unit) = match nanos {
        0..=MOST => (nanos, b'n'),
        _ if nanos / 1_000 <= MOST => (nanos / 1_000, b'u'),
        _ if nanos / 1_000_000 <= MOST => (nanos / 1_000_000, b'm'),
        _ => ((nanos / 1_000_000_000).min(MOST), b'S'),
    };
    let mut text = [0; 9];
    let length = write_digits(amount, &mut text);
    text[length] = unit;
    HeaderValue::from_bytes(&text[..=length]).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

/// Writes a number of at most eight digits; how many there are.
fn write_digits(mut number: u64, text: &mut [u8; 9]) -> usize {
    let length = number.checked_ilog10().map_or(1, |digits| digits as usize + 1).min(8);
    for place in text[..length].iter_mut().rev() {
        *place = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
    length
}

pin_project! {
    /// A response body that ends with DEADLINE_EXCEEDED trailers when its deadline passes, and lets go of what it
    /// wrapped at that moment, so that whoever produces the body learns that nobody waits any more.
    pub struct DeadlineBody<B> {
        #[pin]
        inner: Option<B>,
        // None for a body that takes the time it takes.
        deadline: Option<Deadline>,
        timer: DeadlineTimer,
    }
}

impl<B> DeadlineBody<B> {
    /// Bounds `inner` by `deadline`.
    pub fn new(inner: B, deadline: Deadline) -> Self {
        Self { inner: Some(inner), deadline: Some(deadline), timer: DeadlineTimer::default() }
    }

    /// Lets `inner` take the time it takes.
    pub fn unbounded(inner: B) -> Self {
        Self { inner: Some(inner), deadline: None, timer: DeadlineTimer::default() }
    }

    /// A body that is over, for an answer that consists of its head.
    pub fn over() -> Self {
        Self { inner: None, deadline: None, timer: DeadlineTimer::default() }
    }
}

impl<B: Body> Body for DeadlineBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let Some(deadline) = *this.deadline else { return inner.poll_frame(context) };
        // The deadline comes first: a body that is always ready would otherwise outrun it.
        if !deadline.expired() {
            let polled = this.timer.poll(context, |context| (inner.poll_frame(context), Some(deadline.at())));
            if let Some(frame) = ready!(polled) {
                return Poll::Ready(frame);
            }
        }
        this.inner.set(None);
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&Deadline::exceeded())))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Nothing exact is promised of a body that may be cut.
        SizeHint::default()
    }
}

/// A status as the trailers that end a gRPC body.
pub fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only a message that can't be a header fails; the code matters more than the message.
        trailers.insert("grpc-status", HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grpc_timeout_is_parsed_strictly() {
        let good = [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("00000001S", Duration::from_secs(1)),
            ("99999999H", Duration::from_hours(99_999_999)),
        ];
        for (text, expected) in good {
            assert_eq!(parse_grpc_timeout(text), Ok(expected), "{text}");
        }
        for bad in ["", "S", "5", "5s", "5h", "-5S", "+5S", "5 S", " 5S", "1.5S", "123456789S", "5SS", "5\u{b5}", "٣S"]
        {
            assert_eq!(parse_grpc_timeout(bad), Err(MalformedTimeout), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_shrinks_as_time_passes() {
        let long = Deadline::after(Duration::from_secs(10));
        let short = Deadline::after(Duration::from_secs(4));
        assert_eq!(long.min(short), short);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(short.remaining(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(short.expired() && !long.expired());
        assert_eq!(short.grpc_timeout(), "0n");
    }

    #[test]
    fn deadline_too_long_for_the_clock_is_capped() {
        assert!(!Deadline::after(Duration::MAX).expired());
    }

    /// Durations of all magnitudes up to `seconds`.
    fn finer(seconds: u64) -> impl Strategy<Value = Duration> {
        (0..64_u32).prop_map(move |halvings| Duration::from_secs(seconds) / 2_u32.saturating_pow(halvings))
    }

    proptest! {
        #[test]
        fn grpc_timeout_is_rounded_down(left in (0..FAR.as_secs()).prop_flat_map(finer)) {
            let told = parse_grpc_timeout(format_grpc_timeout(left).to_str().unwrap()).unwrap();
            prop_assert!(told <= left);
            // Eight digits lose less than one part in a hundred thousand.
            prop_assert!(left.abs_diff(told) <= left / 100_000);
        }

        #[test]
        fn grpc_timeout_of_any_text_parses_or_is_malformed(text in ".*") {
            let _ = parse_grpc_timeout(&text);
        }
    }
}
