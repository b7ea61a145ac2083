//! The guard of an inner service: who calls, and may they?

use std::sync::Arc;

use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_token::{Flaw, Refusal, Verified};
use tonic::metadata::MetadataMap;

use crate::{client::MeshClient, decide::Question};

impl MeshClient {
    /// Admits a call of one of this binary's own methods: exactly one bearer token, verified, with the permission that
    /// the method's contract asks for (empty where being authenticated is enough).
    pub async fn admit(
        &self,
        metadata: &MetadataMap,
        method: &str,
        permission: &str,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<Arc<Verified>, Refusal> {
        let token = bearer(metadata)?;
        let verified = self.verify(token)?;
        // Nothing is called further inward, so no passport is wanted: no audience.
        let question = Question { method, permission, audience: "", address: None };
        self.decide(token, &verified, &question, deadline, id).await?;
        Ok(verified)
    }
}

/// The one bearer token of a call (RFC 6750). Two `authorization` values could be read differently by different hops, so
/// they are refused rather than chosen from.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, Refusal> {
    let mut values = metadata.get_all("authorization").iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Invalid(Flaw::Scheme));
    }
    let value = value.to_str().map_err(|_| Refusal::Invalid(Flaw::Scheme))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(token),
        _ => Err(Refusal::Invalid(Flaw::Scheme)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<String, Refusal> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append("authorization", value.parse().unwrap());
        }
        bearer(&metadata).map(ToOwned::to_owned)
    }

    #[test]
    fn exactly_one_bearer_token_is_a_credential() {
        assert_eq!(read(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&["bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&[]), Err(Refusal::Missing));
        for wrong in [&["Bearer a", "Bearer b"][..], &["Basic abc"], &["Bearer"], &["Bearer "], &["abc"]] {
            assert_eq!(read(wrong), Err(Refusal::Invalid(Flaw::Scheme)), "{wrong:?}");
        }
    }
}
