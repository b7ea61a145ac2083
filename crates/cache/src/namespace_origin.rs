//! Origin of a namespace (cache-aside): the method of an upstream that is asked for what a key does not hold.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count, HOUR, Time};
use accord_runtime::fault::{self, StatusBuilder};
use accord_runtime::rate_limited_log::RateLimitedLog;
use accord_upstream::{Retries, TimedMethod, UpstreamConfig};
use accord_wire::{Value, occurrences, put_bytes};
use bytes::Bytes;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::plan::method_path;

/// The largest number of a field in protobuf.
const MAX_FIELD: u64 = 536_870_911;

/// Most bytes of an answer beside its value, where the value is one of its fields.
const BESIDE_VALUE: u64 = 65_536;

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
        found.into_iter().map(|invalid| invalid.under("origin".to_owned())).collect()
    }
}

/// How the keys of a namespace are loaded.
#[derive(Debug)]
pub struct KeyOrigin {
    /// The method, `pkg.Service/Method`.
    pub method: Box<str>,
    /// The same as a path.
    pub path: PathAndQuery,
    /// The name of its upstream, which is the passport's audience.
    pub upstream: Box<str>,
    /// What its caller needs there; empty where being authenticated is enough.
    pub permission: Box<str>,
    /// As what the upstream knows how long it takes.
    pub timed: TimedMethod,
    /// The longest time of a load.
    pub timeout: Duration,
    /// How often a load may be tried.
    pub retries: Option<Retries>,
    /// The largest answer in bytes.
    pub max_response_bytes: u64,
    namespace: Box<str>,
    max_value_bytes: usize,
    key_field: u32,
    value_field: u32,
    method_missing: RateLimitedLog,
}

impl KeyOrigin {
    /// Of a namespace of this name whose values may have so many bytes; nothing where the method is none, which is refused
    /// before.
    pub(crate) fn new(config: &OriginConfig, namespace: &str, max_value_bytes: usize) -> Option<Self> {
        let permission = if config.permission == AUTHENTICATED { "" } else { &config.permission };
        let is_whole = config.value_field == 0;
        let retries = Retries {
            max_attempts: config.max_attempts,
            on: [Code::Unavailable].into(),
            hedge_after: None,
            attempt_timeout: None,
            budget: std::sync::Arc::default(),
        };
        Some(Self {
            path: method_path(&config.method)?,
            method: config.method.as_str().into(),
            timed: TimedMethod::new(&config.method),
            upstream: config.upstream.as_str().into(),
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

    /// The request for a key.
    pub(crate) fn request(&self, key: &str) -> Bytes {
        let mut request = Vec::with_capacity(key.len() + 16);
        put_bytes(&mut request, self.key_field, key.as_bytes());
        request.into()
    }

    /// The value in an answer: a copy of its own, since the buffer that it came in is larger.
    pub(crate) fn value(&self, answer: &[u8]) -> Result<Bytes, Status> {
        let value = if self.value_field == 0 { answer } else { self.field(answer)? };
        if value.len() > self.max_value_bytes {
            let (size, most) = (value.len(), self.max_value_bytes);
            let problem = format!("the value that {self} gave has {size} bytes, more than the namespace's {most}");
            return Err(fault::status(Reason::ResponseTooLarge, problem));
        }
        Ok(Bytes::copy_from_slice(value))
    }

    /// The field that is the value. Of several occurrences the last one counts, as in every reader of protobuf.
    fn field<'a>(&self, answer: &'a [u8]) -> Result<&'a [u8], Status> {
        let mut value: &[u8] = &[];
        for field in occurrences(answer) {
            let field = field.map_err(|malformed| self.unusable(&format!("it is no message: {malformed}")))?;
            if field.number != self.value_field {
                continue;
            }
            let Value::Bytes(bytes) = field.value else {
                return Err(self.unusable(&format!("its field {} holds a number", field.number)));
            };
            value = bytes;
        }
        Ok(value)
    }

    fn unusable(&self, problem: &str) -> Status {
        let message =
            format!("the answer of {self} can't be used: {problem}; check `value_field` of the namespace's origin");
        fault::status(Reason::UpstreamMalformed, message)
    }

    /// An error that a handler gave, with who gave it: the caller called another method. Where there is no handler, the
    /// configuration is wrong, and nobody but its operator can do anything.
    pub(crate) fn refused(&self, status: &Status) -> Status {
        if status.code() == Code::Unimplemented {
            return self.no_such_method();
        }
        let message = format!("{self} said: {}", status.message());
        Status::with_details(status.code(), message, Bytes::copy_from_slice(status.details()))
    }

    fn no_such_method(&self) -> Status {
        let Self { upstream, method, namespace, .. } = self;
        let message = format!(
            "the upstream {upstream} has no method {method}; correct `namespace.origin.method` of the namespace {namespace}"
        );
        self.method_missing.write(|| tracing::warn!("{message}"));
        StatusBuilder::new(Reason::MethodUnknown, message).code(Code::FailedPrecondition).build()
    }
}

impl std::fmt::Display for KeyOrigin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} of the upstream {}", self.method, self.upstream)
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

    fn origin(value_field: u32) -> KeyOrigin {
        KeyOrigin::new(&OriginConfig { value_field, key_field: 3, ..config() }, "carts", 5).unwrap()
    }

    fn reason(status: &Status) -> Option<Reason> {
        fault::reason_of(status)
    }

    #[test]
    fn origin_without_a_permission_is_refused_at_its_key() {
        assert_eq!(keys(&OriginConfig { permission: String::new(), ..config() }), ["origin.permission"]);
        assert_eq!(&*origin(0).permission, "shop.read");
        let open = OriginConfig { permission: "authenticated".to_owned(), ..config() };
        assert_eq!(&*KeyOrigin::new(&open, "carts", 5).unwrap().permission, "");
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
    fn key_fills_its_field_of_the_request() {
        assert_eq!(origin(0).request("ada"), &b"\x1a\x03ada"[..]);
    }

    #[test]
    fn value_is_the_whole_answer_or_the_last_occurrence_of_its_field() {
        let answer = b"\x0a\x01a\x12\x01b\x0a\x01c";
        assert_eq!(origin(0).value(&answer[..3]).unwrap(), &answer[..3]);
        assert_eq!(origin(1).value(answer).unwrap(), "c");
        assert_eq!(origin(2).value(answer).unwrap(), "b");
        assert_eq!(origin(9).value(answer).unwrap(), "");
    }

    #[test]
    fn answer_without_a_usable_value_is_malformed() {
        for answer in [&b"\x08\x01"[..], b"\x0a\x05a"] {
            assert_eq!(reason(&origin(1).value(answer).unwrap_err()), Some(Reason::UpstreamMalformed));
        }
    }

    #[test]
    fn value_larger_than_the_namespace_allows_is_refused() {
        assert_eq!(reason(&origin(1).value(b"\x0a\x06abcdef").unwrap_err()), Some(Reason::ResponseTooLarge));
        assert_eq!(origin(1).value(b"\x0a\x05abcde").unwrap(), "abcde");
    }
}
