//! Who may call what: every method that a port of the product serves, held against one table.

use crate::wire::{GrpcCall, frame};
use accord_fabric::{EDITOR, Fabric, STRANGER, http};
use anyhow::{Context, Result, bail};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};
use tokio_stream::StreamExt;
use tonic::{Code, transport::Endpoint};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// Who may call a method.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// Whoever reaches the port.
    Anybody,
    /// Whoever has a good token. What else it takes, the handler asks: the cache's own tests show that for namespaces, and those of
    /// auth for relations.
    Known,
    /// Every person, and no program.
    Person,
    /// Whoever holds this permission.
    Holder(&'static str),
}

use Who::{Anybody, Holder, Known, Person};

/// Methods, and who may call them.
type Rows = &'static [(&'static str, Who)];

/// What every port serves beside its own: probes and descriptors.
const EVERYWHERE: [(&str, Who); 4] = [
    ("grpc.health.v1.Health/Check", Anybody),
    ("grpc.health.v1.Health/Watch", Anybody),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Anybody),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Anybody),
];

/// The gateway, before the sample service.
const GATEWAY: Rows = &[
    ("catalog.v1.ProductService/CreateProduct", Holder("catalog.products.write")),
    ("catalog.v1.ProductService/GetProduct", Holder("catalog.products.read")),
    ("catalog.v1.ProductService/ListProducts", Holder("catalog.products.read")),
    ("catalog.v1.ProductService/UpdateProduct", Holder("catalog.products.write")),
    ("catalog.v1.ProductService/WatchProducts", Holder("catalog.products.read")),
];

const GATEWAY_ADMIN: Rows = &[
    ("accord.gateway.v1.ConsoleService/GetState", Holder("accord.gateway.console")),
    ("accord.gateway.v1.ConsoleService/ListCalls", Holder("accord.gateway.console")),
    ("accord.gateway.v1.ConsoleService/ListPolicies", Holder("accord.gateway.console")),
    ("accord.gateway.v1.ExplainService/Explain", Holder("accord.gateway.explain")),
    ("accord.gateway.v1.ExplainService/ListMethods", Holder("accord.gateway.explain")),
];

const AUTH: Rows = &[
    ("accord.auth.v1.AccessService/Check", Holder("accord.auth.check")),
    ("accord.auth.v1.AccessService/Explain", Holder("accord.auth.check")),
    ("accord.auth.v1.AccountService/ApproveDevice", Person),
    ("accord.auth.v1.AccountService/ChangePassword", Anybody),
    ("accord.auth.v1.AccountService/ClaimDevice", Person),
    ("accord.auth.v1.AccountService/ConfirmSecondFactor", Person),
    ("accord.auth.v1.AccountService/DenyDevice", Person),
    ("accord.auth.v1.AccountService/EndOwnSession", Person),
    ("accord.auth.v1.AccountService/EnrollSecondFactor", Person),
    ("accord.auth.v1.AccountService/ListOwnDevices", Person),
    ("accord.auth.v1.AccountService/ListOwnSessions", Person),
    ("accord.auth.v1.AccountService/RemoveSecondFactor", Person),
    ("accord.auth.v1.AccountService/ResetPassword", Anybody),
    ("accord.auth.v1.AdminService/AddApiKey", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/AddCertificateIdentity", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/AddClient", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/AddClientKey", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/AddLink", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/AddPrincipal", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/CancelDevice", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ChangeRoles", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/CreateResetCode", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/DropSecondFactor", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/EndSession", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/GetApiKey", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/GetCertificateIdentity", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/GetPolicy", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/GetPrincipal", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListApiKeys", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListAuditEntries", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListCertificateIdentities", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListClientKeys", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListDevices", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListLinks", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListPolicies", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListPrincipals", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListRoleHolders", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListRoles", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/ListSessions", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/RemoveClientKey", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/RemoveLink", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/RotateApiKey", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/RotateClient", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/RotateClientKeys", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/SetApiKeyStanding", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/SetCertificateIdentityStanding", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/SetStanding", Holder("accord.auth.admin")),
    ("accord.auth.v1.AdminService/WatchAuditEntries", Holder("accord.auth.admin")),
    ("accord.auth.v1.KeyService/ListKeys", Anybody),
    ("accord.auth.v1.KeyService/Retire", Holder("accord.auth.rotate")),
    ("accord.auth.v1.KeyService/Rotate", Holder("accord.auth.rotate")),
    ("accord.auth.v1.RelationService/ListRelations", Known),
    ("accord.auth.v1.RelationService/WriteRelations", Known),
    ("accord.auth.v1.RevocationService/Watch", Holder("accord.auth.watch")),
    ("accord.auth.v1.TokenService/Exchange", Holder("accord.auth.exchange")),
    ("accord.auth.v1.TokenService/Introspect", Holder("accord.auth.introspect")),
    ("accord.auth.v1.TokenService/Issue", Anybody),
    ("accord.auth.v1.TokenService/IssueFor", Holder("accord.auth.vouch")),
    ("accord.auth.v1.TokenService/Refresh", Anybody),
    // Of a token, by whoever has it. Of a subject it takes `accord.auth.revoke`, as auth's own tests show.
    ("accord.auth.v1.TokenService/Revoke", Anybody),
];

const CACHE: Rows = &[
    ("accord.cache.v1.CacheService/BatchGet", Known),
    ("accord.cache.v1.CacheService/Delete", Known),
    ("accord.cache.v1.CacheService/Get", Known),
    ("accord.cache.v1.CacheService/Invalidate", Known),
    ("accord.cache.v1.CacheService/Put", Known),
    ("accord.cache.v1.CacheService/Stats", Known),
    ("accord.cache.v1.CacheService/Touch", Known),
    ("accord.cache.v1.CacheService/Watch", Known),
    ("accord.cache.v1.IdempotencyService/Abandon", Holder("accord.cache.idempotency")),
    ("accord.cache.v1.IdempotencyService/Begin", Holder("accord.cache.idempotency")),
    ("accord.cache.v1.IdempotencyService/Complete", Holder("accord.cache.idempotency")),
    ("accord.cache.v1.InvalidationService/AwaitAcknowledgement", Holder("accord.cache.invalidate")),
    ("accord.cache.v1.InvalidationService/Invalidate", Holder("accord.cache.invalidate")),
    ("accord.cache.v1.ReadThroughService/Read", Holder("accord.cache.read")),
];

/// Plain HTTP on the admin ports, for scrapers and kubelets, which bring no credential.
const PATHS: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// A token of somebody who holds a permission.
const OPERATOR: &str = "operator";
const WORKLOAD: &str = "gateway";

#[tokio::test]
async fn every_served_method_is_open_to_whom_the_table_says_and_to_nobody_else() -> Result<()> {
    let fabric = Fabric::start().await?;
    fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin"]).await?;
    let tokens = Tokens::of(&fabric).await?;
    for (port, address, rows) in ports(&fabric) {
        let table: BTreeMap<_, _> = EVERYWHERE.into_iter().chain(rows.iter().copied()).collect();
        let served = served(address).await.with_context(|| port)?;
        let expected: BTreeSet<_> = table.keys().map(|name| (*name).to_owned()).collect();
        assert_eq!(served, expected, "what the {port} serves, and what the table says of it");
        for (method, who) in table {
            let [nobody, stranger, holder] = tokens.try_all(address, method, who).await?;
            let seen = format!("{method} on the {port}: {nobody:?} {stranger:?} {holder:?}");
            match who {
                Anybody => assert!(nobody.passed() && stranger.passed() && holder.passed(), "{seen}"),
                Known => {
                    assert_eq!(nobody.0, (Code::Unauthenticated, "CREDENTIAL_MISSING".to_owned()), "{seen}");
                    assert!(stranger.passed() && holder.passed(), "{seen}");
                }
                Person => {
                    assert_eq!(nobody.0, (Code::Unauthenticated, "CREDENTIAL_MISSING".to_owned()), "{seen}");
                    assert!(stranger.passed(), "{seen}");
                    assert_eq!(holder.0, (Code::PermissionDenied, "PRINCIPAL_KIND_REFUSED".to_owned()), "{seen}");
                }
                Holder(_) => {
                    assert_eq!(nobody.0, (Code::Unauthenticated, "CREDENTIAL_MISSING".to_owned()), "{seen}");
                    assert_eq!(stranger.0, (Code::PermissionDenied, "PERMISSION_MISSING".to_owned()), "{seen}");
                    assert!(holder.passed(), "{seen}");
                }
            }
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn method_that_a_port_does_not_list_is_unimplemented_there() -> Result<()> {
    let fabric = Fabric::start().await?;
    fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin"]).await?;
    let operator = fabric.token(OPERATOR).await?;
    let files = FileDescriptorSet::decode(accord_api::FILE_DESCRIPTOR_SET)?.file;
    let known: BTreeSet<_> = files.iter().flat_map(methods).collect();
    assert!(known.len() > 20, "{known:?}");
    for (port, address, rows) in ports(&fabric) {
        for method in known.iter().filter(|method| rows.iter().all(|(listed, _)| listed != method)) {
            let tried = attempt(address, method, Some(&operator)).await?;
            assert_eq!(tried.0.0, Code::Unimplemented, "{method} on the {port}: {tried:?}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn operators_paths_are_on_internal_ports_alone() -> Result<()> {
    let fabric = Fabric::start().await?;
    for server in [&fabric.gateway, &fabric.auth, &fabric.cache] {
        for path in PATHS {
            let get = |address| http::HttpCall::new(address, ::http::Method::GET, path).send();
            assert_eq!(get(server.admin).await?.status, 200, "{path}");
            let (outside, inside) = (get(server.listen).await?, get(server.admin).await?);
            assert_ne!(outside.text(), inside.text(), "{path}");
            assert!(!outside.text().contains("# TYPE"), "{path}");
        }
    }
    fabric.stop().await
}

/// Every port of the product, with the methods of its own.
fn ports(fabric: &Fabric) -> [(&'static str, SocketAddr, Rows); 6] {
    [
        ("gateway's port", fabric.gateway.listen, GATEWAY),
        ("gateway's admin port", fabric.gateway.admin, GATEWAY_ADMIN),
        ("auth's port", fabric.auth.listen, AUTH),
        ("auth's admin port", fabric.auth.admin, &[]),
        ("cache's port", fabric.cache.listen, CACHE),
        ("cache's admin port", fabric.cache.admin, &[]),
    ]
}

struct Tokens {
    stranger: String,
    editor: String,
    operator: String,
    workload: String,
}

impl Tokens {
    async fn of(fabric: &Fabric) -> Result<Self> {
        Ok(Self {
            stranger: fabric.token(STRANGER).await?,
            editor: fabric.token(EDITOR).await?,
            operator: fabric.token(OPERATOR).await?,
            workload: fabric.token(WORKLOAD).await?,
        })
    }

    /// Calls without a token, with one that lacks the permission, and with one that holds it.
    async fn try_all(&self, address: SocketAddr, method: &str, who: Who) -> Result<[Tried; 3]> {
        let holder = match who {
            Holder(permission) if permission.starts_with("catalog.") => &self.editor,
            Holder("accord.auth.exchange" | "accord.auth.vouch") | Person => &self.workload,
            Holder(_) | Anybody | Known => &self.operator,
        };
        Ok([
            attempt(address, method, None).await?,
            attempt(address, method, Some(&self.stranger)).await?,
            attempt(address, method, Some(holder)).await?,
        ])
    }
}

/// The code and reason with which a call ended.
#[derive(Debug)]
struct Tried((Code, String));

impl Tried {
    /// Whether the call got past whoever guards the method. The messages are empty, so that handlers may well refuse them.
    fn passed(&self) -> bool {
        let refusals = ["CREDENTIAL_MISSING", "PERMISSION_MISSING", "METHOD_UNDECLARED", "PRINCIPAL_KIND_REFUSED"];
        self.0.0 != Code::Unimplemented && !refusals.contains(&self.0.1.as_str())
    }
}

/// Calls with an empty message. Of a stream that stays open only the head is awaited: a refusal is all in it.
async fn attempt(address: SocketAddr, method: &str, token: Option<&str>) -> Result<Tried> {
    let call = GrpcCall::to(address, &format!("/{method}")).body(frame(0, b""));
    let call = token.into_iter().fold(call, |call, token| call.header("authorization", &format!("Bearer {token}")));
    let stays_open = method.rsplit_once('/').is_some_and(|(_, name)| name.starts_with("Watch"));
    let answer = if stays_open { call.send_for_head().await } else { call.send().await };
    Ok(Tried(answer.with_context(|| method.to_owned())?.refusal()))
}

/// The methods that a port serves, by server reflection.
async fn served(address: SocketAddr) -> Result<BTreeSet<String>> {
    let MessageResponse::ListServicesResponse(list) = ask(address, MessageRequest::ListServices(String::new())).await?
    else {
        bail!("services are not listed");
    };
    let mut served = BTreeSet::new();
    for service in list.service {
        let question = MessageRequest::FileContainingSymbol(service.name.clone());
        let MessageResponse::FileDescriptorResponse(files) = ask(address, question).await? else {
            bail!("{} is listed, but not described", service.name);
        };
        for file in files.file_descriptor_proto {
            let all = methods(&FileDescriptorProto::decode(&*file)?);
            served.extend(all.into_iter().filter(|name| name.starts_with(&format!("{}/", service.name))));
        }
    }
    Ok(served)
}

async fn ask(address: SocketAddr, question: MessageRequest) -> Result<MessageResponse> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await?;
    let answer = answers.into_inner().next().await.context("no answer")??;
    answer.message_response.context("an empty answer")
}

/// The methods of a file, `pkg.Service/Method`.
fn methods(file: &FileDescriptorProto) -> Vec<String> {
    let of_service = |service: &prost_types::ServiceDescriptorProto| {
        let service_name = format!("{}.{}", file.package(), service.name());
        service.method.iter().map(|method| format!("{service_name}/{}", method.name())).collect::<Vec<_>>()
    };
    file.service.iter().flat_map(of_service).collect()
}
