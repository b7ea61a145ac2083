//! The neighbours, catalog and cache, called by the gateway's internal listener, so that their contracts hold.

use std::time::Duration;

use accord_api::{
    accord::cache::v1::cache_service_client::CacheServiceClient,
    catalog::v1::product_service_client::ProductServiceClient,
};
use accord_mesh::{MeshClient, refusal};
use accord_runtime::trace;
use http::HeaderMap;
use tonic::{
    Code, Request, Status,
    metadata::MetadataMap,
    service::interceptor::InterceptedService,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::call_context::{CallContext, pass_on};

/// How long a connection may take until it stands.
const CONNECT: Duration = Duration::from_secs(2);
/// Silence after which the gateway is pinged, and how long its answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// A client's connection, with the context of one call.
type InContext = InterceptedService<Channel, CallContext>;

/// The way to all neighbours. Clones share its connection.
#[derive(Clone)]
pub(crate) struct Gateway {
    channel: Channel,
    mesh: MeshClient,
}

/// The neighbours, as they are called for one call.
pub(crate) struct Neighbours {
    pub products: ProductServiceClient<InContext>,
    pub cache: CacheServiceClient<InContext>,
}

impl Gateway {
    /// Connects to the internal listener at the first call, and again when a connection breaks.
    pub(crate) fn new(endpoint: &str, mesh: MeshClient) -> Result<Self, tonic::transport::Error> {
        let mut to = Endpoint::from_shared(endpoint.to_owned())?.tcp_nodelay(true).connect_timeout(CONNECT);
        if endpoint.starts_with("https:") {
            to = to.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        let to = to.http2_keep_alive_interval(KEEPALIVE.0).keep_alive_timeout(KEEPALIVE.1);
        Ok(Self { channel: to.connect_lazy(), mesh })
    }

    /// The neighbours, called for whoever makes this call.
    pub(crate) fn called_for<T>(&self, request: &Request<T>) -> Result<Neighbours, Status> {
        let bearer = self.mesh.workload_bearer().map_err(refusal::status)?;
        let context = CallContext::new(request.metadata(), bearer);
        let mut span = HeaderMap::new();
        trace::inject(&mut span);
        let context = match MetadataMap::from_headers(span).get("traceparent") {
            Some(traceparent) => context.with_traceparent(traceparent.clone()),
            None => context,
        };
        let products = ProductServiceClient::with_interceptor(self.channel.clone(), context.clone());
        Ok(Neighbours { products, cache: CacheServiceClient::with_interceptor(self.channel.clone(), context) })
    }
}

/// A neighbour's failure as the caller learns of it: as it is where it is about the caller or the time, else as a failure of this
/// service, which asked what the caller knows nothing of.
pub(crate) fn failed(failure: &Status) -> Status {
    match failure.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted => pass_on(failure),
        _ => {
            tracing::error!(%failure, "a neighbour refused what it was asked");
            Status::internal("a service that this one depends on failed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_that_is_about_the_caller_or_the_time_is_passed_on() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::PermissionDenied, Code::Unauthenticated] {
            let passed_on = failed(&Status::new(code, "as it is"));
            assert_eq!((passed_on.code(), passed_on.message()), (code, "as it is"));
        }
    }

    #[test]
    fn refusal_of_what_the_caller_never_said_is_internal() {
        for code in [Code::InvalidArgument, Code::NotFound, Code::Unimplemented, Code::Unknown] {
            let hidden = failed(&Status::new(code, "field `namespace`"));
            assert_eq!(hidden.code(), Code::Internal);
            assert!(!hidden.message().contains("namespace"));
        }
    }
}
