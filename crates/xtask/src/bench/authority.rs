//! Auth's own methods, as workloads call them. Nobody else offers the same, so there are floors alone beside them.

use std::{net::SocketAddr, path::PathBuf};

use accord_api::accord::auth::v1::{
    CheckRequest, ClientCredentialsGrant, ExchangeRequest, IntrospectRequest, IssueRequest, issue_request::Grant,
    token_service_client::TokenServiceClient,
};
use accord_fabric::Fabric;
use anyhow::{Context, Result};
use prost::Message;
use tokio::task::JoinSet;

use super::{
    load::{self, Protocol, Request, Tool},
    probe,
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::Stage,
    varied::Varied,
};

/// The workload that asks.
pub(super) const CLIENT: &str = "gateway";

/// Tokens are many, and auth answers several at once.
const ISSUED_AT_ONCE: u32 = 64;

/// What is asked of auth.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    /// A decision.
    Check,
    /// A token for a program's secret.
    Issue,
    /// A passport.
    Exchange,
    /// What a token says.
    Introspect,
}

impl Method {
    /// The half of a signature that none of its calls can do without.
    fn signature(self) -> &'static str {
        match self {
            Self::Check | Self::Issue | Self::Exchange => "sign",
            Self::Introspect => "verify",
        }
    }
}

/// Measures one of them.
pub(super) async fn run(
    method: Method,
    stage: &Stage,
    (load, varied): (&Tool, &Varied),
    amount: Amount,
) -> Result<Vec<Figures>> {
    let signature = stage.floor_of_signatures(method.signature(), varied)?;
    let mut subjects = Vec::new();
    for (name, fabric, token) in &stage.fabrics {
        let (address, request) = prepared(method, fabric, token).await?;
        subjects.push(Subject {
            name: (*name).to_owned(),
            processes: vec![fabric.auth.process.id()],
            per_request: 1,
            send: Box::new(move |count| load.send(address, &request, count)),
        });
    }
    let name = format!("floor: {}", method.signature());
    let send = Box::new(|count| signature.send(count));
    subjects.push(Subject { name, processes: vec![signature.process()], per_request: 1, send });
    subjects.extend(stage.floor_subject("floor: epoll", load));
    rounds::interleaved(&subjects, amount)
}

/// Where a call of the method goes, and the call, which was answered once.
pub(super) async fn prepared(method: Method, fabric: &Fabric, token: &str) -> Result<(SocketAddr, Request)> {
    let (address, request) = (fabric.auth.listen, request(method, fabric, token).await?);
    probe::ask(address, &request).await?.ensure_ok(Protocol::Grpc)?;
    Ok((address, request))
}

async fn request(method: Method, fabric: &Fabric, token: &str) -> Result<Request> {
    let (token, audience) = (token.to_owned(), "bench".to_owned());
    let (path, message) = match method {
        Method::Check => {
            // Of a method that asks for a permission: a policy decides.
            let question = CheckRequest {
                token,
                method: "catalog.v1.ProductService/GetProduct".to_owned(),
                permission: "catalog.products.read".to_owned(),
                audience: "catalog".to_owned(),
                ..CheckRequest::default()
            };
            ("AccessService/Check", question.encode_to_vec())
        }
        Method::Issue => ("TokenService/Issue", credentials(fabric)?.encode_to_vec()),
        Method::Exchange => {
            let exchange = ExchangeRequest { subject_token: token, audience, actor_token: String::new() };
            ("TokenService/Exchange", exchange.encode_to_vec())
        }
        Method::Introspect => ("TokenService/Introspect", IntrospectRequest { token }.encode_to_vec()),
    };
    let own = TokenServiceClient::new(fabric.auth.channel()?).issue(credentials(fabric)?).await?.into_inner();
    Ok(Request {
        protocol: Protocol::Grpc,
        path: format!("/accord.auth.v1.{path}"),
        token: Some(own.access_token),
        body: Some(load::framed(&message)),
        trusted: None,
    })
}

/// So many tokens of a workload of the mesh.
pub(super) async fn tokens(fabric: &Fabric, count: u32) -> Result<Vec<String>> {
    let (client, request) = (TokenServiceClient::new(fabric.auth.channel()?), credentials(fabric)?);
    let mut issued = Vec::new();
    let mut tasks = JoinSet::new();
    for at in 0..count + ISSUED_AT_ONCE {
        if at >= ISSUED_AT_ONCE
            && let Some(answer) = tasks.join_next().await
        {
            issued.push(answer??);
        }
        if at < count {
            let (mut client, request) = (client.clone(), request.clone());
            tasks.spawn(async move { client.issue(request).await.map(|answer| answer.into_inner().access_token) });
        }
    }
    Ok(issued)
}

/// Those of a workload of the mesh.
pub(super) fn credentials(fabric: &Fabric) -> Result<IssueRequest> {
    let secret = std::fs::read_to_string(secret_file(fabric))
        .context("the fabric keeps its secrets elsewhere")?
        .trim()
        .to_owned();
    let grant = ClientCredentialsGrant {
        client_id: CLIENT.to_owned(),
        client_secret: secret,
        ..ClientCredentialsGrant::default()
    };
    Ok(IssueRequest { grant: Some(Grant::ClientCredentials(grant)) })
}

/// Where its secret stands.
pub(super) fn secret_file(fabric: &Fabric) -> PathBuf {
    fabric.directory().join("secret").join(CLIENT)
}
