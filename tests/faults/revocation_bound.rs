//! Revocation with a bound: three gateways, of which one is at times cut off from auth and one stopped. None accepts a token that
//! comes in later than the staleness bound after its revocation was acknowledged, whatever happens to them in between.
//!
//! `cargo xtask revocations` tries it a thousand times, and shows how long revoked tokens were accepted.

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IssueRequest, RevokeRequest, issue_request::Grant, revoke_request::Target,
    token_service_client::TokenServiceClient,
};
use accord_fabric::{Fabric, Part, Server, http::HttpCall};
use anyhow::{Context, Result, ensure};
use http::Method;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    collections::BTreeMap,
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, interval, sleep_until},
};
use toml::toml;
use tonic::transport::{Channel, Endpoint};

use crate::{stock, until_at};

/// Trials in an ordinary run of the tests.
const TRIALS: u64 = 6;

/// How long a revoked token may be accepted at the most (M).
const BOUND: Duration = Duration::from_millis(500);

/// How much longer each trial looks.
const LOOK: Duration = Duration::from_millis(100);

/// Between two requests to one gateway, at the least.
const LOOKS: Duration = Duration::from_millis(2);

const PATH: &str = "/v1/products/oak-desk";
const CLIENT: &str = "prober";

/// How long a gateway takes at the most to be well again on a loaded machine.
const RECOVERY: Duration = Duration::from_secs(20);

/// A way to auth that can be cut: nothing passes in either direction, and neither end is told.
struct Wire {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (is_cut, cuts) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(forward(near_in, far_out, cuts.clone()));
                tokio::spawn(forward(far_in, near_out, cuts.clone()));
            }
        });
        Ok(Self { address, is_cut })
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut is_cut: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if is_cut.wait_for(|is_cut| !is_cut).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// What happens to the gateways while a token is revoked. One always goes undisturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None,
    CutOff,
    Stopped,
    Both,
}

impl Fault {
    fn cuts_off(self) -> bool {
        matches!(self, Self::CutOff | Self::Both)
    }

    fn stops(self) -> bool {
        matches!(self, Self::Stopped | Self::Both)
    }
}

struct Trial {
    fabric: Fabric,
    /// The one that is cut off, and the one that is stopped.
    others: [Server; 2],
    wire: Wire,
    _catalogs: Wire,
    tokens: TokenServiceClient<Channel>,
    secret: String,
}

impl Trial {
    async fn start() -> Result<Self> {
        let builder = Fabric::builder()?;
        // The catalog verifies passports as well, and would refuse for a gateway: it hears of no revocation here.
        let catalogs = Wire::to(builder.address(Part::Auth)).await?;
        let url = format!("http://{}", catalogs.address);
        let builder = builder.settings(Part::Catalog, toml! { auth = { url = url, staleness_bound = "1h" } });
        let bound = format!("{}ms", BOUND.as_millis());
        let builder = builder.settings(Part::Gateway, toml! { auth = { staleness_bound = bound } });
        let mut fabric = builder.start().await?;
        stock(&fabric).await?;
        catalogs.is_cut.send_replace(true);
        let file = fabric.directory().join("prober.secret");
        let path = file.to_str().context("a path")?;
        fabric.manage(&["client", "add", CLIENT, "--role", "catalog-reader", "--secret-file", path]).await?;
        let secret = fs::read_to_string(&file)?.trim().to_owned();
        let wire = Wire::to(fabric.auth.listen).await?;
        let url = format!("http://{}", wire.address);
        let mut others =
            [fabric.another_with(Part::Gateway, toml! { auth = { url = url } })?, fabric.another(Part::Gateway)?];
        for other in &mut others {
            other.wait_serving().await?;
        }
        let tokens = TokenServiceClient::new(Endpoint::from_shared(fabric.auth.url())?.connect_lazy());
        Ok(Self { fabric, others, wire, _catalogs: catalogs, tokens, secret })
    }

    fn gateways(&self) -> [SocketAddr; 3] {
        [self.fabric.gateway.listen, self.others[0].listen, self.others[1].listen]
    }

    async fn token(&mut self) -> Result<String> {
        let grant = Grant::ClientCredentials(ClientCredentialsGrant {
            client_id: CLIENT.to_owned(),
            client_secret: self.secret.clone(),
            ..ClientCredentialsGrant::default()
        });
        Ok(self.tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner().access_token)
    }

    /// For each gateway, how long after its revocation a token came in that was accepted; nothing where none was.
    async fn run(&mut self, fault: Fault, lead: Duration) -> Result<[Option<Duration>; 3]> {
        let token = self.token().await?;
        for gateway in self.gateways() {
            until_at(gateway, &token, RECOVERY, |answer| answer.status == 200).await?;
        }
        self.wire.is_cut.send_replace(fault.cuts_off());
        if fault.stops() {
            self.others[1].process.pause()?;
        }
        // Faults are older than the revocation by a random time; it is what is tried, and nothing is waited for.
        sleep_until(Instant::now() + lead).await;
        let target = Some(Target::Token(token.clone()));
        self.tokens.revoke(RevokeRequest { target }).await?;
        let acknowledged = Instant::now();
        let looks = self.gateways().map(|gateway| tokio::spawn(look(gateway, token.clone(), acknowledged)));
        sleep_until(acknowledged + BOUND).await;
        if fault.stops() {
            self.others[1].process.resume()?;
        }
        let mut accepted = [None; 3];
        for (place, look) in accepted.iter_mut().zip(looks) {
            *place = look.await??;
        }
        self.wire.is_cut.send_replace(false);
        Ok(accepted)
    }
}

/// Asks until some time after the bound. How long after the revocation the last request was sent that was let in.
async fn look(gateway: SocketAddr, token: String, acknowledged: Instant) -> Result<Option<Duration>> {
    let (mut last, mut ticks) = (None, interval(LOOKS));
    loop {
        ticks.tick().await;
        let sent = acknowledged.elapsed();
        if sent > BOUND + LOOK {
            return Ok(last);
        }
        let answer = HttpCall::new(gateway, Method::GET, PATH).token(&token).send().await?;
        match answer.status.as_u16() {
            200 => last = Some(sent),
            401 | 503 => {}
            other => anyhow::bail!("{other}: {}", answer.text()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_is_accepted_by_no_gateway_past_the_bound() -> Result<()> {
    let trials = env::var("ACCORD_REVOCATIONS").ok().map_or(Ok(TRIALS), |trials| trials.parse())?;
    let (mut random, mut trial) = (SmallRng::seed_from_u64(trials), Trial::start().await?);
    let mut accepted: BTreeMap<Fault, Vec<Duration>> = BTreeMap::new();
    for number in 0..trials {
        let fault = [Fault::None, Fault::CutOff, Fault::Stopped, Fault::Both][usize::try_from(number % 4)?];
        let lead = BOUND.mul_f64(random.random_range(0.0..0.5));
        let longest = trial.run(fault, lead).await.with_context(|| format!("trial {number}, {fault:?}"))?;
        for (gateway, longest) in longest.iter().enumerate() {
            let longest = longest.unwrap_or_default();
            ensure!(
                longest < BOUND,
                "trial {number}, {fault:?}: gateway {gateway} let a token in {longest:?} after its end"
            );
        }
        accepted.entry(fault).or_default().push(longest.into_iter().flatten().max().unwrap_or_default());
    }
    for (fault, mut times) in accepted {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        println!(
            "{fault:?}: {} trials, accepted for {:?} at the median, {:?} p99, {:?} at the most",
            times.len(),
            at(50),
            at(99),
            at(100)
        );
    }
    trial.fabric.stop().await
}
