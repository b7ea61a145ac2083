//! Bounds of a policy's values that others hold as well: whoever gets a policy from elsewhere than a contract checks the same.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Most bytes of a message, either way, where no layer says otherwise.
pub const DEFAULT_MESSAGE_BYTES: u64 = 4 << 20;

/// Bytes of the largest stored answer, where `cache.max_bytes` is left out.
pub const DEFAULT_CACHE_MAX_BYTES: u64 = 1 << 20;

/// The longest lease of a near cache. A write waits for one before it answers, and says `DEFERRED` after 500 ms: a longer one
/// would make all of them say so.
pub const MAX_LEASE: Duration = Duration::from_millis(400);

/// `retry.max_attempts`, the first attempt included.
pub const MAX_ATTEMPTS: RangeInclusive<u32> = 2..=5;

/// Names in `cache.keep_headers` or `cache.vary`: a read goes over all of them, and an entry holds the values of all of them.
pub const MAX_HEADER_NAMES: usize = 16;

/// Characters of one of them: names are sent with every read of the method.
pub const MAX_HEADER_NAME: usize = 100;

/// Bytes of the id in `access.resource`, as auth has them for its objects. Each decision is remembered with it.
pub const OBJECT_ID: RangeInclusive<usize> = 1..=256;

/// Plans of one rate limit: each call is compared with all of them.
pub const MAX_RATE_LIMIT_PLANS: usize = 16;

/// Names in `json.ignored_parameters`: each parameter that names no field is compared with all of them.
pub const MAX_IGNORED_PARAMETERS: usize = 32;

/// Headers that concern one connection or one message (RFC 9110, 7.6.1 and 8), so they say nothing about the answer to another
/// call.
pub const HEADERS_OF_ONE_MESSAGE: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
