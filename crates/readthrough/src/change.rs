//! What is done to keys of a namespace, as those are told who watch it, and as replicas tell each other.

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value was put under a key, of this version.
    Put {
        /// The key.
        key: Box<str>,
        /// Its version, and that of its origin, if it has one.
        version: (u64, Option<u64>),
    },
    /// A key was deleted.
    Deleted {
        /// The key.
        key: Box<str>,
        /// The version that its origin had given to what it held, where that is known.
        version: Option<u64>,
    },
    /// What a key held was forgotten: nobody knows what its origin has.
    Forgotten(Box<str>),
    /// What was put under these tags was invalidated.
    TagsInvalidated(Box<[String]>),
    /// All keys that begin so were invalidated.
    PrefixInvalidated(Box<str>),
}

impl Change {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put { key: text, .. }
            | Self::Deleted { key: text, .. }
            | Self::Forgotten(text)
            | Self::PrefixInvalidated(text) => text.len(),
            Self::TagsInvalidated(tags) => tags.iter().map(|tag| tag.len() + size_of::<String>()).sum(),
        }
    }

    /// Whether it may concern a key that begins so.
    pub(crate) fn may_concern(&self, prefix: &str) -> bool {
        match self {
            Self::Put { key, .. } | Self::Deleted { key, .. } | Self::Forgotten(key) => key.starts_with(prefix),
            Self::TagsInvalidated(_) => true,
            Self::PrefixInvalidated(other) => other.starts_with(prefix) || prefix.starts_with(&**other),
        }
    }
}

/// What was done to keys of a namespace, as replicas tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceChange {
    /// The name of the namespace.
    pub namespace: Box<str>,
    /// Whose keys, and what was done. Nothing: what it holds of anybody may be older than its origin.
    pub done: Option<(Box<str>, Change)>,
}

impl NamespaceChange {
    /// What was done to keys of a tenant.
    pub fn new(namespace: &str, tenant: &str, change: Change) -> Self {
        Self { namespace: namespace.into(), done: Some((tenant.into(), change)) }
    }

    /// All keys of all tenants are to be loaded anew.
    pub fn everything(namespace: &str) -> Self {
        Self { namespace: namespace.into(), done: None }
    }
}
