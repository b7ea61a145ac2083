//! Cache keys, which tell one entry from another, and tags, under which entries are invalidated.

use std::hash::{DefaultHasher, Hash, Hasher};

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
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [identity.method, identity.origin, identity.tenant, kind, principal] {
            // With its length before it, no part can reach into the next one.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(identity.bytes);
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// Spreads keys over `shards`.
    pub(crate) fn shard(&self, shards: usize) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]])) % shards
    }
}

/// The name of a group of entries. Two names that meet in one hash are invalidated together, which costs a load and
/// never truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub(crate) u64);

impl Tag {
    /// The tag of this name.
    pub fn named(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The tag of a name within a scope.
    pub(crate) fn scoped(parts: [&str; 4]) -> Self {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self(hasher.finish())
    }
}

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
    fn key_differs_when_part_boundary_moves() {
        let joined = Identity { tenant: "northada", audience: Audience::Principal(""), ..IDENTITY };
        assert_ne!(Key::of(&IDENTITY), Key::of(&joined));
    }

    #[test]
    fn principal_named_like_audience_has_its_own_key() {
        let posing = Identity { audience: Audience::Principal("shared"), ..IDENTITY };
        let shared = Identity { audience: Audience::Shared, ..IDENTITY };
        assert_ne!(Key::of(&posing), Key::of(&shared));
    }
}
