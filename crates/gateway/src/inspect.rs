//! Reflection, health and the `OpenAPI` document of the public listener, as grpcurl and browsers see them: merged over all upstreams.
//!
//! The gateway's own internal services are not listed here; they are on the admin port.

mod equivalent;
mod limits;
mod merge;
pub(crate) mod openapi;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use accord_runtime::health::Health;
use accord_runtime::shutdown::Shutdown;
use accord_upstream::HealthStatus;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::select_all;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;
use tower::Service;

use self::limits::InspectionLimits;
pub(crate) use self::limits::answer;
use self::merge::merge;
use self::openapi::{OpenApi, OpenApiConfig};
use crate::table::{MethodTable, Tables, spawn};

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] = ["/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// Answers reflection and health for the upstreams.
pub(crate) struct Inspection {
    routes: ArcSwap<Routes>,
    health: Health,
    tables: Arc<Tables>,
    reflection: AtomicBool,
    /// Held while routes are made, so that later ones are not replaced by those of before.
    renewing: Mutex<()>,
    openapi: OpenApi,
    limits: InspectionLimits,
}

impl Inspection {
    /// Answers from the tables, and keeps up with them and with the upstreams' health until shutdown.
    pub(crate) fn open(
        tables: &Arc<Tables>,
        health: &Health,
        reflection: bool,
        openapi: OpenApi,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let routes = ArcSwap::from_pointee(routes(&tables.load(), health, reflection));
        let limits = InspectionLimits::new();
        let inspection = Arc::new(Self {
            routes,
            health: health.clone(),
            tables: Arc::clone(tables),
            reflection: AtomicBool::new(reflection),
            renewing: Mutex::default(),
            openapi,
            limits,
        });
        spawn(shutdown, follow_tables(Arc::clone(&inspection)));
        spawn(shutdown, follow_upstreams(health.clone(), Arc::clone(tables)));
        inspection
    }

    /// From now on, whether server reflection is answered, and what the `OpenAPI` document is.
    pub(crate) fn take_over(&self, reflection: bool, openapi: &OpenApiConfig) {
        self.openapi.take_over(openapi);
        if self.reflection.swap(reflection, Relaxed) != reflection {
            self.renew();
        }
    }

    fn renew(&self) {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = routes(&self.tables.load(), &self.health, self.reflection.load(Relaxed));
        self.routes.store(Arc::new(routes));
    }

    /// Whether a path is answered here, before the method table is asked.
    pub(crate) fn serves(path: &str) -> bool {
        path.starts_with(HEALTH) || REFLECTION.iter().any(|own| path.starts_with(own))
    }

    /// Answers a gRPC request for which [`Inspection::serves`] said yes.
    pub(crate) async fn call<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut routes = Routes::clone(&self.routes.load());
        let Ok(response) = routes.call(request).await;
        response
    }
}

async fn follow_tables(inspection: Arc<Inspection>) {
    let mut changed = inspection.tables.subscribe();
    while changed.changed().await.is_ok() {
        inspection.renew();
    }
}

/// Every service is as healthy as the upstream that serves it, and unknown once none does.
async fn follow_upstreams(health: Health, tables: Arc<Tables>) {
    let mut changed = tables.subscribe();
    let mut announced = BTreeSet::new();
    loop {
        changed.mark_unchanged();
        let table = tables.load();
        let mut watched: Vec<_> = table.upstreams().iter().map(|upstream| upstream.watch()).collect();
        let known = announce(&health, &table, &mut watched);
        for gone in announced.difference(&known) {
            health.withdraw_service(gone);
        }
        announced = known;
        drop(table);
        let news = watched.iter_mut().map(|watched| Box::pin(watched.changed()));
        let health_changed = async {
            match news.len() {
                0 => pending().await,
                _ => drop(select_all(news).await),
            }
        };
        tokio::select! {
            () = health_changed => {}
            news = changed.changed() => if news.is_err() { return },
        }
    }
}

/// Says how the services of each upstream are; the names that it said.
fn announce(health: &Health, table: &MethodTable, watched: &mut [watch::Receiver<HealthStatus>]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (upstream, watched) in table.upstreams().iter().zip(watched) {
        let able = *watched.borrow_and_update() == HealthStatus::Serving;
        for name in [&**upstream.name()].into_iter().chain(table.services_of(upstream.name())) {
            health.set_service(name, able);
            names.insert(name.to_owned());
        }
    }
    names
}

fn routes(table: &MethodTable, health: &Health, reflection: bool) -> Routes {
    let routes = Routes::new(HealthServer::new(health.clone()));
    if !reflection {
        return routes.prepare();
    }
    let files = merge(table.sources());
    match (reflection_service(table, &files).build_v1(), reflection_service(table, &files).build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha).prepare(),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "reflection is unavailable: the descriptors can't be served");
            routes.prepare()
        }
    }
}

/// What reflection tells: the upstreams' services and those that are answered here, and the types of error details, without
/// which clients can't show why a call was refused.
fn reflection_service<'a>(table: &MethodTable, files: &'a [u8]) -> Builder<'a> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(files)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    let own = std::iter::once(HEALTH).chain(REFLECTION).map(|path| path.trim_matches('/'));
    table.services().into_iter().chain(own).fold(builder, Builder::with_service_name)
}

#[cfg(test)]
mod tests;
