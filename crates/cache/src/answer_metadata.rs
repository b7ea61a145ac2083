//! The metadata of an answer that is stored beside its message. The engine carries it as bytes, empty where there is nothing.

use accord_api::accord::cache::v1::Header;
use accord_upstream::Answer;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use prost::Message;

/// The stored metadata of an answer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnswerMetadata {
    /// The initial metadata that the contract names.
    #[prost(message, repeated, tag = "1")]
    pub head: Vec<Header>,
    /// The trailing metadata that it names.
    #[prost(message, repeated, tag = "2")]
    pub trailers: Vec<Header>,
    /// Whether a handler of the upstream said an error. One that lacks it is of the way there, or of the cache.
    #[prost(bool, tag = "3")]
    pub is_of_handler: bool,
    /// Whether it had one block of metadata alone.
    #[prost(bool, tag = "4")]
    pub is_trailers_only: bool,
}

impl AnswerMetadata {
    /// What the contract names of an answer of the upstream.
    pub(crate) fn of(answer: &Answer, names: &[HeaderName]) -> Self {
        Self {
            head: named(&answer.head, names),
            trailers: named(&answer.trailers, names),
            is_of_handler: answer.result.is_err(),
            is_trailers_only: answer.is_trailers_only,
        }
    }

    /// As the engine carries it.
    pub(crate) fn encode(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// What the engine carried.
    pub(crate) fn decode(bytes: &Bytes) -> Self {
        // Written by this process, or by another one of this cache, so it is whole.
        <Self as Message>::decode(&**bytes).unwrap_or_default()
    }
}

fn named(metadata: &HeaderMap, names: &[HeaderName]) -> Vec<Header> {
    let header = |name: &HeaderName, value: &[u8]| Header {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value),
    };
    let values = |name| metadata.get_all(name).iter().map(move |value| header(name, value.as_bytes()));
    names.iter().flat_map(values).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Status;

    use super::*;

    #[test]
    fn named_metadata_is_stored_with_all_values_as_head_or_trailers() {
        let mut answer = Answer::new(Ok(Bytes::new()));
        for (name, value) in [("etag", "1"), ("x-part", "a"), ("x-part", "b"), ("x-secret", "s")] {
            answer.head.append(name, HeaderValue::from_static(value));
        }
        answer.trailers.append("etag", HeaderValue::from_static("2"));
        let metadata = AnswerMetadata::of(&answer, &["etag", "x-part"].map(HeaderName::from_static));
        let metadata = AnswerMetadata::decode(&metadata.encode());
        let pairs =
            |headers: &[Header]| headers.iter().map(|it| (it.name.clone(), it.value.to_vec())).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(pairs(&metadata.head), [pair("etag", "1"), pair("x-part", "a"), pair("x-part", "b")]);
        assert_eq!(pairs(&metadata.trailers), [pair("etag", "2")]);
        assert!(!metadata.is_of_handler);
    }

    #[test]
    fn answer_without_named_metadata_is_stored_without_bytes() {
        assert!(AnswerMetadata::of(&Answer::new(Ok(Bytes::new())), &[]).encode().is_empty());
        assert!(AnswerMetadata::of(&Answer::new(Err(Status::not_found(""))), &[]).is_of_handler);
    }
}
