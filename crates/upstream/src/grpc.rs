//! gRPC on HTTP/2 as bytes: five bytes before each message, a status after the last.
//!
//! Nothing here knows what a message means. Where nobody has to look at a body, nothing here touches it either.

use std::error::Error;
use std::io::Read;

use accord_runtime::fair_share::{Held, Shed};
use bytes::{Buf, Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use crate::transport_error::TransportError;

pub use crate::status::{code, has_status, status, strip_unreadable};

/// One byte that says whether the message is compressed, and four that say how long it is.
pub const PREFIX: usize = 5;

/// The content type of gRPC.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// How messages may be compressed. Known to every reader here, so that a method does not lose callers by being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, by gRPC's name for it.
    Deflate,
}

impl Encoding {
    /// As `grpc-accept-encoding` names them.
    pub const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,deflate");

    /// By the value of `grpc-encoding`; none where messages are as they are.
    pub fn of(value: Option<&HeaderValue>) -> Result<Option<Self>, BodyError> {
        match value.map_or(&b"identity"[..], HeaderValue::as_bytes) {
            b"identity" => Ok(None),
            b"gzip" => Ok(Some(Self::Gzip)),
            b"deflate" => Ok(Some(Self::Deflate)),
            other => Err(BodyError::Encoding(String::from_utf8_lossy(other).into_owned())),
        }
    }
}

/// Why a body is not the message it should be.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the method allows.
    #[error("the message is larger than the {limit} bytes its method allows")]
    TooLarge {
        /// The method's bound.
        limit: u64,
    },
    /// The frames don't add up.
    #[error("the body is not one gRPC message: {0}")]
    Malformed(&'static str),
    /// It is marked as compressed, and nothing says how: INTERNAL, by gRPC's `compression.md`.
    #[error("the message is marked as compressed, and no `grpc-encoding` says how")]
    Unsaid,
    /// A compression that was not offered.
    #[error("the message is compressed with `{0}`; `identity`, `gzip` and `deflate` are accepted")]
    Encoding(String),
    /// Whoever it is for has its share of the memory.
    #[error("it would take more memory than its caller may hold")]
    Shed(Shed),
    /// The peer went away in the middle.
    #[error("the body ended early")]
    Broken(Option<TransportError>),
}

/// Reads a whole body of at most `limit` bytes. The memory for it is held before it is taken. One chunk is handed on without a
/// copy.
pub async fn collect<B>(
    mut body: B,
    limit: u64,
    mut held: Option<&mut Held>,
) -> Result<(Bytes, Option<HeaderMap>), BodyError>
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    // A length that was announced need not be waited for.
    let announced = body.size_hint().lower();
    if announced > limit {
        return Err(BodyError::TooLarge { limit });
    }
    let mut chunks = Chunks { announced, limit, ..Chunks::default() };
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| broken(&error))?.into_data() {
            Ok(data) => chunks.push(data, held.as_deref_mut())?,
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok((chunks.joined(), trailers))
}

/// The bytes of a body so far: the first chunk, or a buffer with all of them.
#[derive(Default)]
struct Chunks {
    first: Bytes,
    buffer: BytesMut,
    announced: u64,
    limit: u64,
}

impl Chunks {
    fn push(&mut self, data: Bytes, held: Option<&mut Held>) -> Result<(), BodyError> {
        let read = self.first.len() + self.buffer.len() + data.len();
        if read as u64 > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        let is_first = self.first.is_empty() && self.buffer.is_empty();
        let capacity = if is_first { read } else { self.capacity(read) };
        held.map_or(Ok(()), |held| held.set(capacity as u64)).map_err(BodyError::Shed)?;
        if is_first {
            self.first = data;
            return Ok(());
        }
        if capacity > self.buffer.capacity() {
            let mut larger = BytesMut::with_capacity(capacity);
            larger.extend_from_slice(&std::mem::take(&mut self.first));
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
        self.buffer.extend_from_slice(&data);
        Ok(())
    }

    /// What the buffer takes that `read` bytes fit into: as much as will come, or else twice as much as before. All of it counts
    /// from the beginning, since the allocator may give out memory that something else has filled.
    fn capacity(&self, read: usize) -> usize {
        let (announced, limit) = (whole_usize(self.announced), whole_usize(self.limit));
        let has = self.buffer.capacity();
        if read <= has { has } else { read.max(announced).max(has.saturating_mul(2)).min(limit) }
    }

    fn joined(self) -> Bytes {
        if self.buffer.is_empty() { self.first } else { self.buffer.freeze() }
    }
}

fn whole_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn broken(error: &(dyn Error + 'static)) -> BodyError {
    BodyError::Broken(error.downcast_ref().copied())
}

/// Reads the one message of a unary body.
pub async fn read_unary<B>(
    body: B,
    encoding: Option<&HeaderValue>,
    limit: u64,
    mut held: Option<&mut Held>,
) -> Result<(Option<Bytes>, Option<HeaderMap>), BodyError>
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let (bytes, trailers) = read_message(body, limit, held.as_deref_mut()).await?;
    Ok((unframe(bytes, encoding, limit, held)?, trailers))
}

/// Reads a unary answer. Where it ends with an error, that is all of it: of what came of a message before, nothing is left.
pub(crate) async fn read_answer<B>(
    body: B,
    headers: &HeaderMap,
    limit: u64,
    mut held: Option<&mut Held>,
) -> Result<(Option<Bytes>, Option<HeaderMap>), BodyError>
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let (bytes, trailers) = read_message(body, limit, held.as_deref_mut()).await?;
    if code(trailers.as_ref().unwrap_or(headers)).is_some_and(|code| code != tonic::Code::Ok) {
        return Ok((None, trailers));
    }
    Ok((unframe(bytes, headers.get("grpc-encoding"), limit, held)?, trailers))
}

/// Reads a body with a message of at most `limit` bytes.
async fn read_message<B>(body: B, limit: u64, held: Option<&mut Held>) -> Result<(Bytes, Option<HeaderMap>), BodyError>
where
    B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
{
    collect(body, limit.saturating_add(PREFIX as u64), held).await.map_err(|error| match error {
        BodyError::TooLarge { .. } => BodyError::TooLarge { limit },
        other => other,
    })
}

/// The one message of a body that was read whole; none where it is empty.
fn unframe(
    bytes: Bytes,
    encoding: Option<&HeaderValue>,
    limit: u64,
    held: Option<&mut Held>,
) -> Result<Option<Bytes>, BodyError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let read = bytes.len();
    let message = Deframer::new(limit).only(bytes, encoding)?;
    // One that was not compressed is a part of what was read, and keeps all of it.
    if let Some(held) = held.filter(|_| message.len() + PREFIX != read) {
        held.set(message.len() as u64).map_err(BodyError::Shed)?;
    }
    Ok(Some(message))
}

/// Cuts a stream of bytes into messages.
pub struct Deframer {
    buffer: BytesMut,
    limit: u64,
}

impl Deframer {
    /// For messages of at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Takes the next chunk of the body.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole message, if it has arrived.
    pub fn next(&mut self, encoding: Option<&HeaderValue>) -> Result<Option<Bytes>, BodyError> {
        let Some((compressed, length)) = prefix(&self.buffer)? else { return Ok(None) };
        if length as u64 > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        decompress(message, compressed, encoding, self.limit).map(Some)
    }

    /// How many bytes wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn only(&mut self, mut bytes: Bytes, encoding: Option<&HeaderValue>) -> Result<Bytes, BodyError> {
        let Some((compressed, length)) = prefix(&bytes)? else {
            return Err(BodyError::Malformed("its prefix is cut off"));
        };
        if bytes.len() != PREFIX + length {
            return Err(BodyError::Malformed("its length is not the one its prefix says"));
        }
        bytes.advance(PREFIX);
        decompress(bytes, compressed, encoding, self.limit)
    }
}

fn prefix(bytes: &[u8]) -> Result<Option<(bool, usize)>, BodyError> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let compressed = match flag {
        0 => false,
        1 => true,
        _ => return Err(BodyError::Malformed("its compression flag is neither 0 nor 1")),
    };
    Ok(Some((compressed, u32::from_be_bytes([a, b, c, d]) as usize)))
}

fn decompress(
    message: Bytes,
    compressed: bool,
    encoding: Option<&HeaderValue>,
    limit: u64,
) -> Result<Bytes, BodyError> {
    if !compressed {
        return Ok(message);
    }
    let Some(encoding) = Encoding::of(encoding)? else {
        return Err(BodyError::Unsaid);
    };
    let mut plain = Vec::new();
    // One byte more than the limit tells a message at the limit from one above it.
    let most = limit.saturating_add(1);
    let read = match encoding {
        Encoding::Gzip => MultiGzDecoder::new(&*message).take(most).read_to_end(&mut plain),
        Encoding::Deflate => ZlibDecoder::new(&*message).take(most).read_to_end(&mut plain),
    };
    read.map_err(|_| BodyError::Malformed("it is not compressed as its `grpc-encoding` says"))?;
    if plain.len() as u64 > limit { Err(BodyError::TooLarge { limit }) } else { Ok(plain.into()) }
}

/// A message with its prefix, uncompressed.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.extend_from_slice(&[0]);
    // A message is bounded far below 4 GiB before it gets here.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    framed.freeze()
}

/// What an HTTP status means where no `grpc-status` came (gRPC's http-grpc-status-mapping).
pub(crate) fn from_http(status: http::StatusCode) -> tonic::Code {
    match status.as_u16() {
        400 | 431 => tonic::Code::Internal,
        401 => tonic::Code::Unauthenticated,
        403 => tonic::Code::PermissionDenied,
        404 => tonic::Code::Unimplemented,
        429 | 502 | 503 | 504 => tonic::Code::Unavailable,
        _ => tonic::Code::Unknown,
    }
}

#[cfg(test)]
mod tests;
