//! The plans that are known, by their digests: each is sent and compiled once.

use std::sync::Arc;

use accord_api::accord::cache::v1 as api;
use aws_lc_rs::digest::{SHA256, digest};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prost::Message;
use tonic::Status;

use crate::malformed::malformed;
use crate::plan::{Digest, Plan};

/// Largest encoding of a plan in bytes, of which there may be as many as the store holds.
const LARGEST: usize = 64 * 1024;

/// A bounded store of compiled plans. One that was forgotten is asked for again.
#[derive(Debug)]
pub(crate) struct Plans(Cache<Digest, Arc<Plan>>);

impl Plans {
    /// Remembers this many: those that were used last.
    pub(crate) fn new(most: u64) -> Self {
        // Least recently used: by frequency, a new contract's plan might never get in.
        Self(Cache::builder().max_capacity(most).eviction_policy(EvictionPolicy::lru()).build())
    }

    /// The plan of a digest, which is compiled where it is sent along and was not known. None: nobody has sent it.
    pub(crate) fn find(&self, name: &[u8], encoded: &[u8]) -> Result<Option<Arc<Plan>>, Status> {
        let name = Digest::try_from(name).map_err(|_| malformed("`plan_digest` is no SHA-256 digest"))?;
        if encoded.is_empty() {
            return Ok(self.0.get(&name));
        }
        if encoded.len() > LARGEST {
            return Err(malformed(format!("`plan` is larger than {LARGEST} bytes")));
        }
        if digest(&SHA256, encoded).as_ref() != name {
            return Err(malformed("`plan_digest` is not the digest of `plan`"));
        }
        // One plan for all who bring it at the same time: what is left for retries is counted in it.
        let plan = self.0.try_get_with(name, || compile(name, encoded));
        plan.map(Some).map_err(|status| Status::clone(&status))
    }
}

fn compile(name: Digest, encoded: &[u8]) -> Result<Arc<Plan>, Status> {
    let declared = api::Plan::decode(encoded).map_err(|_| malformed("`plan` is no encoded Plan"))?;
    Plan::compile(name, declared).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use accord_api::accord::policy::v1;

    use super::*;

    fn encoded(method: &str) -> (Vec<u8>, Vec<u8>) {
        let plan = api::Plan {
            method: method.to_owned(),
            upstream: "shop".to_owned(),
            cache: Some(v1::Cache::default()),
            max_response_bytes: 1,
            load_timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..api::Plan::default()
        };
        let plan = plan.encode_to_vec();
        (digest(&SHA256, &plan).as_ref().to_vec(), plan)
    }

    #[test]
    fn plan_is_compiled_once_and_found_by_its_digest() {
        let plans = Plans::new(10);
        let (name, plan) = encoded("shop.v1.Shop/Get");
        assert!(plans.find(&name, b"").unwrap().is_none());
        let first = plans.find(&name, &plan).unwrap().unwrap();
        for again in [&plan[..], b""] {
            assert!(Arc::ptr_eq(&first, &plans.find(&name, again).unwrap().unwrap()));
        }
    }

    #[test]
    fn plan_under_another_digest_is_refused_even_where_the_digest_is_known() {
        let plans = Plans::new(10);
        let ((name, plan), (_, other)) = (encoded("shop.v1.Shop/Get"), encoded("shop.v1.Shop/List"));
        plans.find(&name, &plan).unwrap();
        let refused = plans.find(&name, &other).unwrap_err();
        assert!(refused.message().contains("is not the digest"), "{}", refused.message());
        assert!(plans.find(&name[1..], b"").is_err());
    }

    #[test]
    fn malformed_or_oversized_plan_is_refused_and_not_stored() {
        let plans = Plans::new(10);
        for bytes in [vec![0xff], vec![0; LARGEST + 1]] {
            let name = digest(&SHA256, &bytes);
            assert!(plans.find(name.as_ref(), &bytes).is_err());
            assert!(plans.find(name.as_ref(), b"").unwrap().is_none());
        }
    }

    #[test]
    fn least_recently_used_plan_is_forgotten() {
        let plans = Plans::new(2);
        let known: Vec<_> = ["a.A/A", "a.A/B", "a.A/C"].map(encoded).into();
        for (name, plan) in &known {
            plans.find(name, plan).unwrap();
            plans.0.run_pending_tasks();
        }
        let is_known: Vec<_> = known.iter().map(|(name, _)| plans.find(name, b"").unwrap().is_some()).collect();
        assert_eq!(is_known, [false, true, true]);
    }
}
