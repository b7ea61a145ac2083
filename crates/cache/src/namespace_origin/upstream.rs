//! Methods of an upstream as the origin of a namespace: one that is asked for a key, and one for many where there is one.

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::Criticality;
use accord_mesh::{Question, passport};
use accord_readthrough::{Failure, Load, LoadTrace, Loaded};
use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count, HOUR, Time};
use accord_runtime::deadline::Deadline;
use accord_runtime::fault::{self, StatusBuilder};
use accord_runtime::rate_limited_log::RateLimitedLog;
use accord_upstream::{Call, Caller, Retries, UpstreamConfig};
use accord_wire::put_bytes;
use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use super::batch::{Batch, BatchConfig, BatchFailure};
use super::method::Method;
use super::value::{BESIDE_VALUE, MAX_FIELD, Unusable, value};
use super::{KeyCaller, KeyOrigin};
use crate::load_span::traced;
use crate::origin_failure::failure_of;
use crate::plan::method_path;
use crate::upstreams::Upstreams;

/// What stands in place of a permission where the method asks for none.
const AUTHENTICATED: &str = "authenticated";

/// The section `[namespace.origin]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OriginConfig {
    /// The name of the `[[upstream]]` that is asked. No default.
    #[serde(deserialize_with = "bound::text")]
    pub upstream: String,
    /// Its method, `pkg.Service/Method`: a unary one that changes nothing. No default.
    #[serde(deserialize_with = "bound::text")]
    pub method: String,
    /// The permission that the contract of the method asks for; the caller needs it at `upstream` for each load. `authenticated`
    /// where the contract asks for none. No default.
    #[serde(deserialize_with = "bound::text")]
    pub permission: String,
    /// The number of the field of its request that the key fills, a string or bytes: the cache reads no descriptors, so it
    /// knows no names of fields. 1 to 536870911. Default: 1.
    #[serde(with = "Count::<1, MAX_FIELD>")]
    pub key_field: u32,
    /// The number of the field of its answer that is the value: a string, bytes or a message, empty where it is not set. 0 to
    /// 536870911; 0 is the whole answer, as it is encoded. Default: 0.
    #[serde(with = "Count::<0, MAX_FIELD>")]
    pub value_field: u32,
    /// The longest time of a load; what its caller has left may be less. 1ms to 1h. Default: `1s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub timeout: Duration,
    /// Attempts in all: another follows `UNAVAILABLE`, as the retries of a contract do. 1 to 5. Default: 1.
    #[serde(with = "Count::<1, 5>")]
    pub max_attempts: u32,
    /// The method that is asked for many keys at once. Default: none, and each key of a `BatchGet` is a call of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchConfig>,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            upstream: String::new(),
            method: String::new(),
            permission: String::new(),
            key_field: 1,
            value_field: 0,
            timeout: Duration::from_secs(1),
            max_attempts: 1,
            batch: None,
        }
    }
}

impl OriginConfig {
    /// What contradicts itself, where the cache may call these upstreams.
    pub(crate) fn contradictions(&self, upstreams: &[UpstreamConfig]) -> Vec<Invalid> {
        let mut found = Vec::new();
        if !upstreams.iter().any(|upstream| upstream.name == self.upstream) {
            let problem = format!("there is no upstream named {:?}", self.upstream);
            found.push(Invalid::new("upstream", problem, "name one that an [[upstream]] section declares, or add it"));
        }
        if method_path(&self.method).is_none() {
            let problem = format!("{:?} is not of the form pkg.Service/Method", self.method);
            found.push(Invalid::new("method", problem, "write it as in catalog.v1.ProductService/GetProduct"));
        }
        if self.permission.is_empty() {
            let remedy = "name the permission that the contract of the method asks for, or write `authenticated`";
            found.push(Invalid::new("permission", "nothing says who may load from it", remedy));
        }
        found.extend(self.batch.iter().flat_map(BatchConfig::contradictions));
        found.into_iter().map(|invalid| invalid.under("origin".to_owned())).collect()
    }
}

/// How the keys of a namespace are loaded from an upstream.
#[derive(Debug)]
pub struct UpstreamOrigin {
    upstreams: Upstreams,
    upstream: Box<str>,
    method: Method,
    batch: Option<Batch>,
    /// What its caller needs there; empty where being authenticated is enough.
    permission: Box<str>,
    /// The longest time of a load.
    timeout: Duration,
    /// How often a load may be tried.
    retries: Option<Retries>,
    /// The largest answer in bytes.
    max_response_bytes: u64,
    namespace: Box<str>,
    max_value_bytes: usize,
    key_field: u32,
    value_field: u32,
    method_missing: RateLimitedLog,
}

impl UpstreamOrigin {
    /// Of a namespace of this name whose values may have so many bytes; nothing where a method is none, which is refused before.
    pub(crate) fn new(
        config: &OriginConfig,
        upstreams: Upstreams,
        namespace: &str,
        max_value_bytes: usize,
    ) -> Option<Self> {
        let permission = if config.permission == AUTHENTICATED { "" } else { &config.permission };
        let is_whole = config.value_field == 0;
        let retries = Retries {
            max_attempts: config.max_attempts,
            on: [Code::Unavailable].into(),
            hedge_after: None,
            attempt_timeout: None,
            budget: Arc::default(),
        };
        let batch = match &config.batch {
            Some(batch) => Some(Batch::new(batch, max_value_bytes)?),
            None => None,
        };
        Some(Self {
            upstreams,
            upstream: config.upstream.as_str().into(),
            method: Method::new(&config.method)?,
            batch,
            permission: permission.into(),
            timeout: config.timeout,
            retries: (config.max_attempts > 1).then_some(retries),
            max_response_bytes: max_value_bytes as u64 + if is_whole { 0 } else { BESIDE_VALUE },
            namespace: namespace.into(),
            max_value_bytes,
            key_field: config.key_field,
            value_field: config.value_field,
            method_missing: RateLimitedLog::default(),
        })
    }

    async fn load_one(&self, key: &str, caller: &KeyCaller, time: Duration) -> Loaded {
        let mut request = Vec::with_capacity(key.len() + 16);
        put_bytes(&mut request, self.key_field, key.as_bytes());
        let (answer, trace) = self.send(&self.method, request, self.max_response_bytes, caller, time).await;
        let load: Load = answer.and_then(|answer| {
            let value = value(&answer, self.value_field, self.max_value_bytes);
            value.map_err(|unusable| failure_of(&self.unusable(&self.method, &unusable)))
        });
        Loaded { trace, ..load.into() }
    }

    async fn load_batch(&self, batch: &Batch, keys: &[&str], caller: &KeyCaller, time: Duration) -> Vec<Loaded> {
        let (answer, trace) =
            self.send(&batch.method, batch.request(keys), batch.max_response_bytes, caller, time).await;
        let failed = |failure| vec![Err(failure); keys.len()];
        let loads = match answer.map(|answer| batch.values(keys, &answer)) {
            Ok(Ok(values)) => self.each_of_batch(batch, values),
            Ok(Err(unusable)) => failed(failure_of(&self.unusable(&batch.method, &unusable))),
            Err(failure) => failed(failure),
        };
        loads.into_iter().map(|load| Loaded { trace, ..load.into() }).collect()
    }

    fn each_of_batch(&self, batch: &Batch, values: Vec<Result<Bytes, BatchFailure>>) -> Vec<Load> {
        let failure = |failed| match failed {
            BatchFailure::Unusable(unusable) => failure_of(&self.unusable(&batch.method, &unusable)),
            BatchFailure::Said(status) => failure_of(&self.refused(&batch.method, &status)),
        };
        values.into_iter().map(|value| value.map_err(failure)).collect()
    }

    /// One call under the caller's passport; the answer message, and the span of the call.
    async fn send(
        &self,
        method: &Method,
        request: Vec<u8>,
        max_response_bytes: u64,
        caller: &KeyCaller,
        time: Duration,
    ) -> (Result<Bytes, Failure>, Option<LoadTrace>) {
        let mut metadata = HeaderMap::new();
        if let Some(passport) = &caller.passport {
            passport::insert(&mut metadata, passport);
        }
        let call = Call {
            path: &method.path,
            metadata: &metadata,
            // Less than its reader has left: then it is the origin that is slow, and nobody who waits loads again.
            deadline: Deadline::after(time.min(self.timeout)),
            id: &caller.id,
            record: None,
            max_response_bytes,
            retries: self.retries.as_ref().filter(|_| !caller.is_retried_outside),
            caller: Some(Caller { holder: caller.holder, memory: None }),
            // A namespace has no contract that says more.
            criticality: Criticality::Critical,
            timed: Some(method.timed),
        };
        let request = Bytes::from(request);
        let upstream = match self.upstreams.find(&self.upstream) {
            Ok(upstream) => upstream,
            Err(status) => return (Err(failure_of(&status)), None),
        };
        let (outcome, trace) = traced(&caller.read, &method.path, upstream.unary(&call, &request)).await;
        let answer = outcome.result.map_err(|failure| failure_of(&failure.status(upstream.name())));
        let said = |status: Status| failure_of(&self.refused(method, &status));
        (answer.and_then(|answer| answer.result.map_err(said)), trace)
    }

    fn unusable(&self, method: &Method, problem: &Unusable) -> Status {
        let of = self.describe(method);
        match problem {
            Unusable::TooLarge { size, most } => {
                let problem = format!("the value that {of} gave has {size} bytes, more than the namespace's {most}");
                fault::status(Reason::ResponseTooLarge, problem)
            }
            Unusable::Malformed(problem) => {
                let remedy = "check the numbers of fields of the namespace's origin";
                fault::status(
                    Reason::UpstreamMalformed,
                    format!("the answer of {of} can't be used: {problem}; {remedy}"),
                )
            }
        }
    }

    /// An error that a handler gave, with who gave it: the caller called another method. Where there is no handler, the
    /// configuration is wrong, and nobody but its operator can do anything.
    fn refused(&self, method: &Method, status: &Status) -> Status {
        if status.code() == Code::Unimplemented {
            return self.no_such_method(method);
        }
        let message = format!("{} said: {}", self.describe(method), status.message());
        Status::with_details(status.code(), message, Bytes::copy_from_slice(status.details()))
    }

    fn no_such_method(&self, method: &Method) -> Status {
        let key = if method.name == self.method.name { "origin.method" } else { "origin.batch.method" };
        let (upstream, name, namespace) = (&self.upstream, &method.name, &self.namespace);
        let message = format!(
            "the upstream {upstream} has no method {name}; correct `namespace.{key}` of the namespace {namespace}"
        );
        self.method_missing.write(|| tracing::warn!("{message}"));
        StatusBuilder::new(Reason::MethodUnknown, message).code(Code::FailedPrecondition).build()
    }

    fn describe(&self, method: &Method) -> String {
        format!("{} of the upstream {}", method.name, self.upstream)
    }
}

#[tonic::async_trait]
impl KeyOrigin for UpstreamOrigin {
    fn most_keys(&self) -> usize {
        self.batch.as_ref().map_or(1, |batch| batch.max_keys)
    }

    fn question(&self) -> Option<Question<'_>> {
        let (method, permission, audience) = (&*self.method.name, &*self.permission, &*self.upstream);
        Some(Question { method, permission, audience, resource: "", address: None, protocol: "grpc", actor: None })
    }

    async fn load(&self, keys: &[&str], caller: &KeyCaller, time: Duration) -> Vec<Loaded> {
        match (&self.batch, keys) {
            (Some(batch), [_, _, ..]) => self.load_batch(batch, keys, caller, time).await,
            _ => join_all(keys.iter().map(|key| self.load_one(key, caller, time))).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OriginConfig {
        OriginConfig {
            upstream: "shop".to_owned(),
            method: "shop.v1.Shop/Get".to_owned(),
            permission: "shop.read".to_owned(),
            ..OriginConfig::default()
        }
    }

    fn keys(config: &OriginConfig) -> Vec<String> {
        let shop = UpstreamConfig { name: "shop".to_owned(), ..UpstreamConfig::default() };
        config.contradictions(&[shop]).into_iter().map(|invalid| invalid.key).collect()
    }

    #[test]
    fn origin_without_a_permission_is_refused_at_its_key() {
        assert_eq!(keys(&OriginConfig { permission: String::new(), ..config() }), ["origin.permission"]);
    }

    #[test]
    fn origin_of_unknown_upstream_or_malformed_method_is_refused_at_its_key() {
        assert_eq!(keys(&config()), [""; 0]);
        assert_eq!(keys(&OriginConfig { upstream: "shoes".to_owned(), ..config() }), ["origin.upstream"]);
        for method in ["", "Get", "/shop.v1.Shop/Get", "shop.v1.Shop/", "shop.v1.Shop/Get?x", "shop v1/Get"] {
            assert_eq!(keys(&OriginConfig { method: method.to_owned(), ..config() }), ["origin.method"], "{method}");
        }
    }

    #[test]
    fn batch_that_can_not_be_called_is_refused_at_its_key() {
        let of = |change: fn(&mut BatchConfig)| {
            let mut batch = BatchConfig { method: "shop.v1.Shop/GetMany".to_owned(), ..BatchConfig::default() };
            change(&mut batch);
            OriginConfig { batch: Some(batch), ..config() }
        };
        assert_eq!(keys(&of(|_| {})), [""; 0]);
        assert_eq!(keys(&of(|batch| "GetMany".clone_into(&mut batch.method))), ["origin.batch.method"]);
        assert_eq!(keys(&of(|batch| (batch.key_field, batch.status_field) = (2, 2))), ["origin.batch.status_field"]);
        assert_eq!(keys(&of(|batch| (batch.value_field, batch.status_field) = (2, 2))), ["origin.batch.status_field"]);
    }
}
