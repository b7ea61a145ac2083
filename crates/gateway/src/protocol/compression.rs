//! Compressed answers (RFC 9110, 8.4 and 12.5.3): texts in hand, for callers that say they read them so.
//!
//! Streams are written as they come, and what passes through stays as it is.

use super::{body::Whole, weight};
use crate::{beside_workers, etag, fault::Fault, memory::CallMemory};
use accord_runtime::{config::bound::Count, fair_share::Held};
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tonic::body::Body;

const VARY: HeaderValue = HeaderValue::from_static("accept-encoding");

/// The fastest levels: an answer is compressed for one caller, once.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// The longest text that a worker compresses itself: as long as that takes, some milliseconds, it serves nobody else.
const MAX_ON_WORKER: usize = 256 << 10;

/// Which answers are compressed, for callers that accept it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompressionConfig {
    /// Whether any are: those in JSON, of unary calls in Connect, and the `OpenAPI` document. Default: true.
    pub enabled: bool,
    /// Bytes from which on an answer is compressed, 1 to 1073741824. Default: 1024.
    #[serde(with = "Count::<1, 1_073_741_824>")]
    pub min_bytes: u64,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { enabled: true, min_bytes: 1024 }
    }
}

/// How an answer may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// The one that a caller would rather have than plain bytes; none where it does not say so.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut accepted = Accepted::default();
        for line in headers.get_all(header::ACCEPT_ENCODING) {
            line.to_str().unwrap_or_default().split(',').for_each(|choice| accepted.add(choice));
        }
        accepted.best()
    }

    /// As `content-encoding` names it.
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }

    /// The compressed bytes.
    pub(crate) fn compress(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Level::new(GZIP_LEVEL));
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL),
        }
    }
}

/// The weights of what a caller accepts, in thousandths.
#[derive(Default)]
struct Accepted {
    gzip: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accepted {
    fn add(&mut self, choice: &str) {
        let mut parts = choice.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let place = match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut self.gzip,
            _ if name.eq_ignore_ascii_case("zstd") => &mut self.zstd,
            _ if name.eq_ignore_ascii_case("identity") => &mut self.identity,
            "*" => &mut self.any,
            _ => return,
        };
        *place = weight::of(parts);
    }

    /// Of two that are accepted alike zstd, which is smaller and takes less time. Whoever accepts anything gets what everybody reads.
    fn best(&self) -> Option<Coding> {
        let zstd = (self.zstd.unwrap_or_default(), Coding::Zstd);
        let gzip = (self.gzip.or(self.any).unwrap_or_default(), Coding::Gzip);
        let (weight, coding) = if zstd.0 >= gzip.0 { zstd } else { gzip };
        (weight > self.identity.unwrap_or_default().saturating_sub(1)).then_some(coding)
    }
}

/// Compresses answers.
pub(crate) struct Compression {
    /// From which size on; [`NEVER`] where no answer is compressed.
    min_bytes: AtomicU64,
}

/// A size that no answer has.
const NEVER: u64 = u64::MAX;

impl Compression {
    /// As the configuration says.
    pub(crate) fn new(config: &CompressionConfig) -> Self {
        let compression = Self { min_bytes: AtomicU64::new(NEVER) };
        compression.take_over(config);
        compression
    }

    /// From the next answer on, as this configuration says.
    pub(crate) fn take_over(&self, config: &CompressionConfig) {
        self.min_bytes.store(if config.enabled { config.min_bytes } else { NEVER }, Relaxed);
    }

    /// What a caller accepts, where anything is compressed at all.
    pub(crate) fn accepted(&self, headers: &HeaderMap) -> Option<Coding> {
        Coding::accepted(headers).filter(|_| self.min_bytes.load(Relaxed) < NEVER)
    }

    /// Says what an answer varies by, and how it is to be compressed. Its tag names other bytes then, and so is weak.
    pub(crate) fn negotiate(&self, accepted: Option<Coding>, response: &mut Response<Body>) -> Option<Coding> {
        if !self.is_worth_it(response) {
            return None;
        }
        let headers = response.headers_mut();
        headers.append(header::VARY, VARY);
        let coding = accepted.filter(|_| !is_to_stay(headers))?;
        if let Some(tag) = headers.get_mut(header::ETAG) {
            *tag = etag::weak(tag);
        }
        Some(coding)
    }

    /// Whether it is a text in hand that is long enough, and not compressed yet.
    fn is_worth_it(&self, response: &Response<Body>) -> bool {
        let is_long = || Some(response.body().size_hint().exact()? >= self.min_bytes.load(Relaxed));
        let headers = response.headers();
        is_long() == Some(true)
            && response.status() != StatusCode::PARTIAL_CONTENT
            && !headers.contains_key(header::CONTENT_ENCODING)
            && headers.get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok()).is_some_and(is_text)
    }

    /// The answer to a call that ended in the gateway. Such are short, and their memory is nobody's.
    pub(crate) fn refusal(&self, accepted: Option<Coding>, mut response: Response<Body>) -> Response<Body> {
        let Some(coding) = self.negotiate(accepted, &mut response) else { return response };
        let (parts, body) = response.into_parts();
        if body.size_hint().exact().is_none_or(|bytes| bytes > MAX_ON_WORKER as u64) {
            return Response::from_parts(parts, body);
        }
        // It is in hand: nothing is waited for, and nothing can fail.
        let plain = body.collect().now_or_never().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
        let plain = plain.unwrap_or_default();
        let compressed = coding.compress(&plain);
        respond(Response::from_parts(parts, ()), coding, plain, compressed, None)
    }
}

/// An answer, compressed. Its bytes are held while there are two of them; where there is no memory for both, it stays as it is.
pub(crate) async fn compressed(
    response: Response<Body>,
    coding: Coding,
    memory: &CallMemory,
) -> Result<Response<Body>, Fault> {
    let (parts, body) = response.into_parts();
    let bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    let Ok(mut held) = memory.response(2 * bytes) else { return Ok(Response::from_parts(parts, body)) };
    let plain = body.collect().await.map_err(|_| Fault::defect())?.to_bytes();
    let compressed = if bytes <= MAX_ON_WORKER {
        coding.compress(&plain)
    } else {
        let (text, meanwhile) = (plain.clone(), held);
        let compress = move || (coding.compress(&text), meanwhile);
        let (compressed, meanwhile) = beside_workers::run(compress).await?;
        held = meanwhile;
        compressed
    };
    Ok(respond(Response::from_parts(parts, ()), coding, plain, compressed, Some(held)))
}

/// The shorter of both.
fn respond(
    mut head: Response<()>,
    coding: Coding,
    plain: Bytes,
    compressed: io::Result<Vec<u8>>,
    mut memory: Option<Held>,
) -> Response<Body> {
    let shorter = compressed.ok().filter(|compressed| compressed.len() < plain.len());
    if shorter.is_some() {
        head.headers_mut().insert(header::CONTENT_ENCODING, coding.name());
    }
    let body = shorter.map_or(plain, |mut compressed| {
        compressed.shrink_to_fit();
        compressed.into()
    });
    // Less than before, which always works.
    let _less = memory.as_mut().map(|held| held.set(body.len() as u64));
    head.map(|()| Whole::bytes(body, memory))
}

/// Whether the upstream wants its bytes left as they are (RFC 9111, 5.2.2.6).
fn is_to_stay(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|said| said.trim().eq_ignore_ascii_case("no-transform"))
}

/// Whether a type is that of a text, or of messages of Connect; others are compressed already, or are frames of a stream.
fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim_end();
    let Some((main, subtype)) = essence.split_once('/') else { return false };
    if main.eq_ignore_ascii_case("text") {
        return !subtype.eq_ignore_ascii_case("event-stream");
    }
    let is_one_of = |names: &[&str]| names.iter().any(|name| subtype.eq_ignore_ascii_case(name));
    let is_application = main.eq_ignore_ascii_case("application")
        && (is_one_of(&["json", "proto", "xml", "javascript", "problem+json"])
            || (subtype.ends_with("+json") || subtype.ends_with("+xml")) && !subtype.starts_with("connect+"));
    is_application || main.eq_ignore_ascii_case("image") && is_one_of(&["svg+xml"])
}

#[cfg(test)]
mod tests;
