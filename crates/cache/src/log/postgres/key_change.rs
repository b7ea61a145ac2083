//! What was done to keys of a namespace, as a record has it.

use accord_readthrough::{Change, NamespaceChange};
use prost::{DecodeError, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
struct StoredChange {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    tenant: String,
    /// Without one, all keys of all tenants are to be loaded anew.
    #[prost(oneof = "Done", tags = "3, 4, 5, 6, 7")]
    done: Option<Done>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Done {
    #[prost(message, tag = "3")]
    Put(VersionedKey),
    #[prost(message, tag = "4")]
    Deleted(VersionedKey),
    #[prost(string, tag = "5")]
    Forgotten(String),
    #[prost(message, tag = "6")]
    TagsInvalidated(Tags),
    #[prost(string, tag = "7")]
    PrefixInvalidated(String),
}

#[derive(Clone, PartialEq, Message)]
struct VersionedKey {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(uint64, optional, tag = "2")]
    version: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Tags {
    #[prost(string, repeated, tag = "1")]
    tags: Vec<String>,
}

pub(super) fn encode(change: &NamespaceChange) -> Vec<u8> {
    let NamespaceChange { namespace, done } = change;
    let namespace = namespace.to_string();
    let Some((tenant, change)) = done else {
        return StoredChange { namespace, ..StoredChange::default() }.encode_to_vec();
    };
    let versioned = |key: &str, version| VersionedKey { key: key.to_owned(), version };
    let done = match change {
        Change::Put { key, version: (_, version) } => Done::Put(versioned(key, *version)),
        Change::Deleted { key, version } => Done::Deleted(versioned(key, *version)),
        Change::Forgotten(key) => Done::Forgotten(key.to_string()),
        Change::TagsInvalidated(tags) => Done::TagsInvalidated(Tags { tags: tags.to_vec() }),
        Change::PrefixInvalidated(prefix) => Done::PrefixInvalidated(prefix.to_string()),
    };
    StoredChange { namespace, tenant: tenant.to_string(), done: Some(done) }.encode_to_vec()
}

pub(super) fn decode(stored: &[u8]) -> Result<NamespaceChange, DecodeError> {
    let StoredChange { namespace, tenant, done } = StoredChange::decode(stored)?;
    let change = done.map(|done| match done {
        Done::Put(VersionedKey { key, version }) => Change::Put { key: key.into(), version: (0, version) },
        Done::Deleted(VersionedKey { key, version }) => Change::Deleted { key: key.into(), version },
        Done::Forgotten(key) => Change::Forgotten(key.into()),
        Done::TagsInvalidated(Tags { tags }) => Change::TagsInvalidated(tags.into()),
        Done::PrefixInvalidated(prefix) => Change::PrefixInvalidated(prefix.into()),
    });
    Ok(NamespaceChange { namespace: namespace.into(), done: change.map(|change| (tenant.into(), change)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_is_read_as_it_was_written() {
        let done = [
            Change::Put { key: "ada".into(), version: (0, Some(7)) },
            Change::Deleted { key: "ada".into(), version: None },
            Change::Deleted { key: "ada".into(), version: Some(0) },
            Change::Forgotten("ada".into()),
            Change::TagsInvalidated(["user/ada".to_owned(), String::new()].into()),
            Change::PrefixInvalidated("".into()),
        ];
        for done in done.map(Some).into_iter().chain([None]) {
            let change = NamespaceChange { namespace: "carts".into(), done: done.map(|done| ("north".into(), done)) };
            assert_eq!(decode(&encode(&change)).unwrap(), change);
        }
        assert!(decode(b"\xff").is_err());
    }
}
