//! What proxies other than the gateway are answered.

use accord_api::{
    FILE_DESCRIPTOR_SET,
    envoy::{
        config::core::v3::{Address, SocketAddress},
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
            attribute_context::{HttpRequest, Peer, Request as ProxiedRequest},
            authorization_client::AuthorizationClient,
            check_response::HttpResponse,
        },
    },
};
use accord_auth::{
    config::{ContractConfig, ExtAuthzConfig, ObjectConfig},
    ext_authz,
};
use accord_runtime::{health::Health, server::ListenConfig, server::Listener, shutdown::Shutdown};
use accord_token::{Type, verify};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const GET_PRODUCT: &str = "/catalog.v1.ProductService/GetProduct";
const UPDATE_PRODUCT: &str = "/catalog.v1.ProductService/UpdateProduct";
const CREATE_PRODUCT: &str = "/catalog.v1.ProductService/CreateProduct";

/// Auth with the contract of the sample's catalog, and where proxies ask it.
struct Asked {
    server: Server,
    address: SocketAddr,
    _shutdown: Shutdown,
}

async fn start(database: &Database) -> Asked {
    let descriptors = database.directory.path().join("catalog.binpb");
    std::fs::write(&descriptors, FILE_DESCRIPTOR_SET).unwrap();
    let services = vec!["catalog.v1.ProductService".to_owned()];
    let overlay = database.directory.path().join("overlay.toml");
    let rules = "[[rule]]\nselector = 'catalog.v1.ProductService/ListProducts'\n\
                 policy = { access = { public = true } }\n\
                 [[rule]]\nselector = 'catalog.v1.ProductService/UpdateProduct'\n\
                 policy = { access = { resource = 'Product/{product.id}' } }\n";
    std::fs::write(&overlay, rules).unwrap();
    let catalog = ContractConfig { name: "catalog".to_owned(), descriptors, services };
    let writers = database.directory.path().join("writers.cedar");
    let text = r#"permit(principal in Accord::Role::"catalog-writer", action == Accord::Action::"catalog.products.write", resource);"#;
    std::fs::write(&writers, text).unwrap();
    let server = Server::start(database, |config| {
        config.policy.files.push(writers);
        config.upstream = vec![catalog];
        config.policy.overlays = vec![overlay];
        config.policy.object = vec![ObjectConfig {
            name: "Product".to_owned(),
            relations: vec!["owner".to_owned()],
            ..ObjectConfig::default()
        }];
    })
    .await;
    let (shutdown, health) = (Shutdown::new(Duration::from_secs(1)), Health::new());
    let listen = ListenConfig { address: "127.0.0.1:0".parse().unwrap(), ..ListenConfig::default() };
    let listener = Listener::bind(&listen).await.unwrap();
    let address = listener.address();
    let service = ext_authz::server(&ExtAuthzConfig::default(), &server.auth, &health).unwrap();
    tokio::spawn(listener.serve(service, shutdown.clone()));
    Asked { server, address, _shutdown: shutdown }
}

impl Asked {
    /// Asks as Envoy does about a request for this path with this credential, on a route of which its configuration says this.
    async fn check(&self, path: &str, token: Option<&str>, said: &[(&str, &str)]) -> CheckResponse {
        let token = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        let http =
            HttpRequest { path: path.to_owned(), headers: token.into_iter().collect(), ..HttpRequest::default() };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.ask(AttributeContext {
            request: Some(ProxiedRequest { http: Some(http) }),
            context_extensions: said.iter().map(owned).collect(),
            ..AttributeContext::default()
        })
        .await
    }

    async fn ask(&self, attributes: AttributeContext) -> CheckResponse {
        let channel = Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy();
        let question = CheckRequest { attributes: Some(attributes) };
        AuthorizationClient::new(channel).check(question).await.unwrap().into_inner()
    }

    /// The status line, headers and body of the answer about a request with this credential.
    async fn http(&self, query: &str, token: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /ext_authz?{query} HTTP/1.1\r\nhost: auth\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// What becomes of a request that passes.
#[track_caller]
fn passed(response: CheckResponse) -> OkHttpResponse {
    match response {
        CheckResponse { status: Some(status), http_response: Some(HttpResponse::OkResponse(ok)) }
            if status.code == 0 =>
        {
            ok
        }
        other => panic!("this should have passed: {other:?}"),
    }
}

/// The status and headers with which a request is refused.
#[track_caller]
fn denied(response: CheckResponse) -> (i32, DeniedHttpResponse) {
    match response {
        CheckResponse { status: Some(status), http_response: Some(HttpResponse::DeniedResponse(denied)) }
            if status.code != 0 =>
        {
            (denied.status.map_or(0, |status| status.code), denied)
        }
        other => panic!("this should have been denied: {other:?}"),
    }
}

fn denied_header(denied: &DeniedHttpResponse, name: &str) -> Option<String> {
    let headers = denied.headers.iter().filter_map(|option| option.header.as_ref());
    headers.filter(|header| header.key == name).map(|header| header.value.clone()).next()
}

fn set(ok: &OkHttpResponse, name: &str) -> Option<String> {
    let headers = ok.headers.iter().filter_map(|option| option.header.as_ref());
    headers.filter(|header| header.key == name).map(|header| header.value.clone()).next()
}

pub(crate) async fn request_with_the_permission_passes_with_passport_and_identity(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let ok = passed(asked.check(&format!("{GET_PRODUCT}?x=y"), Some(&token), &[]).await);
    let identity = ["x-accord-subject", "x-accord-kind", "x-accord-tenant"].map(|name| set(&ok, name).unwrap());
    assert_eq!(identity, ["ada", "user", "north"]);
    assert!(ok.headers_to_remove.contains(&"authorization".to_owned()), "{ok:?}");
}

pub(crate) async fn passport_of_an_admitted_request_names_the_proxy_as_its_actor(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let ok = passed(asked.check(GET_PRODUCT, Some(&token), &[]).await);
    let passport = set(&ok, "x-accord-passport").unwrap();
    let state = asked.server.auth.state.current().await.unwrap();
    let verified = verify::signed(&passport, Type::Passport, &state.snapshot.keys).unwrap();
    assert_eq!((&*verified.claims.aud, verified.claims.actors().collect::<Vec<_>>()), ("catalog", vec!["ext-authz"]));
}

pub(crate) async fn request_without_a_credential_is_unauthorized_with_a_challenge(database: Database) {
    let (status, denied) = denied(start(&database).await.check(GET_PRODUCT, None, &[]).await);
    assert_eq!((status, denied_header(&denied, "www-authenticate")), (401, Some("Bearer".to_owned())));
    assert_eq!(denied_header(&denied, "x-accord-reason"), Some("CREDENTIAL_MISSING".to_owned()));
}

pub(crate) async fn request_without_the_permission_is_forbidden(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let (status, denied) = denied(asked.check(CREATE_PRODUCT, Some(&token), &[]).await);
    assert_eq!((status, denied_header(&denied, "x-accord-reason")), (403, Some("PERMISSION_MISSING".to_owned())));
}

pub(crate) async fn request_about_an_object_that_no_proxy_shows_is_forbidden(database: Database) {
    let asked = start(&database).await;
    admin(&asked.server.auth.store).grant_role("ada", "catalog-writer").await.unwrap();
    let token = asked.server.token_of("ada").await;
    let (status, denied) = denied(asked.check(UPDATE_PRODUCT, Some(&token), &[]).await);
    assert_eq!((status, denied_header(&denied, "x-accord-reason")), (403, Some("RESOURCE_MISSING".to_owned())));
}

pub(crate) async fn request_with_a_passport_as_its_credential_is_unauthorized(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let passport = set(&passed(asked.check(GET_PRODUCT, Some(&token), &[]).await), "x-accord-passport").unwrap();
    assert_eq!(denied(asked.check(GET_PRODUCT, Some(&passport), &[]).await).0, 401);
}

/// Asks with a key in the header of its own.
async fn check_key(asked: &Asked, path: &str, key: &str) -> CheckResponse {
    check_key_from(asked, "", path, key).await
}

/// The same of a caller with this address.
async fn check_key_from(asked: &Asked, address: &str, path: &str, key: &str) -> CheckResponse {
    let headers = [("x-api-key".to_owned(), key.to_owned())].into();
    let http = HttpRequest { path: path.to_owned(), headers, ..HttpRequest::default() };
    let request = Some(ProxiedRequest { http: Some(http) });
    let socket_address = Some(SocketAddress { address: address.to_owned(), port_value: 0 });
    let source = Some(Peer { address: Some(Address { socket_address }) });
    asked.ask(AttributeContext { request, source, ..AttributeContext::default() }).await
}

pub(crate) async fn request_with_an_api_key_passes_as_its_subject_within_its_scope(database: Database) {
    let asked = start(&database).await;
    let (_, key) = api_keys::add(&asked.server, "catalog.products.read", None).await;
    admin(&asked.server.auth.store).grant_role("ada", "catalog-writer").await.unwrap();
    for ok in [
        passed(check_key(&asked, GET_PRODUCT, &key).await),
        passed(check_key(&asked, GET_PRODUCT, &key).await),
        passed(asked.check(GET_PRODUCT, Some(&key), &[]).await),
    ] {
        assert_eq!(set(&ok, "x-accord-subject").as_deref(), Some("ada"));
        assert!(ok.headers_to_remove.contains(&"x-api-key".to_owned()), "{ok:?}");
    }
    let (status, denied) = denied(check_key(&asked, CREATE_PRODUCT, &key).await);
    assert_eq!((status, denied_header(&denied, "x-accord-reason")), (403, Some("PERMISSION_MISSING".to_owned())));
}

pub(crate) async fn api_key_that_was_disabled_is_unauthorized_at_once(database: Database) {
    let asked = start(&database).await;
    let (key, text) = api_keys::add(&asked.server, "", None).await;
    passed(check_key(&asked, GET_PRODUCT, &text).await);
    admin(&asked.server.auth.store).disable_api_key(&key.id).await.unwrap();
    let (status, denied) = denied(check_key(&asked, GET_PRODUCT, &text).await);
    assert_eq!((status, denied_header(&denied, "x-accord-reason")), (401, Some("CREDENTIAL_INVALID".to_owned())));
}

pub(crate) async fn wrong_api_key_is_unauthorized_and_throttled_by_its_address(database: Database) {
    let asked = start(&database).await;
    let (_, right) = api_keys::add(&asked.server, "", None).await;
    let wrong = format!("{}{}", &right[..20], "A".repeat(43));
    assert_eq!(denied(check_key(&asked, GET_PRODUCT, &wrong).await).0, 401);
    assert_eq!(denied(check_key(&asked, GET_PRODUCT, "no key").await).0, 401);
    let address = "192.0.2.7";
    while asked.server.auth.key_throttle.count_attempt(address.parse().unwrap()).is_ok() {}
    assert_eq!(denied(check_key_from(&asked, address, GET_PRODUCT, &right).await).0, 429, "it waits");
    let by_http = asked.http("permission=catalog.products.read&upstream=catalog", &right).await;
    assert!(by_http.starts_with("HTTP/1.1 200 "), "nobody is told apart there: {by_http}");
    passed(check_key_from(&asked, address, GET_PRODUCT, &right).await);
}

pub(crate) async fn revoked_token_is_unauthorized(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    admin(&asked.server.auth.store).revoke_subject("ada").await.unwrap();
    let (status, denied) = denied(asked.check(GET_PRODUCT, Some(&token), &[]).await);
    assert_eq!((status, denied_header(&denied, "x-accord-reason")), (401, Some("TOKEN_REVOKED".to_owned())));
}

pub(crate) async fn unknown_method_is_not_found(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    for path in ["/catalog.v1.ProductService/Nothing", "/", "", "/catalog.v1.ProductService%2FGetProduct"] {
        assert_eq!(denied(asked.check(path, Some(&token), &[]).await).0, 404, "{path}");
    }
}

pub(crate) async fn question_without_anything_in_it_is_denied(database: Database) {
    denied(start(&database).await.ask(AttributeContext::default()).await);
}

pub(crate) async fn permission_of_the_route_is_asked_for_in_place_of_the_contracts(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let said = |permission| [("permission", permission), ("upstream", "catalog")];
    passed(asked.check("/v1/anything", Some(&token), &said("catalog.products.read")).await);
    assert_eq!(denied(asked.check(GET_PRODUCT, Some(&token), &said("catalog.products.write")).await).0, 403);
}

pub(crate) async fn permission_of_the_route_without_an_upstream_is_denied(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let said = [("permission", "catalog.products.read")];
    assert_eq!(denied(asked.check(GET_PRODUCT, Some(&token), &said).await).0, 403);
}

pub(crate) async fn public_method_passes_without_a_credential_and_loses_forged_identities(database: Database) {
    let ok = passed(start(&database).await.check("/catalog.v1.ProductService/ListProducts", None, &[]).await);
    assert_eq!(ok.headers, []);
    for forged in ["x-accord-passport", "x-accord-subject", "x-accord-kind", "x-accord-tenant", "authorization"] {
        assert!(ok.headers_to_remove.contains(&forged.to_owned()), "{forged}");
    }
}

pub(crate) async fn public_method_with_a_bad_credential_is_unauthorized(database: Database) {
    let asked = start(&database).await;
    assert_eq!(denied(asked.check("/catalog.v1.ProductService/ListProducts", Some("a.b.c"), &[]).await).0, 401);
}

pub(crate) async fn store_that_is_down_denies_requests_of_proxies(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    asked.server.auth.store.close().await;
    let (status, denied) = denied(asked.check(GET_PRODUCT, Some(&token), &[]).await);
    assert_eq!((status, denied_header(&denied, "x-accord-reason")), (503, Some("AUTH_UNAVAILABLE".to_owned())));
}

pub(crate) async fn http_question_is_answered_with_status_and_headers(database: Database) {
    let asked = start(&database).await;
    let token = asked.server.token_of("ada").await;
    let read = asked.http("permission=catalog.products.read&upstream=catalog", &token).await;
    assert!(read.starts_with("HTTP/1.1 200 ") && read.contains("\r\nx-accord-subject: ada\r\n"), "{read}");
    for (query, token, status) in [
        ("permission=catalog.products.write&upstream=catalog", &*token, "403"),
        ("permission=catalog.products.read&upstream=catalog", "a.b.c", "401"),
        ("permission=catalog.products.read&permission=&upstream=catalog", &*token, "403"),
        ("", &*token, "404"),
    ] {
        let answer = asked.http(query, token).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{query}: {answer}");
    }
}
