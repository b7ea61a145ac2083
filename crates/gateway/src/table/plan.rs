//! A method's plan: what the cache needs to know of it, sent once.

use accord_api::accord::cache::v1::{
    Plan as Declared, TagTemplate,
    tag_template::{self, part},
};
use accord_contract::Method;
use accord_wire::{FieldPath, Part, Step, Template, VersionPath};
use aws_lc_rs::digest;
use bytes::Bytes;
use prost::Message;

/// A method's plan, with the digest that names it in every read.
#[derive(Clone, Debug)]
pub(crate) struct CachePlan {
    /// SHA-256 of the encoding.
    pub digest: Bytes,
    /// The encoded plan.
    pub encoded: Bytes,
}

impl CachePlan {
    /// The plan of a method that its contract declares cacheable, for a version of its upstream; none for others. The empty name
    /// is that of the upstream's own endpoints.
    pub(crate) fn of(method: &Method, version: &str) -> Option<Self> {
        let policy = &method.policy;
        let cache = policy.cache.as_ref()?;
        let declared = Declared {
            method: method.name.to_string(),
            upstream: method.upstream.to_string(),
            cache: method.effective.cache.clone(),
            retry: method.effective.retry.clone(),
            max_response_bytes: policy.max_response_bytes,
            load_timeout: policy.deadline.default.try_into().ok(),
            tags: cache.tags.iter().map(template).collect(),
            criticality: policy.criticality.into(),
            version: version.to_owned(),
            version_field: cache.version.iter().flat_map(VersionPath::fields).map(field).collect(),
        };
        let encoded = Bytes::from(declared.encode_to_vec());
        let digest = Bytes::copy_from_slice(digest::digest(&digest::SHA256, &encoded).as_ref());
        Some(Self { digest, encoded })
    }
}

fn template(template: &Template) -> TagTemplate {
    let part = |part: &Part| tag_template::Part {
        part: Some(match part {
            Part::Literal(literal) => part::Part::Literal(literal.clone()),
            Part::Request(path) => part::Part::Request(field(path)),
            Part::Answer(path) => part::Part::Answer(field(path)),
        }),
    };
    TagTemplate { parts: template.parts.iter().map(part).collect() }
}

fn field(path: &FieldPath) -> tag_template::FieldPath {
    tag_template::FieldPath {
        parents: path.parents.iter().map(step).collect(),
        leaf: Some(step(&path.leaf)),
        r#type: path.scalar.number(),
        default: path.default.clone(),
    }
}

fn step(step: &Step) -> tag_template::Step {
    let sibling = |sibling: &accord_wire::OneofSibling| tag_template::OneofSibling {
        number: sibling.number,
        wire_type: sibling.wire_type as u32,
    };
    tag_template::Step { number: step.number, oneof_siblings: step.oneof_siblings.iter().map(sibling).collect() }
}

#[cfg(test)]
mod tests {
    use accord_contract::{Contract, Source};

    use super::*;

    fn plan_of(name: &str) -> Option<CachePlan> {
        let source = Source::descriptor_set("catalog", "test", accord_api::FILE_DESCRIPTOR_SET).unwrap();
        let (contract, _) = Contract::load(&[source.only(["catalog.v1.ProductService".to_owned()])], &[]);
        CachePlan::of(contract.methods().into_iter().find(|method| &*method.name == name).unwrap(), "")
    }

    #[test]
    fn plan_holds_the_policy_and_is_named_by_its_digest() {
        let plan = plan_of("catalog.v1.ProductService/GetProduct").unwrap();
        let declared = Declared::decode(plan.encoded.clone()).unwrap();
        assert_eq!((&*declared.method, &*declared.upstream), ("catalog.v1.ProductService/GetProduct", "catalog"));
        assert_eq!(declared.cache.unwrap().tags.len(), declared.tags.len());
        assert_eq!(declared.retry.unwrap().max_attempts, 3);
        assert_eq!(declared.load_timeout.unwrap().seconds, 2);
        let again = plan_of("catalog.v1.ProductService/GetProduct").unwrap();
        assert_eq!((plan.digest.len(), plan.digest), (32, again.digest));
    }

    #[test]
    fn method_that_is_not_cached_has_no_plan() {
        assert!(plan_of("catalog.v1.ProductService/UpdateProduct").is_none());
    }
}
