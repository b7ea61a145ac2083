//! The version of an answer: a field of it, or a header or trailer.

use accord_api::accord::cache::v1 as api;
use accord_wire::{Malformed, VersionPath};
use http::{HeaderMap, HeaderName};
use tonic::Status;

use super::{names, tag_template};
use crate::malformed::{bounded, malformed};

/// Where an answer says its version.
#[derive(Debug)]
pub(super) enum AnswerVersion {
    /// In the message.
    Field(VersionPath),
    /// In its metadata.
    Header(HeaderName),
}

impl AnswerVersion {
    /// As a plan declares it; nothing where it declares neither.
    pub(super) fn compile(field: Vec<api::tag_template::FieldPath>, header: &str) -> Result<Option<Self>, Status> {
        match (field.is_empty(), header.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => compile_field(field).map(Some),
            (true, false) => {
                let name = names("plan.cache.version_header", &[header.to_owned()])?.pop();
                Ok(name.map(Self::Header))
            }
            (false, false) => Err(malformed("`plan.version_field` and `plan.cache.version_header` exclude each other")),
        }
    }

    /// Of an answer. One that says none, or not in this way, has the lowest.
    pub(super) fn read(&self, answer: &[u8], metadata: [&HeaderMap; 2]) -> Result<u64, Malformed> {
        match self {
            Self::Field(path) => path.read(answer),
            Self::Header(name) => {
                let value = metadata.iter().find_map(|metadata| metadata.get(name));
                Ok(value.and_then(|value| number(value.to_str().ok()?)).unwrap_or_default())
            }
        }
    }
}

fn compile_field(declared: Vec<api::tag_template::FieldPath>) -> Result<AnswerVersion, Status> {
    bounded("plan.version_field", declared.len(), 2)?;
    let fields = declared.into_iter().map(tag_template::field).collect::<Result<_, _>>()?;
    let path = VersionPath::of_fields(fields).map(AnswerVersion::Field);
    path.ok_or_else(|| malformed("`plan.version_field` is neither an integer nor a time"))
}

/// The number in a header, which may be an entity tag (RFC 9110, section 8.8.3).
fn number(text: &str) -> Option<u64> {
    let tag = text.strip_prefix("W/").unwrap_or(text);
    let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let digits = quoted.unwrap_or(text);
    // A sign is no digit, though it could be parsed.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_in_metadata_is_a_number_bare_or_as_an_entity_tag() {
        let version = AnswerVersion::compile(Vec::new(), "etag").unwrap().unwrap();
        for (text, number) in [
            ("7", 7),
            ("\"7\"", 7),
            ("W/\"7\"", 7),
            ("18446744073709551615", u64::MAX),
            ("18446744073709551616", 0),
            ("W/7", 0),
            ("\"7", 0),
            ("+7", 0),
            ("-7", 0),
            ("", 0),
            ("a7", 0),
        ] {
            let metadata: HeaderMap = [(HeaderName::from_static("etag"), text.parse().unwrap())].into_iter().collect();
            for metadata in [[&metadata, &HeaderMap::new()], [&HeaderMap::new(), &metadata]] {
                assert_eq!(version.read(&[], metadata).unwrap(), number, "{text}");
            }
        }
        assert_eq!(version.read(&[], [&HeaderMap::new(); 2]).unwrap(), 0);
    }

    #[test]
    fn version_by_field_and_header_or_by_no_header_is_refused() {
        let field = api::tag_template::FieldPath { parents: vec![], leaf: None, r#type: 3, default: None };
        assert!(AnswerVersion::compile(vec![field], "etag").is_err());
        assert!(AnswerVersion::compile(Vec::new(), "grpc-status").is_err());
    }
}
