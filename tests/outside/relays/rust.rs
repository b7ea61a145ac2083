//! The relay in Rust (tonic), in the test's own process, with the interceptor of the sample service `orders`.

#[path = "../../clients/interceptors/rust/access_token.rs"]
mod access_token;
#[path = "../../../crates/orders/src/call_context.rs"]
mod call_context;
mod stubs;

use access_token::AccessToken;
use anyhow::Result;
use call_context::{CallContext, pass_on};
use futures_util::{StreamExt, stream::BoxStream};
use std::{fs, net::SocketAddr, sync::Arc};
use stubs::{
    echo::v1::{self as echo, echo_service_client::EchoServiceClient},
    relay::v1::{
        CountRequest, CountResponse, FailRequest, FailResponse, MetadataRequest, MetadataResponse, SlowRequest,
        SlowResponse,
        relay_service_server::{RelayService, RelayServiceServer},
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Server},
};

type Neighbour = EchoServiceClient<InterceptedService<Channel, CallContext>>;

/// Serves for as long as the test runs.
pub(super) async fn serve(listen: SocketAddr, gateway: SocketAddr, auth: SocketAddr, secret: &str) -> Result<()> {
    let channel = |address| Endpoint::from_shared(format!("http://{address}")).map(|endpoint| endpoint.connect_lazy());
    let token = AccessToken::new(channel(auth)?, "relay", fs::read_to_string(secret)?.trim());
    let relay = Relay { gateway: channel(gateway)?, token: Arc::new(token) };
    let listener = TcpListenerStream::new(TcpListener::bind(listen).await?);
    tokio::spawn(Server::builder().add_service(RelayServiceServer::new(relay)).serve_with_incoming(listener));
    Ok(())
}

struct Relay {
    gateway: Channel,
    token: Arc<AccessToken>,
}

impl Relay {
    /// The echo, called for whoever makes this call.
    async fn neighbour<T>(&self, call: &Request<T>) -> Result<Neighbour, Status> {
        let context = CallContext::new(call.metadata(), self.token.bearer().await?);
        Ok(EchoServiceClient::with_interceptor(self.gateway.clone(), context))
    }
}

#[tonic::async_trait]
impl RelayService for Relay {
    type CountStream = BoxStream<'static, Result<CountResponse, Status>>;

    async fn metadata(&self, call: Request<MetadataRequest>) -> Result<Response<MetadataResponse>, Status> {
        let answer = self.neighbour(&call).await?.metadata(echo::MetadataRequest {}).await;
        let echo::MetadataResponse { metadata, remaining_milliseconds, .. } =
            answer.map_err(|failure| pass_on(&failure))?.into_inner();
        Ok(Response::new(MetadataResponse { metadata, remaining_milliseconds }))
    }

    async fn slow(&self, call: Request<SlowRequest>) -> Result<Response<SlowResponse>, Status> {
        let request = echo::SlowRequest { milliseconds: call.get_ref().milliseconds };
        self.neighbour(&call).await?.slow(request).await.map_err(|failure| pass_on(&failure))?;
        Ok(Response::new(SlowResponse {}))
    }

    async fn count(&self, call: Request<CountRequest>) -> Result<Response<Self::CountStream>, Status> {
        let CountRequest { to, filler_bytes } = *call.get_ref();
        let answer = self.neighbour(&call).await?.count(echo::CountRequest { to, filler_bytes }).await;
        let numbers = answer.map_err(|failure| pass_on(&failure))?.into_inner();
        let numbers = numbers.map(|said| match said {
            Ok(said) => Ok(CountResponse { number: said.number }),
            Err(failure) => Err(pass_on(&failure)),
        });
        Ok(Response::new(numbers.boxed()))
    }

    async fn fail(&self, call: Request<FailRequest>) -> Result<Response<FailResponse>, Status> {
        let request = echo::FailRequest { code: call.get_ref().code, message: "as asked".to_owned() };
        self.neighbour(&call).await?.fail(request).await.map_err(|failure| pass_on(&failure))?;
        Ok(Response::new(FailResponse {}))
    }
}
