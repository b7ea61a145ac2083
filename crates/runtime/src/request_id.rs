//! The id of a call, which is the same at every hop.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, fmt::Hyphenated};

/// The header that carries a call's id.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// A call's id: the caller's where it is 1 to 128 visible ASCII characters, else a UUID of version 7.
///
/// It is kept as the header that it came in and goes out in, since every hop and every answer carries it. No id repeats, so it
/// stays out of HPACK's tables: there it would push out what does (RFC 7541, 6.2.3, as a value that is sensitive).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new id that sorts by time.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // The thread's own generator, which the system seeds: no call of the system for each id, and no lock.
        let id = Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        // Hexadecimal digits and hyphens may stand in a header.
        let id = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text));
        Self(never_indexed(id.unwrap_or_else(|_| HeaderValue::from_static("none"))))
    }

    /// The id that the caller chose, or a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let fits = |value: &&HeaderValue| {
            (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(HEADER).filter(fits).map_or_else(Self::new, |id| Self(never_indexed(id.clone())))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only visible ASCII gets in.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header value.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The value as one that HPACK keeps in no table, since it does not repeat.
pub(crate) fn never_indexed(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::{Uuid, Variant};

    use super::*;

    fn id_from(value: &'static str) -> RequestId {
        RequestId::of(&HeaderMap::from_iter([(HEADER, HeaderValue::from_static(value))]))
    }

    #[test]
    fn request_id_of_the_caller_is_kept_where_it_is_plain() {
        assert_eq!(id_from("order-17").as_str(), "order-17");
        for refused in ["", "two words", "tab\there"] {
            assert!(Uuid::parse_str(id_from(refused).as_str()).is_ok(), "{refused:?} became an id");
        }
        let long = HeaderValue::from_str(&"x".repeat(129)).unwrap();
        assert_eq!(RequestId::of(&HeaderMap::from_iter([(HEADER, long)])).as_str().len(), 36);
    }

    #[test]
    fn new_request_id_is_a_uuid_of_version_7_of_now() {
        let id = Uuid::parse_str(RequestId::new().as_str()).unwrap();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, Variant::RFC4122));
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(seconds) <= 1, "{id} is of {seconds}, and now is {now}");
    }

    #[test]
    fn request_ids_of_many_threads_differ() {
        let ids = || (0..1_000).map(|_| RequestId::new().as_str().to_owned()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let made: BTreeSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(made.len(), 4_000);
    }
}
