//! Auth, killed in the middle of what it does: what it acknowledged is there, and what it did not can be asked for again.
//!
//! Four callers add clients, revoke tokens, renew a login and rotate keys, all the time. Auth is killed at some moment of that, started
//! again, and held to everything that any of them was told. `cargo xtask crashes` does it many more times.

use accord_api::accord::auth::v1::{
    AddClientRequest, ClientCredentialsGrant, IntrospectRequest, IssueRequest, ListKeysRequest, PasswordGrant,
    RefreshRequest, RevokeRequest, RotateRequest, admin_service_client::AdminServiceClient, issue_request::Grant,
    key_service_client::KeyServiceClient, revoke_request::Target, token_service_client::TokenServiceClient,
};
use accord_fabric::{Bearer, Fabric, Part};
use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    env, fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use toml::toml;
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// Kills in an ordinary run of the tests.
const KILLS: u64 = 6;
/// The most answers between two kills.
const MOST: u64 = 12;
/// How long they may take on a loaded machine.
const BOUND: Duration = Duration::from_mins(1);
const OPERATOR: &str = "operator";
const PERSON: &str = "renee";
const PASSWORD: &str = "a password for renewals";

/// How many of the newest things of a kind are asked for after a kill.
const NEWEST: usize = 15;

type Authorized = InterceptedService<Channel, Bearer>;

/// What callers were told, and what they asked for last.
#[derive(Default)]
struct Told {
    /// Ids and secrets of clients that were added.
    clients: Vec<(String, String)>,
    /// Requests to add a client so far: the last one may have no answer.
    asked: u64,
    /// Tokens that were revoked.
    revoked: Vec<String>,
    /// Keys that were published.
    keys: Vec<String>,
    /// The newest refresh token that came.
    refresh: String,
    /// Answers of each kind: added, revoked, renewed, rotated.
    answers: [u64; 4],
}

#[derive(Clone)]
struct Callers {
    admin: AdminServiceClient<Authorized>,
    keys: KeyServiceClient<Authorized>,
    tokens: TokenServiceClient<Channel>,
    told: Arc<Mutex<Told>>,
    /// Counts all answers.
    answered: watch::Sender<u64>,
}

impl Callers {
    async fn start(fabric: &Fabric) -> Result<Self> {
        let file = fabric.directory().join("password");
        fs::write(&file, PASSWORD)?;
        fabric.manage(&["principal", "add", OPERATOR, "--role", "accord-admin"]).await?;
        let password = file.to_str().context("a path")?;
        fabric.manage(&["principal", "add", PERSON, "--password-file", password]).await?;
        let channel = Endpoint::from_shared(fabric.auth.url())?.connect_lazy();
        let bearer = Bearer::new(&fabric.token(OPERATOR).await?)?;
        let mut tokens = TokenServiceClient::new(channel.clone());
        let grant = Grant::Password(PasswordGrant {
            name: PERSON.to_owned(),
            password: PASSWORD.to_owned(),
            ..PasswordGrant::default()
        });
        let login = tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner();
        let told = Told { refresh: login.refresh_token, ..Told::default() };
        let callers = Self {
            admin: AdminServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            keys: KeyServiceClient::with_interceptor(channel, bearer),
            tokens,
            told: Arc::new(Mutex::new(told)),
            answered: watch::Sender::new(0),
        };
        // One client from the start, in whose name tokens are issued and introspected.
        callers.clone().add_client().await?;
        Ok(callers)
    }

    /// Takes note of an answer of this kind.
    fn answer(&self, kind: usize, of: impl FnOnce(&mut Told)) {
        self.told(|told| {
            of(told);
            told.answers[kind] += 1;
        });
        self.answered.send_modify(|answered| *answered += 1);
    }

    fn told<T>(&self, of: impl FnOnce(&mut Told) -> T) -> T {
        of(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds the client that was asked for last and has no answer, or else the next one.
    async fn add_client(mut self) -> Result<(), Status> {
        let number = self.told(|told| {
            told.asked = told.clients.len() as u64 + 1;
            told.asked
        });
        let id = format!("client-{number}");
        let request = AddClientRequest {
            client_id: id.clone(),
            idempotency_key: format!("add-{number}"),
            ..AddClientRequest::default()
        };
        let secret = self.admin.add_client(request).await?.into_inner().client_secret;
        self.answer(0, |told| told.clients.push((id, secret)));
        Ok(())
    }

    async fn log_in(&mut self, (client_id, client_secret): (String, String)) -> Result<String, Status> {
        let grant = Grant::ClientCredentials(ClientCredentialsGrant {
            client_id,
            client_secret,
            ..ClientCredentialsGrant::default()
        });
        Ok(self.tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner().access_token)
    }

    async fn revoke_token(mut self) -> Result<(), Status> {
        let client = self.told(|told| told.clients[0].clone());
        let token = self.log_in(client).await?;
        self.tokens.revoke(RevokeRequest { target: Some(Target::Token(token.clone())) }).await?;
        self.answer(1, |told| told.revoked.push(token));
        Ok(())
    }

    async fn renew(mut self) -> Result<(), Status> {
        let refresh_token = self.told(|told| told.refresh.clone());
        let renewed = self.tokens.refresh(RefreshRequest { refresh_token }).await?.into_inner();
        self.answer(2, |told| told.refresh = renewed.refresh_token);
        Ok(())
    }

    async fn rotate_key(mut self) -> Result<(), Status> {
        let key = self.keys.rotate(RotateRequest::default()).await?.into_inner().key.unwrap_or_default();
        self.answer(3, |told| told.keys.push(key.kid));
        Ok(())
    }

    /// Everything at once, until auth is gone.
    fn go_on(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let callers = self.clone();
        tasks.spawn(async move { while callers.clone().add_client().await.is_ok() {} });
        let callers = self.clone();
        tasks.spawn(async move { while callers.clone().revoke_token().await.is_ok() {} });
        let callers = self.clone();
        tasks.spawn(async move { while callers.clone().renew().await.is_ok() {} });
        // A few rotations are enough: what is published stays so for a day.
        let callers = self.clone();
        tasks.spawn(async move {
            for _ in 0..2 {
                if callers.clone().rotate_key().await.is_err() {
                    break;
                }
            }
        });
        tasks
    }

    /// Holds auth to what callers were told, and asks again for what had no answer.
    async fn hold(&mut self, fabric: &Fabric) -> Result<()> {
        let (clients, revoked, keys) = self.told(|told| {
            let newest = |length: usize| length.saturating_sub(NEWEST);
            let clients = told.clients[newest(told.clients.len())..].to_vec();
            (clients, told.revoked[newest(told.revoked.len())..].to_vec(), told.keys.clone())
        });
        for client in clients {
            let id = client.0.clone();
            self.log_in(client).await.with_context(|| format!("{id} was added, and can't log in"))?;
        }
        let client = self.told(|told| told.clients[0].clone());
        let bearer = Bearer::new(&self.log_in(client).await?)?;
        let channel = Endpoint::from_shared(fabric.auth.url())?.connect_lazy();
        let mut tokens = TokenServiceClient::with_interceptor(channel, bearer);
        for token in revoked {
            let active = tokens.introspect(IntrospectRequest { token }).await?.into_inner().active;
            ensure!(!active, "a token that was revoked is good again");
        }
        let published = self.keys.list_keys(ListKeysRequest {}).await?.into_inner().keys;
        for kid in keys {
            ensure!(published.iter().any(|key| key.kid == kid), "the key {kid} was published, and is not");
        }
        // Whether these happened before the kill or not, they come out the same.
        self.clone().renew().await.context("the login that was under renewal can't be renewed")?;
        self.clone().add_client().await.context("the client that was being added can't be added")?;
        let (id, secret) = self.told(|told| told.clients.last().cloned()).context("a client")?;
        self.log_in((id, secret)).await.context("the client that was being added has another secret")?;
        fabric.manage(&["audit", "verify"]).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_killed_while_it_works_keeps_what_it_acknowledged() -> Result<()> {
    let kills = env::var("ACCORD_CRASHES").ok().map_or(Ok(KILLS), |kills| kills.parse())?;
    let mut random = SmallRng::seed_from_u64(kills);
    let settings = toml! { tokens = { refresh_reuse_interval = "5s" } };
    let mut fabric = Fabric::builder()?.settings(Part::Auth, settings).start().await?;
    let mut callers = Callers::start(&fabric).await?;
    for kill in 1..=kills {
        let mut tasks = callers.go_on();
        // Right behind an answer, while the other callers wait for theirs.
        let last = *callers.answered.borrow() + random.random_range(1..=MOST);
        let mut answered = callers.answered.subscribe();
        timeout(BOUND, answered.wait_for(|answered| *answered >= last)).await.context("auth answers no more")??;
        fabric.auth.process.kill()?;
        while tasks.join_next().await.is_some() {}
        fabric.auth.process.restart()?;
        fabric.auth.wait_serving().await?;
        callers.hold(&fabric).await.with_context(|| format!("after kill {kill}"))?;
    }
    let [added, revoked, renewed, rotated] = callers.told(|told| told.answers);
    println!("{kills} kills; acknowledged: {added} clients, {revoked} revocations, {renewed} renewals, {rotated} keys");
    ensure!([added, revoked, renewed, rotated].iter().all(|count| *count > 0), "something was never acknowledged");
    fabric.stop().await
}
