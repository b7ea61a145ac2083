//! Revocation with a bound: three gateways, of which one is at times behind a wire that is cut, flaps or delays, and one is stopped or
//! killed; auth is killed as well. No gateway accepts a token that comes in later than the staleness bound after its revocation was
//! acknowledged, whatever happens to them in between. A token is revoked by its holder, or with its family by the replay of a refresh
//! token.
//!
//! `cargo xtask revocations` tries it a thousand times, and shows how long revoked tokens were accepted.

mod plan;
mod times;

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IssueRequest, IssueResponse, PasswordGrant, RefreshRequest, RevokeRequest,
    issue_request::Grant, revoke_request::Target, token_service_client::TokenServiceClient,
};
use accord_fabric::{Fabric, Part, Process, Server, TcpProxy, http::HttpCall};
use anyhow::{Context, Result, bail, ensure};
use http::Method;
use rand::{RngExt, rngs::SmallRng};
use std::{
    env, fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    task::AbortHandle,
    time::{Instant, interval, sleep, sleep_until},
};
use toml::toml;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use self::{
    plan::{AuthFault, GatewayFault, Plan, Revocation},
    times::Times,
};
use crate::{stock, until_at};

/// Trials in an ordinary run of the tests.
const TRIALS: u64 = 4;

/// How long a revoked token may be accepted at the most (M).
const BOUND: Duration = Duration::from_millis(500);

/// How much longer each trial looks.
const LOOK: Duration = Duration::from_millis(100);

/// Between two requests to one gateway, at the least.
const LOOKS: Duration = Duration::from_millis(2);

/// Between two changes of a wire that flaps, in milliseconds.
const FLAPS: std::ops::Range<u64> = 10..150;

const PATH: &str = "/v1/products/oak-desk";
const CLIENT: &str = "prober";
const PERSON: &str = "penelope";
const PASSWORD: &str = "a password for replays";

/// How long a gateway takes at the most to be well again on a loaded machine.
const RECOVERY: Duration = Duration::from_secs(30);

struct Trial {
    fabric: Fabric,
    /// The one behind the wire, and the one that is stopped or killed.
    others: [Server; 2],
    wire: Arc<TcpProxy>,
    catalogs: TcpProxy,
    secret: String,
}

/// A token that is good, and how it is to be revoked.
struct Revocable {
    token: String,
    /// Used already, where its replay is to revoke the family.
    refresh_token: String,
}

impl Trial {
    async fn start() -> Result<Self> {
        let builder = Fabric::builder()?;
        // The catalog verifies passports as well, and would refuse for a gateway: it hears of no revocation here.
        let catalogs = TcpProxy::start(vec![builder.address(Part::Auth)]).await?;
        let url = format!("http://{}", catalogs.address());
        let builder = builder.settings(Part::Catalog, toml! { auth = { url = url, staleness_bound = "1h" } });
        let bound = format!("{}ms", BOUND.as_millis());
        let builder = builder.settings(Part::Gateway, toml! { auth = { staleness_bound = bound } });
        let mut fabric = builder.start().await?;
        stock(&fabric).await?;
        let path = |name: &str| {
            let file = fabric.directory().join(name);
            Ok::<_, anyhow::Error>(file.to_str().context("a path")?.to_owned())
        };
        let (secret, password) = (path("prober.secret")?, path("password")?);
        fs::write(&password, PASSWORD)?;
        let reads = ["--role", "catalog-reader"];
        fabric.manage(&["client", "add", CLIENT, reads[0], reads[1], "--secret-file", &secret]).await?;
        fabric.manage(&["principal", "add", PERSON, reads[0], reads[1], "--password-file", &password]).await?;
        let secret = fs::read_to_string(&secret)?.trim().to_owned();
        let wire = Arc::new(TcpProxy::start(vec![fabric.auth.listen]).await?);
        let url = format!("http://{}", wire.address());
        let mut others =
            [fabric.another_with(Part::Gateway, toml! { auth = { url = url } })?, fabric.another(Part::Gateway)?];
        for other in &mut others {
            other.wait_serving().await?;
        }
        Ok(Self { fabric, others, wire, catalogs, secret })
    }

    fn gateways(&self) -> [SocketAddr; 3] {
        [self.fabric.gateway.listen, self.others[0].listen, self.others[1].listen]
    }

    /// On a connection of its own: the one before may have ended with auth.
    fn tokens(&self) -> Result<TokenServiceClient<Channel>> {
        Ok(TokenServiceClient::new(Endpoint::from_shared(self.fabric.auth.url())?.connect_lazy()))
    }

    async fn issue(&self, revocation: Revocation) -> Result<Revocable> {
        let mut tokens = self.tokens()?;
        let grant = match revocation {
            Revocation::Revoke => Grant::ClientCredentials(ClientCredentialsGrant {
                client_id: CLIENT.to_owned(),
                client_secret: self.secret.clone(),
                ..ClientCredentialsGrant::default()
            }),
            Revocation::Replay => Grant::Password(PasswordGrant {
                name: PERSON.to_owned(),
                password: PASSWORD.to_owned(),
                ..PasswordGrant::default()
            }),
        };
        let issued = tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner();
        let IssueResponse { access_token, refresh_token, .. } = issued;
        if revocation == Revocation::Revoke {
            return Ok(Revocable { token: access_token, refresh_token });
        }
        let refreshed = tokens.refresh(RefreshRequest { refresh_token: refresh_token.clone() }).await?.into_inner();
        Ok(Revocable { token: refreshed.access_token, refresh_token })
    }

    /// Returns once the revocation is acknowledged; a replay is by its refusal.
    async fn revoke(&self, of: &Revocable, revocation: Revocation) -> Result<()> {
        let mut tokens = self.tokens()?;
        if revocation == Revocation::Revoke {
            let target = Some(Target::Token(of.token.clone()));
            tokens.revoke(RevokeRequest { target }).await?;
            return Ok(());
        }
        let replayed = tokens.refresh(RefreshRequest { refresh_token: of.refresh_token.clone() }).await;
        let refused = replayed.err().context("a refresh token was good twice")?;
        let reason = refused.get_details_error_info().map(|info| info.reason);
        ensure!(reason.as_deref() == Some("REFRESH_REUSED"), "{refused}");
        Ok(())
    }

    /// Has the faults begin that are older than the revocation.
    async fn begin_faults(&mut self, plan: &Plan) -> Result<Option<AbortHandle>> {
        if plan.auth == AuthFault::KilledBefore {
            self.fabric.auth.process.restart()?;
            self.fabric.auth.wait_serving().await?;
        }
        let mut flapping = None;
        match plan.wire {
            GatewayFault::CutOff => self.wire.cut(),
            GatewayFault::Flapping => {
                flapping = Some(tokio::spawn(flap(Arc::clone(&self.wire), plan.rng.clone())).abort_handle());
            }
            GatewayFault::Delayed => self.wire.delay(plan.delay),
            _ => {}
        }
        if plan.process == GatewayFault::Stopped {
            self.others[1].process.pause()?;
        }
        // Faults are older than the revocation by a random time; it is what is tried, and nothing is waited for.
        sleep(plan.lead).await;
        Ok(flapping)
    }

    async fn end_faults(&mut self, plan: &Plan) -> Result<()> {
        self.wire.heal();
        self.wire.delay(Duration::ZERO);
        self.catalogs.heal();
        if plan.auth != AuthFault::None {
            self.fabric.auth.wait_serving().await?;
        }
        self.others[1].wait_serving().await
    }

    /// For each gateway, how long after its revocation a token came in that was accepted; zero where none was.
    async fn run(&mut self, plan: &Plan) -> Result<[Duration; 3]> {
        let revocable = self.issue(plan.revocation).await?;
        for gateway in self.gateways() {
            until_at(gateway, &revocable.token, RECOVERY, |answer| answer.status == 200).await?;
        }
        self.catalogs.cut();
        let flapping = self.begin_faults(plan).await?;
        self.revoke(&revocable, plan.revocation).await?;
        let acknowledged = Instant::now();
        let restarts = [false, false, plan.process == GatewayFault::Restarted];
        let looks = self.gateways().into_iter().zip(restarts);
        let looks: Vec<_> = looks
            .map(|(gateway, restarts)| tokio::spawn(look(gateway, revocable.token.clone(), acknowledged, restarts)))
            .collect();
        let [auth_at, gateway_at] = plan.kills.map(|after| acknowledged + after);
        let (auth, gateway) = (&mut self.fabric.auth.process, &mut self.others[1].process);
        tokio::try_join!(
            restart_at(auth, auth_at, plan.auth == AuthFault::KilledAfter),
            restart_at(gateway, gateway_at, plan.process == GatewayFault::Restarted),
        )?;
        sleep_until(acknowledged + BOUND).await;
        if plan.process == GatewayFault::Stopped {
            self.others[1].process.resume()?;
        }
        let mut accepted = [Duration::ZERO; 3];
        for (place, look) in accepted.iter_mut().zip(looks) {
            *place = look.await??.unwrap_or_default();
        }
        if let Some(flapping) = flapping {
            flapping.abort();
        }
        self.end_faults(plan).await?;
        Ok(accepted)
    }
}

/// Kills it at this moment, and starts it again at once.
async fn restart_at(process: &mut Process, moment: Instant, is_planned: bool) -> Result<()> {
    if is_planned {
        sleep_until(moment).await;
        process.restart()?;
    }
    Ok(())
}

/// Cuts the wire and heals it, in turns, until it is stopped.
async fn flap(wire: Arc<TcpProxy>, mut rng: SmallRng) {
    loop {
        wire.cut();
        sleep(Duration::from_millis(rng.random_range(FLAPS))).await;
        wire.heal();
        sleep(Duration::from_millis(rng.random_range(FLAPS))).await;
    }
}

/// Asks until some time after the bound. How long after the revocation the last request was sent that was let in.
async fn look(gateway: SocketAddr, token: String, acknowledged: Instant, restarts: bool) -> Result<Option<Duration>> {
    let (mut last, mut ticks) = (None, interval(LOOKS));
    loop {
        ticks.tick().await;
        let sent = acknowledged.elapsed();
        if sent > BOUND + LOOK {
            return Ok(last);
        }
        let answer = match HttpCall::new(gateway, Method::GET, PATH).token(&token).send().await {
            // While it is gone it lets nobody in.
            Err(_) if restarts => continue,
            answer => answer?,
        };
        match answer.status.as_u16() {
            200 => last = Some(sent),
            401 | 503 => {}
            other => bail!("{other}: {}", answer.text()),
        }
    }
}

/// A number from the environment.
fn from_environment(name: &str) -> Result<Option<u64>> {
    let text = env::var(name).ok();
    text.map(|text| text.parse()).transpose().with_context(|| format!("{name} is no number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_is_accepted_by_no_gateway_past_the_bound() -> Result<()> {
    let trials = from_environment("ACCORD_REVOCATIONS")?.unwrap_or(TRIALS);
    let any = u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos());
    let seed = from_environment("ACCORD_REVOCATIONS_SEED")?.unwrap_or(any);
    println!("seed {seed}");
    let (mut trial, mut times) = (Trial::start().await?, Times::default());
    for number in 0..trials {
        let plan = Plan::of(seed, number);
        let which = format!("trial {number} of seed {seed}, {plan}");
        let accepted = trial.run(&plan).await.with_context(|| which.clone())?;
        for (gateway, accepted) in accepted.iter().enumerate() {
            ensure!(*accepted < BOUND, "{which}: gateway {gateway} let a token in {accepted:?} after its end");
        }
        times.add(&plan, accepted);
    }
    print!("{times}");
    trial.fabric.stop().await
}
