//! What auth is asked for while it is killed, by whom, and what has to hold of the answer.

use std::collections::VecDeque;

use accord_api::accord::auth::v1::{
    AddApiKeyRequest, AddClientRequest, ApiKeyGrant, ClientCredentialsGrant, IntrospectRequest, IssueRequest,
    ListKeysRequest, PasswordGrant, RefreshRequest, RetireRequest, RevokeRequest, RotateClientRequest, RotateRequest,
    admin_service_client::AdminServiceClient, issue_request::Grant, key_service_client::KeyServiceClient,
    revoke_request::Target, token_service_client::TokenServiceClient,
};
use accord_fabric::Bearer;
use anyhow::{Context, Result, ensure};
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub(super) const PERSON: &str = "renee";
pub(super) const PASSWORD: &str = "a password for renewals";
pub(super) const PROBER: &str = "prober";

/// How many of the newest things of a kind are held to after each kill.
const NEWEST: usize = 3;

type Authorized = InterceptedService<Channel, Bearer>;

/// What auth is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Issue,
    Refresh,
    RevokeToken,
    RevokeLogin,
    AddClient,
    RotateClient,
    AddApiKey,
    // Before keys are rotated: then it is the same each time which one is let sign on.
    RetireKey,
    RotateKey,
}

impl Operation {
    pub(super) const ALL: [Self; 9] = [
        Self::Issue,
        Self::Refresh,
        Self::RevokeToken,
        Self::RevokeLogin,
        Self::AddClient,
        Self::RotateClient,
        Self::AddApiKey,
        Self::RetireKey,
        Self::RotateKey,
    ];

    /// As the table of outcomes has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Refresh => "refresh",
            Self::RevokeToken => "revoke a token",
            Self::RevokeLogin => "revoke a login",
            Self::AddClient => "add a client",
            Self::RotateClient => "rotate a client",
            Self::AddApiKey => "add an API key",
            Self::RetireKey => "retire a key",
            Self::RotateKey => "rotate keys",
        }
    }
}

/// One request, which can be sent again as it is.
#[derive(Clone)]
pub(super) enum Request {
    Issue,
    Refresh(Login),
    /// The token that is sent, and the access token that ends by it.
    Revoke(String, String),
    AddClient(AddClientRequest),
    RotateClient(RotateClientRequest),
    AddApiKey(AddApiKeyRequest),
    RetireKey(RetireRequest),
    RotateKey(RotateRequest),
}

/// The tokens of a person.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) access: String,
    pub(super) refresh: String,
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Login(Login),
    /// A secret, the text of an API key, or the name of a key; empty where there is nothing to say.
    Text(String),
}

impl Answer {
    pub(super) fn refresh_token(&self) -> Option<&str> {
        match self {
            Self::Login(login) => Some(&login.refresh),
            Self::Text(_) => None,
        }
    }
}

/// The newest things of a kind that were acknowledged.
#[derive(Default)]
struct Newest<T>(VecDeque<T>);

impl<T> Newest<T> {
    fn push(&mut self, thing: T) {
        self.0.push_back(thing);
        if self.0.len() > NEWEST {
            self.0.pop_front();
        }
    }
}

/// What callers were told.
#[derive(Default)]
pub(super) struct Acknowledged {
    /// Requests so far, for names of what they make.
    requests: usize,
    login: Login,
    clients: Newest<(String, String)>,
    api_keys: Newest<String>,
    ended: Newest<String>,
    published: Newest<String>,
    retired: Newest<String>,
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Callers {
    channel: Channel,
    operator: Bearer,
    secret: String,
}

impl Callers {
    pub(super) fn new(channel: Channel, operator: Bearer, secret: String) -> Self {
        Self { channel, operator, secret }
    }

    fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    fn admin(&self) -> AdminServiceClient<Authorized> {
        AdminServiceClient::with_interceptor(self.channel.clone(), self.operator.clone())
    }

    fn keys(&self) -> KeyServiceClient<Authorized> {
        KeyServiceClient::with_interceptor(self.channel.clone(), self.operator.clone())
    }

    /// Sends a request, once.
    pub(super) async fn ask(self, request: Request) -> Result<Answer, Status> {
        Ok(match request {
            Request::Issue => Answer::Login(self.log_in().await?),
            Request::Refresh(Login { refresh: refresh_token, .. }) => {
                let renewed = self.tokens().refresh(RefreshRequest { refresh_token }).await?.into_inner();
                Answer::Login(Login { access: renewed.access_token, refresh: renewed.refresh_token })
            }
            Request::Revoke(token, _) => {
                self.tokens().revoke(RevokeRequest { target: Some(Target::Token(token)) }).await?;
                Answer::Text(String::new())
            }
            Request::AddClient(request) => {
                Answer::Text(self.admin().add_client(request).await?.into_inner().client_secret)
            }
            Request::RotateClient(request) => {
                Answer::Text(self.admin().rotate_client(request).await?.into_inner().client_secret)
            }
            Request::AddApiKey(request) => Answer::Text(self.admin().add_api_key(request).await?.into_inner().key),
            Request::RetireKey(request) => Answer::Text(self.keys().retire(request).await?.into_inner().signing_kid),
            Request::RotateKey(request) => {
                let key = self.keys().rotate(request).await?.into_inner().key;
                Answer::Text(key.unwrap_or_default().kid)
            }
        })
    }

    /// An answer of auth's that takes no statement. What it had to say before has come by then, on the same connection.
    pub(super) async fn hear(&self) -> Result<()> {
        HealthClient::new(self.channel.clone()).check(HealthCheckRequest::default()).await?;
        Ok(())
    }

    async fn log_in(&self) -> Result<Login, Status> {
        let grant = Grant::Password(PasswordGrant {
            name: PERSON.to_owned(),
            password: PASSWORD.to_owned(),
            ..PasswordGrant::default()
        });
        let login = self.tokens().issue(IssueRequest { grant: Some(grant) }).await?.into_inner();
        Ok(Login { access: login.access_token, refresh: login.refresh_token })
    }

    async fn log_in_client(&self, client_id: &str, client_secret: &str) -> Result<String, Status> {
        let (client_id, client_secret) = (client_id.to_owned(), client_secret.to_owned());
        let grant = ClientCredentialsGrant { client_id, client_secret, ..ClientCredentialsGrant::default() };
        let grant = Some(Grant::ClientCredentials(grant));
        Ok(self.tokens().issue(IssueRequest { grant }).await?.into_inner().access_token)
    }

    async fn log_in_api_key(&self, key: &str) -> Result<String, Status> {
        let grant = Some(Grant::ApiKey(ApiKeyGrant { key: key.to_owned() }));
        Ok(self.tokens().issue(IssueRequest { grant }).await?.into_inner().access_token)
    }

    /// Whether auth calls a token good.
    pub(super) async fn is_active(&self, token: &str) -> Result<bool> {
        let bearer = Bearer::new(&self.log_in_client(PROBER, &self.secret).await?)?;
        let mut tokens = TokenServiceClient::with_interceptor(self.channel.clone(), bearer);
        Ok(tokens.introspect(IntrospectRequest { token: token.to_owned() }).await?.into_inner().active)
    }

    async fn published(&self) -> Result<Vec<String>> {
        let published = self.keys().list_keys(ListKeysRequest {}).await?.into_inner().keys;
        Ok(published.into_iter().map(|key| key.kid).collect())
    }
}

impl Acknowledged {
    /// The next request of a kind, and what it takes that there is.
    pub(super) async fn prepare(&mut self, operation: Operation, callers: &Callers) -> Result<Request> {
        self.requests += 1;
        let idempotency_key = format!("request-{}", self.requests);
        Ok(match operation {
            Operation::Issue => Request::Issue,
            Operation::Refresh => {
                if self.login.refresh.is_empty() {
                    self.login = callers.log_in().await?;
                }
                Request::Refresh(self.login.clone())
            }
            Operation::RevokeToken => {
                let token = callers.log_in_client(PROBER, &callers.secret).await?;
                Request::Revoke(token.clone(), token)
            }
            Operation::RevokeLogin => {
                let Login { access, refresh } = callers.log_in().await?;
                Request::Revoke(refresh, access)
            }
            Operation::AddClient => {
                let client_id = format!("client-{}", self.requests);
                Request::AddClient(AddClientRequest { client_id, idempotency_key, ..AddClientRequest::default() })
            }
            Operation::RotateClient => {
                let client_id = format!("client-{}", self.requests);
                let add = AddClientRequest { client_id: client_id.clone(), ..AddClientRequest::default() };
                callers.admin().add_client(add).await?;
                let rotate = RotateClientRequest { client_id, idempotency_key, ..RotateClientRequest::default() };
                Request::RotateClient(rotate)
            }
            Operation::AddApiKey => {
                let subject = PERSON.to_owned();
                Request::AddApiKey(AddApiKeyRequest { subject, idempotency_key, ..AddApiKeyRequest::default() })
            }
            Operation::RetireKey => {
                let key = callers.keys().rotate(RotateRequest::default()).await?.into_inner().key;
                Request::RetireKey(RetireRequest { kid: key.context("a key")?.kid, idempotency_key })
            }
            Operation::RotateKey => Request::RotateKey(RotateRequest { idempotency_key }),
        })
    }

    /// Takes note of what was acknowledged.
    pub(super) fn record(&mut self, request: Request, answer: Answer) -> Result<()> {
        match (request, answer) {
            (Request::Issue, Answer::Login(_)) => {}
            (Request::Refresh(_), Answer::Login(login)) => self.login = login,
            (Request::Revoke(_, ends), _) => self.ended.push(ends),
            (
                Request::AddClient(AddClientRequest { client_id, .. })
                | Request::RotateClient(RotateClientRequest { client_id, .. }),
                Answer::Text(secret),
            ) => self.clients.push((client_id, secret)),
            (Request::AddApiKey(_), Answer::Text(key)) => self.api_keys.push(key),
            (Request::RetireKey(request), _) => self.retired.push(request.kid),
            (Request::RotateKey(_), Answer::Text(kid)) => self.published.push(kid),
            (_, answer) => anyhow::bail!("an answer of another kind: {answer:?}"),
        }
        Ok(())
    }

    /// The login has ended, by a refresh token that was used before.
    pub(super) fn end_login(&mut self) {
        self.ended.push(std::mem::take(&mut self.login).access);
    }

    /// Holds auth to what callers were told.
    pub(super) async fn verify(&self, callers: &Callers) -> Result<()> {
        let Self { login, clients, api_keys, ended, published, retired, .. } = self;
        if !login.access.is_empty() {
            ensure!(callers.is_active(&login.access).await?, "a token that nobody revoked was lost");
        }
        for (id, secret) in &clients.0 {
            callers.log_in_client(id, secret).await.with_context(|| format!("{id} can't log in"))?;
        }
        for key in &api_keys.0 {
            callers.log_in_api_key(key).await.context("an API key that was acknowledged lets nobody in")?;
        }
        for token in &ended.0 {
            ensure!(!callers.is_active(token).await?, "a token that was revoked is good again");
        }
        let keys = callers.published().await?;
        ensure!(published.0.iter().all(|kid| keys.contains(kid)), "a key that was published is not");
        ensure!(!retired.0.iter().any(|kid| keys.contains(kid)), "a key that was withdrawn is published");
        Ok(())
    }
}
