//! gRPC server: what every server of the project carries around its services: request ids, spans, metrics, deadlines,
//! health, reflection.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::response::IntoResponse;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{body::Body, server::NamedService, service::Routes};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;
use tower::{Layer, Service};

use crate::{
    deadline::DeadlineBody,
    descriptors,
    enforce::{Bounding, Bounds, Enforce},
    grpc_only::{GrpcOnly, Serves},
    health::Health,
    inspection::InspectionSlots,
    observe::{MethodSeries, Naming, Observe, ObservedBody},
    panic::{Catch, CaughtBody},
    plain::PlainPaths,
};

pub use crate::grpc_only::is_call;

/// Nobody guards the services: for those that guard themselves, or have nothing to guard.
pub use tower::layer::util::Identity as Unguarded;

/// The services that every gRPC server has, and the encoded descriptor sets that declare them.
pub const BUILT_IN: [(&str, &[u8]); 3] = [
    ("grpc.health.v1.Health", tonic_health::pb::FILE_DESCRIPTOR_SET),
    ("grpc.reflection.v1.ServerReflection", tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET),
    ("grpc.reflection.v1alpha.ServerReflection", tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET),
];

/// The bounds of calls for which neither a contract nor the owner of the server says anything: nothing waits for ever.
pub const BOUNDS: Bounds = Bounds { default: Some(Duration::from_secs(5)), max: Some(Duration::from_secs(30)) };

/// The services of one port with everything around them. What serves is listed; what isn't listed doesn't serve.
pub struct GrpcServer<G> {
    health: Health,
    guard: G,
    routes: Routes,
    plain: (&'static [&'static str], Routes),
    descriptors: Vec<&'static [u8]>,
    listed: Vec<String>,
    excluded_paths: &'static [&'static str],
    bounds: Bounds,
    declared: Declared,
    inspection: &'static str,
}

/// What the contract of a method, `pkg.Service/Method`, declares of the time of its calls.
type Declared = Box<dyn Fn(&str) -> Bounds>;

/// A gRPC server that is complete, for [`Listener::serve`](crate::server::Listener::serve). `S` is what the guard made of its
/// gRPC services.
pub type GrpcService<S> = Observe<Catch<GrpcOnly<Enforce<PlainPaths<S>>>>>;

/// The bodies of its answers.
pub type GrpcBody = ObservedBody<CaughtBody<DeadlineBody<Body>>>;

/// Descriptors that can't be decoded or contradict each other: a defect of the build.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors for reflection are unusable: {0}; build the binary anew")]
pub struct GrpcServerError(String);

impl<G> GrpcServer<G> {
    /// A gRPC server with nothing but health and reflection, whose calls are bounded by [`BOUNDS`]. Every call of a gRPC method,
    /// those two included, passes the layer `guard`, within its deadline.
    pub fn new(health: &Health, guard: G) -> Self {
        Self {
            health: health.clone(),
            guard,
            routes: Routes::default(),
            plain: (&[], Routes::default()),
            // Error details are no service, but whoever reads them asks for their types.
            descriptors: [&BUILT_IN.map(|(_, set)| set)[..], &[tonic_types::pb::FILE_DESCRIPTOR_SET]].concat(),
            listed: BUILT_IN.map(|(service, _)| service.to_owned()).to_vec(),
            excluded_paths: &[],
            bounds: BOUNDS,
            declared: Box::new(|_| Bounds::default()),
            inspection: "inspection",
        }
    }

    /// Lists `services` of an encoded descriptor set for reflection and metrics, and announces them to health.
    #[must_use]
    pub fn descriptors(mut self, set: &'static [u8], services: &[&str]) -> Self {
        self.descriptors.push(set);
        for service in services {
            self.listed.push((*service).to_owned());
            self.health.set_service(service, true);
        }
        self
    }

    /// Serves a generated gRPC server.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Says that requests for these paths are no calls: they are neither counted nor traced.
    #[must_use]
    pub fn exclude(mut self, paths: &'static [&'static str]) -> Self {
        self.excluded_paths = paths;
        self
    }

    /// Serves plain HTTP routes under these paths, past the guard: whoever reaches the port may ask them.
    #[must_use]
    pub fn http(mut self, paths: &'static [&'static str], plain: axum::Router) -> Self {
        self.plain = (paths, plain.into());
        self
    }

    /// Tells the bounds that the contract of a listed method, `pkg.Service/Method`, declares. They go before those of the server.
    #[must_use]
    pub fn declared<B: Into<Bounds>>(mut self, declared: impl Fn(&str) -> B + 'static) -> Self {
        self.declared = Box::new(move |method| declared(method).into());
        self
    }

    /// Bounds calls whose caller sets no deadline by `default`, and the others by `max`, where the method's contract declares
    /// nothing else. Streams of the listed services that declare nothing are exempt: a watch is meant to stay, and ends with
    /// its caller's deadline, the connection or the drain.
    #[must_use]
    pub fn deadline(mut self, default: Duration, max: Duration) -> Self {
        self.bounds = Bounds { default: Some(default), max: Some(max) };
        self
    }

    /// Names the budget of which streams of health and reflection hold slots, where the process has another of the usual name.
    #[must_use]
    pub fn inspection(mut self, budget: &'static str) -> Self {
        self.inspection = budget;
        self
    }

    /// The complete service.
    pub fn into_service(self) -> Result<GrpcService<G::Service>, GrpcServerError>
    where
        G: Layer<Routes>,
    {
        let unusable = |error: &dyn std::fmt::Display| GrpcServerError(error.to_string());
        let v1 = self.reflection().build_v1().map_err(|error| unusable(&error))?;
        let v1alpha = self.reflection().build_v1alpha().map_err(|error| unusable(&error))?;
        let methods = Arc::new(self.methods().map_err(|error| unusable(&error))?);
        let slots = InspectionSlots::new(self.inspection);
        let health = slots.bound(HealthServer::new(self.health));
        let (v1, v1alpha) = (slots.bound(v1), slots.bound(v1alpha));
        let routes = self.routes.add_service(health).add_service(v1).add_service(v1alpha).prepare();
        let (paths, plain) = self.plain;
        let split = PlainPaths::new(paths, plain.prepare(), self.guard.layer(routes));
        // Outermost last: what is refused or panics below is still seen, with its id in the answer.
        let enforced = Enforce::new(split, bounding(&methods, self.bounds));
        let only = GrpcOnly::new(enforced, paths, serving(&methods));
        Ok(Observe::new(Catch::new(only), naming(&methods)).exclude(self.excluded_paths))
    }

    fn reflection(&self) -> Reflection<'static> {
        let sets = self
            .descriptors
            .iter()
            .fold(Reflection::configure(), |reflection, set| reflection.register_encoded_file_descriptor_set(set));
        self.listed.iter().fold(sets, Reflection::with_service_name)
    }

    /// The methods of the listed services by their request paths.
    fn methods(&self) -> Result<HashMap<String, Method>, prost::DecodeError> {
        let mut methods = HashMap::new();
        for set in &self.descriptors {
            let listed = descriptors::methods(set)?.into_iter().filter(|method| self.listed.contains(&method.service));
            methods.extend(listed.map(|method| {
                let bounds =
                    (self.declared)(&method.name).or(if method.streams { Bounds::default() } else { self.bounds });
                (format!("/{}", method.name), Method { series: MethodSeries::new(method.name), bounds })
            }));
        }
        Ok(methods)
    }
}

struct Method {
    series: Arc<MethodSeries>,
    bounds: Bounds,
}

/// Knows only listed methods, so that no caller can invent a name for the figures.
fn naming(methods: &Arc<HashMap<String, Method>>) -> Naming {
    let methods = Arc::clone(methods);
    Arc::new(move |path| methods.get(path).map(|method| Arc::clone(&method.series)))
}

fn serving(methods: &Arc<HashMap<String, Method>>) -> Serves {
    let methods = Arc::clone(methods);
    Arc::new(move |path| methods.contains_key(path))
}

fn bounding(methods: &Arc<HashMap<String, Method>>, bounds: Bounds) -> Bounding {
    let methods = Arc::clone(methods);
    Arc::new(move |path| methods.get(path).map_or(bounds, |method| method.bounds))
}

/// What a listener needs of a service; a check that the server has it.
const _: fn() = || {
    fn servable<S: Service<Request<Incoming>, Response = Response<GrpcBody>, Error = Infallible> + Clone + Send>() {}
    servable::<GrpcService<Routes>>();
};
