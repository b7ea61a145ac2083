//! What the contracts of the cache's own methods declare, held against what the methods ask and grant.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use accord_api::FILE_DESCRIPTOR_SET;
use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::{MethodPolicy, access::Rule};
use accord_cache::config::Config;
use accord_cache::passport::{Owner, Passports};
use accord_cache::serve::{self, Stores};
use accord_cache::upstreams::Upstreams;
use accord_mesh::Question;
use accord_mesh::guard::{Decider, GuardedServer};
use accord_runtime::{deadline::Deadline, fault, health::Health, request::RequestId, shutdown::Shutdown};
use accord_store::StoreUrl;
use accord_token::{Refusal, Verified};
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::Status;
use tower::ServiceExt;

use crate::shop::workload;

#[tokio::test]
async fn every_method_with_a_permission_needs_it_and_has_its_declared_deadline() {
    let witness = Witness::default();
    let server = grpc_server(&Health::new(), &witness).await;
    let methods: Vec<_> = declared().into_iter().filter(|(method, _)| !is_of_namespaces(method)).collect();
    assert_eq!(methods.len(), 6);
    for (method, policy) in methods {
        let Some(Rule::Permission(permission)) = policy.access.unwrap().rule else {
            panic!("{method} asks for nothing")
        };
        let deadline = policy.deadline.unwrap();
        for (timeout, seconds) in
            [(None, deadline.default.unwrap().seconds), (Some("99999999S"), deadline.max.unwrap().seconds)]
        {
            let seen = call(server.clone(), &witness, &method, timeout).await;
            assert_eq!(seen, format!("{method} {permission} {seconds}"));
        }
    }
}

/// What else it takes, the handlers ask for each namespace.
#[test]
fn methods_of_namespaces_are_open_to_the_authenticated() {
    let methods: Vec<_> = declared().into_iter().filter(|(method, _)| is_of_namespaces(method)).collect();
    assert_eq!(methods.len(), 8);
    for (method, policy) in methods {
        assert_eq!(policy.access.unwrap().rule, Some(Rule::Authenticated(true)), "{method}");
    }
}

fn is_of_namespaces(method: &str) -> bool {
    method.starts_with("accord.cache.v1.CacheService/")
}

/// Servers are built from what their services declare: a service that is not listed would not be found.
#[tokio::test]
async fn reflection_lists_the_services() {
    let health = Health::new();
    grpc_server(&health, &Witness::default()).await;
    assert_eq!(
        health.services(),
        [
            "accord.cache.v1.CacheService",
            "accord.cache.v1.IdempotencyService",
            "accord.cache.v1.InvalidationService",
            "accord.cache.v1.ReadThroughService"
        ]
    );
}

async fn grpc_server(health: &Health, witness: &Witness) -> GuardedServer<Witness> {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.records.url = StoreUrl::sqlite(&format!("{}/records.db", folder.path().display()));
    let stores = Stores::open(&config).await.unwrap();
    let upstreams = Upstreams::new(&config.upstream, &config.discovery).unwrap();
    let (engine, shutdown) = (serve::engine(config.limits()), Shutdown::new(Duration::ZERO));
    let replica = serve::alone(&config, &engine);
    serve::grpc_server(&config, health, &replica, &upstreams, witness, &stores, &shutdown).unwrap()
}

/// The methods of the cache, `pkg.Service/Method`, with what they or their services declare.
fn declared() -> Vec<(String, MethodPolicy)> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let policy = |layer: &str, options: DynamicMessage| {
        let extension = pool.get_extension_by_name(&format!("accord.policy.v1.{layer}")).unwrap();
        let policy = options.get_extension(&extension).as_message().unwrap().encode_to_vec();
        MethodPolicy::decode(policy.as_slice()).unwrap()
    };
    let services = pool.services().filter(|service| service.package_name() == "accord.cache.v1");
    services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| {
            let service = method.parent_service();
            let (own, shared) = (policy("method", method.options()), policy("service", service.options()));
            let merged = MethodPolicy {
                access: own.access.or(shared.access),
                deadline: own.deadline.or(shared.deadline),
                ..MethodPolicy::default()
            };
            (format!("{}/{}", service.full_name(), method.name()), merged)
        })
        .collect()
}

/// Calls a method with an empty message; what the witness saw.
async fn call(server: GuardedServer<Witness>, witness: &Witness, method: &str, timeout: Option<&str>) -> String {
    let call = http::Request::post(format!("/{method}")).version(http::Version::HTTP_2);
    let call = call.header("content-type", "application/grpc");
    let call = call.header("authorization", "Bearer anybody");
    let call = timeout.into_iter().fold(call, |call, timeout| call.header("grpc-timeout", timeout));
    // An empty message in its five bytes of frame.
    let answer = server.oneshot(call.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap()).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(fault::reason_of(&status), Some(Reason::PermissionMissing), "{method}");
    witness.0.lock().unwrap().take().unwrap()
}

/// Lets nobody in, and keeps what was asked of them and how many seconds they had.
#[derive(Clone, Debug, Default)]
struct Witness(Arc<Mutex<Option<String>>>);

impl Decider for Witness {
    type Caller = Arc<Verified>;

    async fn authenticate(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        Ok(Arc::new(workload(token)))
    }

    async fn authorize(
        &self,
        _: &str,
        _: &Arc<Verified>,
        question: &Question<'_>,
        deadline: Deadline,
        _: &RequestId,
    ) -> Result<(), Refusal> {
        let seconds = deadline.remaining().as_secs_f64().ceil();
        *self.0.lock().unwrap() = Some(format!("{} {} {seconds}", question.method, question.permission));
        Err(Refusal::PermissionMissing)
    }
}

impl Passports for Witness {
    fn owner(&self, _: &str, _: &str) -> Result<Owner, Status> {
        Err(Status::unauthenticated("nobody is let in"))
    }

    async fn exchange(
        &self,
        _: &str,
        _: &Verified,
        _: &Question<'_>,
        _: Deadline,
        _: &RequestId,
    ) -> Result<HeaderValue, Refusal> {
        Err(Refusal::PermissionMissing)
    }
}
