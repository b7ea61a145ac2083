//! Whether there is a gap in auth while it is restarted: tokens are issued and taken all the time, and none is taken later than the
//! staleness bound after it was revoked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, IssueRequest, IssueResponse, RevokeRequest, issue_request::Grant, revoke_request::Target,
};
use anyhow::Result;
use http::Method;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use super::{
    client::{Call, Client, Protocol},
    load::Load,
    mesh::STALENESS_BOUND,
};

/// Between two logins, and between two looks whether a revoked token is taken.
const PACE: Duration = Duration::from_millis(50);
/// How long after the bound it is looked.
const LOOK: Duration = Duration::from_millis(500);
/// A product that nobody writes.
const PATH: &str = "/v1/products/rolling-0";

/// A program that logs in, calls, and ends its tokens.
pub(super) struct Program {
    auth: Client,
    gateway: Client,
    id: String,
    secret: String,
    load: Arc<Load>,
    pub(super) counts: Counts,
    is_over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Tokens that were issued, and taken at once.
    pub issued: AtomicU64,
    /// Those of them that were revoked, and looked at after the bound.
    pub revoked: AtomicU64,
    /// Calls with a token that were let in although it had been revoked for longer than the bound.
    pub let_in: AtomicU64,
    /// The longest time, in milliseconds, after which a revoked one was let in.
    pub longest: AtomicU64,
}

impl Program {
    pub(super) fn new(load: Arc<Load>, auth: Client, gateway: Client, [id, secret]: [String; 2]) -> Arc<Self> {
        let (counts, is_over) = (Counts::default(), watch::Sender::new(false));
        Arc::new(Self { auth, gateway, id, secret, load, counts, is_over })
    }

    pub(super) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut work = JoinSet::new();
        work.spawn(Arc::clone(self).log_in());
        work.spawn(Arc::clone(self).revoke());
        work
    }

    pub(super) async fn end(&self, mut work: JoinSet<()>) -> Result<()> {
        self.is_over.send_replace(true);
        while let Some(ended) = work.join_next().await {
            ended?;
        }
        Ok(())
    }

    async fn log_in(self: Arc<Self>) {
        let mut is_over = self.is_over.subscribe();
        while timeout(PACE, is_over.wait_for(|is_over| *is_over)).await.is_err() {
            self.token().await;
        }
    }

    async fn revoke(self: Arc<Self>) {
        while !*self.is_over.borrow() {
            let Some(token) = self.token().await else { continue };
            let revoke = RevokeRequest { target: Some(Target::Token(token.clone())) };
            let call = Call::grpc("accord.auth.v1.TokenService/Revoke", &revoke, true).token(&token);
            match self.auth.send(&call).await.map(|answer| answer.refusal()) {
                Ok(None) => self.look(&token).await,
                refused => self.load.failed(format!("revocation: {refused:?}")),
            }
        }
    }

    /// Looks until some time after the bound whether a token is let in that was revoked now.
    async fn look(&self, token: &str) {
        let (acknowledged, mut ticks) = (Instant::now(), interval(PACE));
        while acknowledged.elapsed() < STALENESS_BOUND + LOOK {
            ticks.tick().await;
            let since = acknowledged.elapsed();
            if self.call(token).await.is_none() {
                self.counts.longest.fetch_max(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                self.counts.let_in.fetch_add(u64::from(since > STALENESS_BOUND), Ordering::Relaxed);
            }
        }
        self.counts.revoked.fetch_add(1, Ordering::Relaxed);
    }

    /// A fresh token that the gateways take.
    async fn token(&self) -> Option<String> {
        let grant = ClientCredentialsGrant {
            client_id: self.id.clone(),
            client_secret: self.secret.clone(),
            ..ClientCredentialsGrant::default()
        };
        let issue = IssueRequest { grant: Some(Grant::ClientCredentials(grant)) };
        let answer = match self.auth.send(&Call::grpc("accord.auth.v1.TokenService/Issue", &issue, true)).await {
            Ok(answer) => answer,
            Err(broken) => {
                self.load.failed(format!("login: {}", broken.cause));
                return None;
            }
        };
        let token = answer.message::<IssueResponse>().map(|issued| issued.access_token);
        let refusal = match (answer.refusal(), &token) {
            (None, Some(token)) => self.call(token).await.map(|refusal| format!("call with a new token: {refusal}")),
            (refusal, _) => Some(format!("login: {refusal:?}")),
        };
        match refusal {
            None => {
                self.counts.issued.fetch_add(1, Ordering::Relaxed);
                token
            }
            Some(refusal) => {
                self.load.failed(refusal);
                // The pace of a client: nothing is gained by asking at once.
                sleep(PACE).await;
                None
            }
        }
    }

    /// Why a call with this token was refused; none where it was let in.
    async fn call(&self, token: &str) -> Option<String> {
        let call = Call::json(Protocol::Http1, Method::GET, PATH.to_owned(), None).token(token);
        match self.gateway.send(&call).await {
            Ok(answer) => answer.refusal(),
            Err(broken) => Some(broken.cause),
        }
    }
}
