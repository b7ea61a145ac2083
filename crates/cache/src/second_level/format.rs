//! A value as it is written: encoded, compressed above a size, then encrypted and authenticated for its key (AES-256-GCM-SIV,
//! RFC 8452).
//!
//! Nobody without the secret reads a value, changes one, makes one, or answers for one key with that of another. What can't be
//! opened is as good as absent: the secret may have changed, or the build that wrote it.

use std::sync::Arc;
use std::time::Duration;

use accord_readthrough::{Failure, Key, Load, Position, SharedValue, Tag};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use bytes::Bytes;
use prost::{Message, Oneof};

/// The first byte of a value, which says how the rest is laid out.
const LAYOUT: u8 = 1;
/// Bytes of the name of a key.
const KEY_ID: usize = 4;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Bytes of what says how long a value is uncompressed.
const LENGTH: usize = 4;
/// What a value has beside its own bytes.
pub(super) const SEALED_WITH: usize = 1 + KEY_ID + NONCE + LENGTH + TAG;

/// The fastest level: values are written often, and read at most as often.
const LEVEL: i32 = 1;

/// A value before it is encrypted.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    /// The invalidation log, and where its process stood in it when the load started.
    #[prost(bytes = "bytes", tag = "1")]
    log: Bytes,
    #[prost(fixed64, tag = "2")]
    number: u64,
    #[prost(fixed64, tag = "3")]
    mark: u64,
    /// The start of the load by the server's clock, in microseconds, or an earlier moment.
    #[prost(uint64, tag = "4")]
    started: u64,
    #[prost(uint64, tag = "5")]
    life: u64,
    #[prost(double, tag = "6")]
    share: f64,
    #[prost(uint64, tag = "7")]
    took: u64,
    #[prost(fixed64, repeated, tag = "8")]
    tags: Vec<u64>,
    #[prost(bytes = "bytes", tag = "9")]
    metadata: Bytes,
    #[prost(uint64, optional, tag = "10")]
    version: Option<u64>,
    #[prost(oneof = "StoredLoad", tags = "11, 12")]
    load: Option<StoredLoad>,
}

#[derive(Clone, PartialEq, Oneof)]
enum StoredLoad {
    #[prost(bytes = "bytes", tag = "11")]
    Message(Bytes),
    #[prost(message, tag = "12")]
    Failure(StoredFailure),
}

#[derive(Clone, PartialEq, Message)]
struct StoredFailure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bytes = "bytes", tag = "3")]
    details: Bytes,
}

/// A value by the server's clock, whose age depends on when it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timed {
    /// The value, but for its age.
    pub value: SharedValue,
    /// The start of its load by the server's clock since 1970, or an earlier moment.
    pub started: Duration,
}

/// How large values may be, and when they are compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Bytes of a value before it is compressed.
    pub max_value_bytes: usize,
    /// From which on it is.
    pub compress_from_bytes: usize,
}

/// Why a value is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    TooLarge,
    Failed,
}

/// What values are encrypted and authenticated with, made of a secret that all replicas have.
#[derive(Debug)]
pub(super) struct ValueKey {
    id: [u8; KEY_ID],
    aead: RandomizedNonceKey,
}

impl ValueKey {
    pub(super) fn of(secret: &[u8]) -> Result<Self, Unspecified> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &[u8]| hmac::sign(&root, purpose);
        let aead = RandomizedNonceKey::new(&AES_256_GCM_SIV, derive(b"accord-cache/second-level").as_ref())?;
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&derive(b"accord-cache/second-level/name").as_ref()[..KEY_ID]);
        Ok(Self { id, aead })
    }

    /// A value as it is written for a key.
    pub(super) fn seal(&self, key: &Key, timed: Timed, sizes: Sizes) -> Result<Vec<u8>, Unwritten> {
        let mut text = packed(&Stored::of(timed), sizes)?;
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(self.bound_to(key)), &mut text);
        let nonce = nonce.map_err(|_| Unwritten::Failed)?;
        Ok([&[LAYOUT], &self.id[..], nonce.as_ref(), &text].concat())
    }

    /// What was written for a key; nothing where that can't be told.
    pub(super) fn open(&self, key: &Key, sealed: &[u8], sizes: Sizes) -> Option<Timed> {
        let named = sealed.strip_prefix(&[LAYOUT])?.strip_prefix(&self.id)?;
        let (nonce, text) = named.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let text = self.aead.open_in_place(nonce, Aad::from(self.bound_to(key)), &mut text).ok()?;
        Stored::decode(unpacked(text, sizes)?).ok()?.timed()
    }

    /// What a value is authenticated with, beside itself.
    fn bound_to(&self, key: &Key) -> Vec<u8> {
        [&[LAYOUT], &self.id[..], key.digest()].concat()
    }
}

/// Encoded, and compressed where that makes it smaller. Its length before that comes first; 0 says that it is not compressed.
fn packed(stored: &Stored, sizes: Sizes) -> Result<Vec<u8>, Unwritten> {
    let length = stored.encoded_len();
    let short = u32::try_from(length).ok().filter(|_| length <= sizes.max_value_bytes).ok_or(Unwritten::TooLarge)?;
    let mut plain = Vec::with_capacity(LENGTH + length + TAG);
    plain.extend_from_slice(&[0; LENGTH]);
    stored.encode(&mut plain).map_err(|_| Unwritten::Failed)?;
    if length < sizes.compress_from_bytes {
        return Ok(plain);
    }
    let compressed = zstd::bulk::compress(&plain[LENGTH..], LEVEL).map_err(|_| Unwritten::Failed)?;
    let is_smaller = compressed.len() < length;
    Ok(if is_smaller { [&short.to_be_bytes(), &compressed[..]].concat() } else { plain })
}

fn unpacked(text: &[u8], sizes: Sizes) -> Option<Bytes> {
    let (length, rest) = text.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    // Who has the secret has other bounds, perhaps.
    let is_small = length.max(rest.len()) <= sizes.max_value_bytes;
    match length {
        _ if !is_small => None,
        0 => Some(Bytes::copy_from_slice(rest)),
        _ => zstd::bulk::decompress(rest, length).ok().map(Bytes::from),
    }
}

impl Stored {
    fn of(Timed { value, started }: Timed) -> Self {
        let SharedValue { since, life, share, took, tags, metadata, load, version, .. } = value;
        Self {
            log: Bytes::copy_from_slice(&since.log.to_be_bytes()),
            number: since.number,
            mark: since.mark,
            started: microseconds(started),
            life: microseconds(life),
            share,
            took: microseconds(took),
            tags: tags.iter().map(|tag| tag.to_bits()).collect(),
            metadata,
            version,
            load: Some(stored_load(load)),
        }
    }

    fn timed(self) -> Option<Timed> {
        let log = u128::from_be_bytes(self.log.as_ref().try_into().ok()?);
        let value = SharedValue {
            since: Position { log, number: self.number, mark: self.mark },
            age: Duration::ZERO,
            life: Duration::from_micros(self.life),
            // Of the lifetime, no more than all.
            share: Some(self.share).filter(|share| (0.0..=1.0).contains(share))?,
            took: Duration::from_micros(self.took),
            tags: self.tags.into_iter().map(Tag::from_bits).collect::<Arc<_>>(),
            metadata: self.metadata,
            load: load(self.load?),
            version: self.version,
        };
        Some(Timed { value, started: Duration::from_micros(self.started) })
    }
}

fn stored_load(load: Load) -> StoredLoad {
    match load {
        Ok(message) => StoredLoad::Message(message),
        Err(Failure { code, message, details }) => StoredLoad::Failure(StoredFailure { code, message, details }),
    }
}

fn load(stored: StoredLoad) -> Load {
    match stored {
        StoredLoad::Message(message) => Ok(message),
        StoredLoad::Failure(StoredFailure { code, message, details }) => Err(Failure { code, message, details }),
    }
}

/// Rounded down, as the start of a load is: so it is no younger.
fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use accord_readthrough::{Audience, Identity};

    use super::*;

    pub(in crate::second_level) const SIZES: Sizes = Sizes { max_value_bytes: 100_000, compress_from_bytes: 1_000 };

    pub(in crate::second_level) fn key(bytes: &[u8]) -> Key {
        Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes })
    }

    pub(in crate::second_level) fn value(load: Load) -> SharedValue {
        SharedValue {
            since: Position { log: 1 << 100, number: 7, mark: u64::MAX },
            age: Duration::ZERO,
            life: Duration::from_secs(30),
            share: 0.95,
            took: Duration::from_millis(3),
            tags: Arc::new([Tag::named("product/42"), Tag::named("products")]),
            metadata: Bytes::from_static(b"etag"),
            load,
            version: Some(9),
        }
    }

    fn timed(load: Load) -> Timed {
        Timed { value: value(load), started: Duration::from_micros(1_800_000_000_123_456) }
    }

    fn milk(length: usize) -> Bytes {
        b"milk".iter().copied().cycle().take(length).collect()
    }

    fn value_key() -> ValueKey {
        ValueKey::of(&[7; 32]).unwrap()
    }

    #[test]
    fn value_comes_back_whole_with_its_version_tags_number_and_start() {
        let absence = Err(Failure { code: 5, message: "none".to_owned(), details: Bytes::from_static(b"why") });
        for load in [Ok(milk(4)), Ok(milk(50_000)), Ok(Bytes::new()), absence] {
            let sealed = value_key().seal(&key(b"1"), timed(load.clone()), SIZES).unwrap();
            assert_eq!(value_key().open(&key(b"1"), &sealed, SIZES), Some(timed(load)));
        }
    }

    #[test]
    fn value_of_another_key_secret_or_format_and_changed_bytes_are_unreadable() {
        let sealed = value_key().seal(&key(b"1"), timed(Ok(milk(4))), SIZES).unwrap();
        assert_eq!(value_key().open(&key(b"2"), &sealed, SIZES), None, "of another key");
        assert_eq!(ValueKey::of(&[8; 32]).unwrap().open(&key(b"1"), &sealed, SIZES), None, "of another secret");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(value_key().open(&key(b"1"), &changed, SIZES), None, "byte {place}");
            assert_eq!(value_key().open(&key(b"1"), &sealed[..place], SIZES), None, "cut at {place}");
        }
    }

    #[test]
    fn value_is_compressed_from_its_size_on_and_only_where_that_makes_it_smaller() {
        let length = |message| value_key().seal(&key(b"1"), timed(Ok(message)), SIZES).unwrap().len();
        assert!(length(milk(900)) > 900);
        assert!(length(milk(50_000)) < 1_000);
        let noise: Bytes = (0..10_000).map(|_| rand_byte()).collect();
        assert!(length(noise) < 10_000 + 200);
    }

    fn rand_byte() -> u8 {
        uuid::Uuid::new_v4().as_bytes()[0]
    }

    #[test]
    fn value_larger_than_the_bound_is_neither_written_nor_read() {
        let small = Sizes { max_value_bytes: 1_000, ..SIZES };
        assert_eq!(value_key().seal(&key(b"1"), timed(Ok(milk(1_000))), small), Err(Unwritten::TooLarge));
        for message in [milk(50_000), milk(990)] {
            let sealed = value_key().seal(&key(b"1"), timed(Ok(message)), SIZES).unwrap();
            assert_eq!(value_key().open(&key(b"1"), &sealed, small), None);
        }
    }

    #[test]
    fn nothing_of_a_value_is_readable_without_the_secret() {
        let sealed = value_key().seal(&key(b"1"), timed(Ok(milk(40))), SIZES).unwrap();
        for part in [&b"milk"[..], b"etag"] {
            assert!(!sealed.windows(4).any(|bytes| bytes == part));
        }
    }
}
