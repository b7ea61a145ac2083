//! An upstream that tells what it was read, and a `Doorman` that authenticates two callers.

mod batches;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accord_api::catalog::v1::{GetProductRequest, Product};
use accord_cache::passport::{Owner, Passports};
use accord_mesh::{Question, guard::Decider};
use accord_runtime::{
    deadline::{Deadline, parse_grpc_timeout},
    grpc_server::{GrpcServer, Unguarded},
    health::Health,
    request::RequestId,
    server::ListenConfig,
    server::Listener,
    shutdown::Shutdown,
};
use accord_token::{Claims, InvalidTokenReason, Kind, Refusal, Type, Verified};
use axum::routing::post;
use http::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tonic::metadata::MetadataMap;
use tonic::server::UnaryService;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use batches::{GetMany, GetManyRequest, GetManyResponse};

const GET: &str = "/shop.v1.Shop/Get";
const GET_MANY: &str = "/shop.v1.Shop/GetMany";

/// What the upstream saw of a call.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its metadata.
    pub metadata: MetadataMap,
    /// The product asked for.
    pub id: String,
}

/// The upstream.
#[derive(Clone)]
pub(crate) struct Shop {
    /// Its address.
    pub url: String,
    /// Every call.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Sender<usize>,
    /// What it answers instead of a product.
    pub failure: Arc<Mutex<Option<Status>>>,
    /// What it answers to the next calls instead.
    pub next: Arc<Mutex<VecDeque<Status>>>,
    /// The initial metadata of its products.
    pub head: Arc<Mutex<MetadataMap>>,
    /// The versions of its next products, in place of the number of its calls.
    pub versions: Arc<Mutex<VecDeque<usize>>>,
    /// Bytes in the title of its products.
    pub size: Arc<AtomicUsize>,
    /// A call is answered when it gets a permit.
    pub open: Arc<Semaphore>,
}

impl Shop {
    /// Opens on a free port; serves until `shutdown`.
    pub(crate) async fn open(listen: &ListenConfig, shutdown: Shutdown) -> Self {
        let listener = Listener::bind(listen).await.unwrap();
        let scheme = if listen.tls.is_some() { "https" } else { "http" };
        let shop = Self {
            url: format!("{scheme}://localhost:{}", listener.address().port()),
            seen: Arc::default(),
            count: watch::Sender::new(0),
            failure: Arc::default(),
            next: Arc::default(),
            head: Arc::default(),
            versions: Arc::default(),
            size: Arc::default(),
            open: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        };
        let counter = shop.clone();
        let get = post(move |request: http::Request<axum::body::Body>| async move {
            let codec = ProstCodec::<Product, GetProductRequest>::default();
            tonic::server::Grpc::new(codec).unary(counter.clone(), request).await
        });
        let many = GetMany(shop.clone());
        let get_many = post(move |request: http::Request<axum::body::Body>| async move {
            let codec = ProstCodec::<GetManyResponse, GetManyRequest>::default();
            tonic::server::Grpc::new(codec).unary(many.clone(), request).await
        });
        let routes = axum::Router::new().route(GET, get).route(GET_MANY, get_many);
        let service =
            GrpcServer::new(&Health::new(), Unguarded::new()).http(&[GET, GET_MANY], routes).into_service().unwrap();
        tokio::spawn(listener.serve(service, shutdown));
        shop
    }

    /// Notes a call; how many there are now.
    fn see(&self, call: Seen) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(call);
        self.count.send_replace(seen.len());
        seen.len()
    }

    /// How many calls it saw.
    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// How much time a call had.
    pub(crate) fn time_left(&self, call: usize) -> Duration {
        let seen = self.seen.lock().unwrap();
        let timeout = seen[call].metadata.get("grpc-timeout").unwrap().to_str().unwrap();
        parse_grpc_timeout(timeout).unwrap()
    }

    /// Waits until it saw so many.
    pub(crate) async fn saw(&self, calls: usize) {
        self.count.subscribe().wait_for(|count| *count >= calls).await.unwrap();
    }
}

impl UnaryService<GetProductRequest> for Shop {
    type Response = Product;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Product>, Status>> + Send>>;

    fn call(&mut self, request: Request<GetProductRequest>) -> Self::Future {
        let shop = self.clone();
        let (metadata, _, read) = request.into_parts();
        Box::pin(async move {
            let version = shop.see(Seen { metadata, id: read.id.clone() });
            shop.open.acquire().await.unwrap().forget();
            if let Some(failure) = shop.next.lock().unwrap().pop_front() {
                return Err(failure);
            }
            if let Some(failure) = shop.failure.lock().unwrap().clone() {
                return Err(failure);
            }
            let version = shop.versions.lock().unwrap().pop_front().unwrap_or(version);
            let version = i64::try_from(version).unwrap();
            let title = "x".repeat(shop.size.load(Ordering::Relaxed));
            let mut answer = Response::new(Product { id: read.id, version, title, ..Product::default() });
            *answer.metadata_mut() = shop.head.lock().unwrap().clone();
            Ok(answer)
        })
    }
}

/// Lets the workload in whose token is `mesh`, and reads passports such as `north/ada@shop`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FakeAuth;

impl Decider for FakeAuth {
    type Caller = Arc<Verified>;

    async fn authenticate(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        if token == "mesh" { Ok(Arc::new(workload(token))) } else { Err(Refusal::Missing) }
    }

    async fn authenticate_passport(&self, passport: &str, audience: &str) -> Result<Arc<Verified>, Refusal> {
        let owner = self.owner(passport, audience).map_err(|_| Refusal::Invalid(InvalidTokenReason::Audience))?;
        let mut verified = workload(&owner.subject);
        verified.claims.tenant = owner.tenant;
        Ok(Arc::new(verified))
    }

    /// Nobody but a reader and a stranger lacks anything, and those who ask about a namespace name the cache.
    async fn authorize(
        &self,
        _: &str,
        caller: &Arc<Verified>,
        question: &Question<'_>,
        _: Deadline,
        _: &RequestId,
    ) -> Result<(), Refusal> {
        let is_of_namespace = question.method.starts_with("accord.cache.v1.CacheService/");
        let holds = match (&*caller.claims.sub, question.permission) {
            ("reader", "carts.write") | ("stranger", _) => false,
            (_, permission) if is_of_namespace => permission.starts_with("carts.") && question.audience == "cache",
            _ => true,
        };
        if holds { Ok(()) } else { Err(Refusal::PermissionMissing) }
    }

    /// A leaver is revoked as soon as she was let in.
    async fn withdrawn(self, caller: Arc<Verified>) -> Refusal {
        if caller.claims.sub == "leaver" { Refusal::Revoked } else { std::future::pending().await }
    }
}

/// The token of a workload.
pub(crate) fn workload(subject: &str) -> Verified {
    let claims = Claims {
        iss: String::new(),
        sub: subject.to_owned(),
        aud: String::new(),
        exp: i64::MAX,
        iat: 0,
        nbf: 0,
        jti: "jti".to_owned(),
        kind: Kind::Service,
        tenant: String::new(),
        roles: Vec::new(),
        ep: 0,
        gep: 0,
        ptj: None,
        act: None,
        scope: None,
        key: None,
    };
    Verified { claims, token_type: Type::Access, kid: String::new() }
}

impl Passports for FakeAuth {
    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status> {
        let owner = passport.strip_suffix(audience).and_then(|rest| rest.strip_suffix('@'));
        let (tenant, subject) = owner
            .and_then(|owner| owner.split_once('/'))
            .ok_or_else(|| Status::unauthenticated("not a passport for this audience"))?;
        // Such as `ada#2` after a change of her roles.
        let (subject, epoch) = subject.split_once('#').unwrap_or((subject, "1"));
        let epoch = epoch.parse().map_err(|_| Status::unauthenticated("not an epoch"))?;
        Ok(Owner { tenant: tenant.to_owned(), subject: subject.to_owned(), epoch })
    }

    /// A passport such as `north/ada@shop`; a leaver's is no good any more, and a clerk has no permission there.
    async fn exchange(
        &self,
        _: &str,
        caller: &Verified,
        question: &Question<'_>,
        _: Deadline,
        _: &RequestId,
    ) -> Result<HeaderValue, Refusal> {
        let Claims { tenant, sub, .. } = &caller.claims;
        if sub == "leaver" {
            return Err(Refusal::Revoked);
        }
        if sub == "clerk" && !question.permission.is_empty() {
            return Err(Refusal::PermissionMissing);
        }
        let passport = format!("{tenant}/{sub}@{}", question.audience);
        passport.parse().map_err(|_| Refusal::Unavailable)
    }
}
