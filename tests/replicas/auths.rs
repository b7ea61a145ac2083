//! Two auths on one PostgreSQL with a standby that confirms each commit, while tokens are issued, renewed and revoked through both, and the
//! database fails over. Nothing that was acknowledged is lost, nothing is there by half, and nothing is let through meanwhile.

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IntrospectRequest, IssueRequest, PasswordGrant, RefreshRequest, RevokeRequest,
    issue_request::Grant, revoke_request::Target, token_service_client::TokenServiceClient,
};
use accord_fabric::{
    Bearer, Fabric, Part, Server, TcpProxy,
    postgres::{self, Pair},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{JoinSet, block_in_place},
    time::timeout,
};
use toml::toml;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;

/// Persons who renew their logins, each through both auths in turn.
const PERSONS: [&str; 3] = ["person-1", "person-2", "person-3"];
const PASSWORD: &str = "a password for renewals";
const PROBER: &str = "prober";

/// Answers of a kind before the failover, which comes while more are on their way.
const ANSWERS: usize = 12;
/// How long they may take on a loaded machine, and auth to serve again.
const BOUND: Duration = Duration::from_mins(2);

/// The tokens of one login, as its person knows them.
#[derive(Default)]
struct Login {
    /// Those that were renewed: what came in their place was acknowledged.
    used: Vec<String>,
    /// The newest that came.
    refresh: String,
    access: String,
    /// Whether a renewal of the newest one has no answer.
    is_unsure: bool,
}

/// What callers were told.
#[derive(Default)]
struct Told {
    logins: Vec<Login>,
    revoked: Vec<String>,
    renewals: usize,
}

struct Auths {
    fabric: Fabric,
    databases: Pair,
    /// From each auth to the database.
    doors: [TcpProxy; 2],
    servers: [Server; 2],
    secret: String,
    told: Arc<Mutex<Told>>,
    answered: watch::Sender<()>,
}

type Tokens = TokenServiceClient<Channel>;

impl Auths {
    async fn start() -> Result<Self> {
        let programs = postgres::installed().context("PostgreSQL is installed")?;
        let mut databases = block_in_place(|| Pair::start(&programs))?;
        let primary = databases.primary().address();
        let doors = [TcpProxy::start(vec![primary]).await?, TcpProxy::start(vec![primary]).await?];
        let mut fabric = Fabric::builder()?.start().await?;
        let secret = add_principals(&fabric, &url(primary)).await?;
        let mut servers = Vec::new();
        for door in &doors {
            let store = url(door.address());
            let settings = toml! { store = { url = store } tokens = { refresh_reuse_interval = "0s" } };
            let mut auth = fabric.another_with(Part::Auth, settings)?;
            auth.wait_serving().await?;
            servers.push(auth);
        }
        let servers = servers.try_into().ok().context("two auths")?;
        let (told, answered) = (Arc::default(), watch::Sender::new(()));
        Ok(Self { fabric, databases, doors, servers, secret, told, answered })
    }

    fn tokens(&self) -> Result<[Tokens; 2]> {
        let of = |server: &Server| Ok::<_, anyhow::Error>(TokenServiceClient::new(server.channel()?));
        Ok([of(&self.servers[0])?, of(&self.servers[1])?])
    }

    fn told<T>(&self, of: impl FnOnce(&mut Told) -> T) -> T {
        of(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everybody at once, until auth answers no more.
    async fn go_on(&self) -> Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for (place, person) in PERSONS.iter().enumerate() {
            let mut tokens = self.tokens()?;
            let (access, refresh) = log_in(&mut tokens[place % 2], person).await?;
            self.told(|told| told.logins.push(Login { refresh, access, ..Login::default() }));
            let (told, answered) = (Arc::clone(&self.told), self.answered.clone());
            tasks.spawn(async move { while renew(&mut tokens, &told, place, &answered).await {} });
        }
        let (mut tokens, secret) = (self.tokens()?, self.secret.clone());
        let (told, answered) = (Arc::clone(&self.told), self.answered.clone());
        tasks.spawn(async move { while revoke(&mut tokens, &secret, &told, &answered).await.is_ok() {} });
        Ok(tasks)
    }

    /// Waits until enough was acknowledged.
    async fn acknowledged(&self) -> Result<()> {
        let mut answers = self.answered.subscribe();
        let enough = async {
            while self.told(|told| told.renewals < ANSWERS || told.revoked.len() < ANSWERS) {
                answers.changed().await?;
            }
            anyhow::Ok(())
        };
        timeout(BOUND, enough).await.context("too little is acknowledged")?
    }

    /// While no auth reaches the database, nothing is issued, renewed or revoked, and no token is called good.
    async fn hold_denials(&self, live: &str) -> Result<()> {
        for mut tokens in self.tokens()? {
            let refresh_token = self.told(|told| told.logins[0].refresh.clone());
            let refusals = [
                issue(&mut tokens, &self.secret).await.map(drop),
                log_in(&mut tokens, PERSONS[0]).await.map(drop),
                tokens.refresh(RefreshRequest { refresh_token }).await.map(drop),
                tokens.revoke(RevokeRequest { target: Some(Target::Token(live.to_owned())) }).await.map(drop),
            ];
            for (place, refusal) in refusals.into_iter().enumerate() {
                let status = refusal.err().with_context(|| format!("{place} was answered"))?;
                ensure!(reason(&status) == "AUTH_UNAVAILABLE", "{place}: {status:?}");
            }
        }
        Ok(())
    }

    fn fail_over(&mut self) -> Result<()> {
        block_in_place(|| self.databases.fail_over())
    }

    /// Leads both auths to the promoted server, and gives that a standby.
    async fn recover(&mut self) -> Result<()> {
        let primary = self.databases.primary().address();
        self.doors.iter().for_each(|door| door.move_to(primary));
        block_in_place(|| self.databases.stand_by())?;
        for server in &mut self.servers {
            server.wait_serving().await?;
        }
        Ok(())
    }

    /// Whether the token is good, at each auth.
    async fn active(&self, token: &str) -> Result<[bool; 2]> {
        let mut active = [false; 2];
        for (server, active) in self.servers.iter().zip(&mut active) {
            let bearer = Bearer::new(&issue(&mut TokenServiceClient::new(server.channel()?), &self.secret).await?)?;
            let mut tokens = TokenServiceClient::with_interceptor(server.channel()?, bearer);
            let token = token.to_owned();
            *active = tokens.introspect(IntrospectRequest { token }).await?.into_inner().active;
        }
        Ok(active)
    }

    /// Holds both auths to what callers were told.
    async fn hold(&self, live: &str) -> Result<()> {
        ensure!(self.active(live).await? == [true; 2], "a token that nobody revoked was lost");
        for token in self.told(|told| std::mem::take(&mut told.revoked)) {
            ensure!(self.active(&token).await? == [false; 2], "a token that was revoked is good again");
        }
        let logins = self.told(|told| std::mem::take(&mut told.logins));
        ensure!(logins.iter().all(|login| !login.used.is_empty()), "somebody renewed nothing");
        for (place, login) in logins.into_iter().enumerate() {
            self.hold_login(place, login).await.with_context(|| PERSONS[place])?;
        }
        Ok(())
    }

    /// A renewal that was acknowledged is there; the one that was not happened as a whole or not at all; and a token that was used before is
    /// good for nothing, at either auth, and ends the login where it is shown.
    async fn hold_login(&self, place: usize, login: Login) -> Result<()> {
        let Login { used, refresh, access, is_unsure } = login;
        let mut tokens = self.tokens()?;
        let renewed = tokens[place % 2].refresh(RefreshRequest { refresh_token: refresh }).await;
        let newest = match renewed {
            Ok(renewed) => Some(renewed.into_inner().access_token),
            // Its successor was committed, and nobody was told: it is as if that had been stolen.
            Err(status) if is_unsure => {
                ensure!(reason(&status) == "REFRESH_REUSED", "{status:?}");
                None
            }
            Err(status) => return Err(status).context("what was acknowledged is lost"),
        };
        for (turn, refresh_token) in used.into_iter().rev().take(2).enumerate() {
            let again = tokens[turn % 2].refresh(RefreshRequest { refresh_token }).await;
            let status = again.err().context("a token that was used is good again")?;
            ensure!(["REFRESH_REUSED", "CREDENTIAL_INVALID"].contains(&&*reason(&status)), "{status:?}");
        }
        for token in newest.into_iter().chain([access]) {
            ensure!(self.active(&token).await? == [false; 2], "a token of a login that has ended is good");
        }
        Ok(())
    }
}

/// Why it was refused.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn url(database: SocketAddr) -> String {
    format!("postgres://accord@{database}/postgres")
}

/// The persons, and a program of the mesh's; its secret.
async fn add_principals(fabric: &Fabric, store: &str) -> Result<String> {
    let [password, secret] = ["renewals.password", "prober.secret"].map(|name| fabric.directory().join(name));
    fs::write(&password, PASSWORD)?;
    let [password, path] = [&password, &secret].map(|path| path.display().to_string());
    for person in PERSONS {
        fabric.manage(&["principal", "add", person, "--password-file", &password, "--store", store]).await?;
    }
    let add = ["client", "add", PROBER, "--role", "accord-mesh", "--secret-file", &path, "--store", store];
    fabric.manage(&add).await?;
    Ok(fs::read_to_string(secret)?.trim().to_owned())
}

async fn issue(tokens: &mut Tokens, secret: &str) -> Result<String, Status> {
    let grant = Grant::ClientCredentials(ClientCredentialsGrant {
        client_id: PROBER.to_owned(),
        client_secret: secret.to_owned(),
        ..ClientCredentialsGrant::default()
    });
    Ok(tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner().access_token)
}

/// An access and a refresh token of a person.
async fn log_in(tokens: &mut Tokens, person: &str) -> Result<(String, String), Status> {
    let grant = Grant::Password(PasswordGrant {
        name: person.to_owned(),
        password: PASSWORD.to_owned(),
        ..PasswordGrant::default()
    });
    let login = tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner();
    Ok((login.access_token, login.refresh_token))
}

/// Renews a login once, through the auth whose turn it is; false where that has no answer.
async fn renew(tokens: &mut [Tokens; 2], told: &Mutex<Told>, place: usize, answered: &watch::Sender<()>) -> bool {
    let (refresh_token, turn) = {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let login = &mut told.logins[place];
        login.is_unsure = true;
        (login.refresh.clone(), login.used.len() % 2)
    };
    let Ok(renewed) = tokens[turn].refresh(RefreshRequest { refresh_token: refresh_token.clone() }).await else {
        return false;
    };
    let renewed = renewed.into_inner();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let login = &mut told.logins[place];
    (login.refresh, login.access, login.is_unsure) = (renewed.refresh_token, renewed.access_token, false);
    login.used.push(refresh_token);
    told.renewals += 1;
    answered.send_replace(());
    true
}

/// Revokes a token at the one auth that the other one issued.
async fn revoke(
    tokens: &mut [Tokens; 2],
    secret: &str,
    told: &Mutex<Told>,
    answered: &watch::Sender<()>,
) -> Result<(), Status> {
    let token = issue(&mut tokens[0], secret).await?;
    tokens[1].revoke(RevokeRequest { target: Some(Target::Token(token.clone())) }).await?;
    told.lock().unwrap_or_else(PoisonError::into_inner).revoked.push(token);
    tokens.swap(0, 1);
    answered.send_replace(());
    Ok(())
}

// Callers go on while a server is started.
#[tokio::test(flavor = "multi_thread")]
async fn failover_of_the_database_below_two_auths_loses_nothing_that_was_acknowledged() -> Result<()> {
    let mut auths = Auths::start().await?;
    let live = issue(&mut auths.tokens()?[0], &auths.secret).await?;
    let mut tasks = auths.go_on().await?;
    auths.acknowledged().await?;
    auths.fail_over()?;
    auths.hold_denials(&live).await?;
    timeout(BOUND, async { while tasks.join_next().await.is_some() {} }).await.context("callers are not told")?;
    auths.recover().await?;
    auths.hold(&live).await?;
    let store = url(auths.databases.primary().address());
    auths.fabric.manage(&["audit", "verify", "--store", &store]).await?;
    let Auths { fabric, servers, .. } = auths;
    drop(servers);
    fabric.stop().await
}
