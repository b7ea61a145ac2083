//! Cache keys, which tell one entry from another, and tags, under which entries are invalidated.

use accord_wire::{hash, hash_parts};
use aws_lc_rs::digest;

/// Everything that an answer depends on. No answer crosses tenants, nor, unless shared, principals.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The method, `pkg.Service/Method`.
    pub method: &'a str,
    /// The upstream's name.
    pub origin: &'a str,
    /// The tenant; empty where there is but one.
    pub tenant: &'a str,
    /// Whose answer it is.
    pub audience: Audience<'a>,
    /// What tells this read from others of the method.
    pub bytes: &'a [u8],
}

/// Who shares an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    /// All principals of the tenant.
    Shared,
    /// Callers without a passport, among themselves.
    Anonymous,
    /// One principal.
    Principal(&'a str),
}

/// The place of an answer: a SHA-256 digest of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// The place of the answers of this identity.
    ///
    /// A key decides who sees an answer, so its digest resists collisions that somebody looks for.
    pub fn of(identity: &Identity<'_>) -> Self {
        let (kind, principal) = match identity.audience {
            Audience::Shared => ("shared", ""),
            Audience::Anonymous => ("anonymous", ""),
            Audience::Principal(name) => ("principal", name),
        };
        let parts = [identity.method, identity.origin, identity.tenant, kind, principal];
        let mut text = Text::default();
        for part in parts {
            // With its length before it, no part can reach into the next one.
            text.push(&(part.len() as u64).to_be_bytes());
            text.push(part.as_bytes());
        }
        text.push(identity.bytes);
        Self(text.digest())
    }

    /// The digest, for a place of the answer outside this process.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// A part of it that tells keys apart where a mistake costs a load and never truth.
    pub fn to_bits(&self) -> u64 {
        self.0[8..16].iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }

    /// Spreads keys over `shards`.
    pub(crate) fn shard(&self, shards: usize) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]])) % shards
    }
}

/// What is digested: gathered first, since a digest has its price at each piece. What is longer than usual is digested as it comes.
struct Text {
    gathered: [u8; USUAL],
    length: usize,
    context: Option<digest::Context>,
}

/// Bytes of an identity as they usually are.
const USUAL: usize = 256;

impl Default for Text {
    fn default() -> Self {
        Self { gathered: [0; USUAL], length: 0, context: None }
    }
}

impl Text {
    fn push(&mut self, piece: &[u8]) {
        match &mut self.context {
            Some(context) => context.update(piece),
            None if self.length + piece.len() <= USUAL => {
                self.gathered[self.length..self.length + piece.len()].copy_from_slice(piece);
                self.length += piece.len();
            }
            none => {
                let mut context = digest::Context::new(&digest::SHA256);
                context.update(&self.gathered[..self.length]);
                context.update(piece);
                *none = Some(context);
            }
        }
    }

    fn digest(self) -> [u8; 32] {
        let digest = match self.context {
            Some(context) => context.finish(),
            None => digest::digest(&digest::SHA256, &self.gathered[..self.length]),
        };
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        bytes
    }
}

/// The name of a group of entries. Two names that meet in one hash are invalidated together, which costs a load and
/// never truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub(crate) u64);

impl Tag {
    /// The tag of this name.
    pub fn named(name: &str) -> Self {
        Self(hash(name.as_bytes())).base()
    }

    /// The tag of a name within a scope.
    pub(crate) fn scoped(parts: [&str; 4]) -> Self {
        Self(hash_parts(parts.iter().map(|part| part.as_bytes()))).base()
    }

    /// As an invalidation names it after which what has the tag may be served while the origin fails.
    #[must_use]
    pub const fn expiring(self) -> Self {
        Self(self.0 | EXPIRING)
    }

    pub(crate) const fn is_expiring(self) -> bool {
        self.0 & EXPIRING != 0
    }

    /// The tag itself, as entries have it.
    #[must_use]
    pub const fn base(self) -> Self {
        Self(self.0 & !EXPIRING)
    }

    /// The tag of what is loaded for a key of a namespace from a row of others; of the key of all tenants, where none is named.
    pub fn row(namespace: &str, tenant: Option<&str>, key: &str) -> Self {
        let kind = if tenant.is_some() { "row of a tenant" } else { "row" };
        Self::scoped([kind, namespace, tenant.unwrap_or_default(), key])
    }

    /// The tag of all that is loaded for the keys of a namespace from rows of others.
    pub fn rows(namespace: &str) -> Self {
        Self::scoped(["rows", namespace, "", ""])
    }

    /// As it travels.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// As it travelled.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The bit by which invalidations that expire a tag differ from those that delete it. No name has it.
const EXPIRING: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity<'static> = Identity {
        method: "shop.Products/Get",
        origin: "shop",
        tenant: "north",
        audience: Audience::Principal("ada"),
        bytes: b"42",
    };

    #[test]
    fn key_differs_for_every_part_of_identity() {
        let others = [
            Identity { method: "shop.Products/List", ..IDENTITY },
            Identity { origin: "shop-two", ..IDENTITY },
            Identity { tenant: "south", ..IDENTITY },
            Identity { audience: Audience::Principal("bob"), ..IDENTITY },
            Identity { audience: Audience::Shared, ..IDENTITY },
            Identity { audience: Audience::Anonymous, ..IDENTITY },
            Identity { bytes: b"43", ..IDENTITY },
        ];
        assert_eq!(Key::of(&IDENTITY), Key::of(&IDENTITY));
        for other in others {
            assert_ne!(Key::of(&IDENTITY), Key::of(&other), "{other:?}");
        }
    }

    #[test]
    fn key_is_the_digest_of_its_parts_however_long_they_are() {
        for length in [0, 1, USUAL / 2, USUAL - 1, USUAL, USUAL + 1, 4 * USUAL] {
            let bytes = vec![7; length];
            let mut whole = Vec::new();
            for part in ["shop.Products/Get", "shop", "north", "principal", "ada"] {
                whole.extend((part.len() as u64).to_be_bytes());
                whole.extend(part.as_bytes());
            }
            whole.extend(&bytes);
            let digest = digest::digest(&digest::SHA256, &whole);
            assert_eq!(Key::of(&Identity { bytes: &bytes, ..IDENTITY }).0, digest.as_ref(), "{length}");
        }
    }

    #[test]
    fn key_differs_when_part_boundary_moves() {
        let joined = Identity { tenant: "northada", audience: Audience::Principal(""), ..IDENTITY };
        assert_ne!(Key::of(&IDENTITY), Key::of(&joined));
    }

    #[test]
    fn tag_is_the_same_in_every_build() {
        let same = "tags travel between processes of different builds";
        assert_eq!(Tag::named("a").to_bits(), hash(b"a") & !EXPIRING, "{same}");
        assert_eq!(Tag::from_bits(Tag::named("product/42").to_bits()), Tag::named("product/42"));
    }

    #[test]
    fn principal_named_like_audience_has_its_own_key() {
        let posing = Identity { audience: Audience::Principal("shared"), ..IDENTITY };
        let shared = Identity { audience: Audience::Shared, ..IDENTITY };
        assert_ne!(Key::of(&posing), Key::of(&shared));
    }
}
