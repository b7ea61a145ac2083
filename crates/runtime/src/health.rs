//! Health and readiness: `grpc.health.v1`, overall and per service, with Watch.
//!
//! Ready means that the process can answer, if only with a reasoned refusal. So readiness does not follow dependencies: where
//! all replicas lose one at the same moment, callers would get refused connections in place of an answer that says why, and
//! what needs no dependency would go with the rest. Dependencies show in the health of each service, and as metrics. Only a
//! process that starts waits for them, for a bounded time, so that a rolling restart sends nobody to one that knows nothing
//! yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server};

use crate::shutdown::Shutdown;

/// The longest that a process waits after its start for dependencies that were not up yet.
const LONGEST_START: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
struct State {
    services: BTreeMap<String, bool>,
    dependencies: BTreeMap<String, bool>,
    /// Dependencies that the start waits for.
    awaited: BTreeSet<String>,
    /// What has to come first, however long it takes.
    required: BTreeSet<&'static str>,
    started: bool,
    draining: bool,
}

impl State {
    fn ready(&self) -> bool {
        !self.draining && self.awaited.is_empty() && self.required.is_empty()
    }

    fn are_dependencies_up(&self) -> bool {
        self.dependencies.values().all(|up| *up)
    }

    fn set_dependency(&mut self, name: &str, up: bool) -> bool {
        let before = self.dependencies.insert(name.to_owned(), up);
        if up {
            self.awaited.remove(name);
        } else if before.is_none() && !self.started {
            self.awaited.insert(name.to_owned());
        }
        before != Some(up)
    }

    /// `None` for a service that nobody announced.
    fn serving(&self, service: &str) -> Option<bool> {
        if service.is_empty() {
            return Some(self.ready());
        }
        self.services.get(service).map(|able| *able && self.ready() && self.are_dependencies_up())
    }

    fn status(&self, service: &str) -> ServingStatus {
        match self.serving(service) {
            Some(true) => ServingStatus::Serving,
            Some(false) => ServingStatus::NotServing,
            None => ServingStatus::ServiceUnknown,
        }
    }
}

/// What the process knows about its own readiness. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(watch::Sender<State>);

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// A health without dependencies: ready.
    pub fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Announces a service, or says whether it is able to serve. It serves while it is able, every dependency is up and the
    /// process is ready.
    pub fn set_service(&self, name: &str, able: bool) {
        self.set(|state| state.services.insert(name.to_owned(), able) != Some(able));
    }

    /// Announces a service no longer: from now on nobody knows it.
    pub fn withdraw_service(&self, name: &str) {
        self.set(|state| state.services.remove(name).is_some());
    }

    /// Says whether a dependency is up. Services serve while all named ones are; a process that starts is ready once each has
    /// been up.
    pub fn dependency(&self, name: &str, up: bool) {
        self.set(|state| state.set_dependency(name, up));
    }

    /// Not ready until [`Health::obtained`] is called with the same name, however long it takes: without this the process must not
    /// answer.
    pub fn require(&self, name: &'static str) {
        self.set(|state| state.required.insert(name));
    }

    /// What was required is there.
    pub fn obtained(&self, name: &'static str) {
        self.set(|state| state.required.remove(name));
    }

    /// From now on not ready, so that nobody sends new work. Watchers are told and let go.
    pub fn draining(&self) {
        self.set(|state| !std::mem::replace(&mut state.draining, true));
    }

    /// Ends the wait for dependencies after its bound, and turns to draining when the shutdown begins.
    pub fn follow(&self, shutdown: &Shutdown) {
        let (health, begun) = (self.clone(), shutdown.begun());
        let starting = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LONGEST_START).await;
            starting.started();
        });
        tokio::spawn(async move {
            begun.await;
            health.draining();
        });
    }

    /// Waits for no dependency any more.
    fn started(&self) {
        self.set(|state| {
            state.started = true;
            !std::mem::take(&mut state.awaited).is_empty()
        });
    }

    /// Lets a dependency be up as the watch says, from its present value on. Where its sender is gone, nobody vouches for the
    /// dependency any more, and it is down.
    pub fn follow_dependency(&self, name: &'static str, up: watch::Receiver<bool>) {
        self.follow_watch(up, move |health, up| health.dependency(name, up));
    }

    /// Lets a service be able to serve as the watch says, likewise. The service must have been announced before.
    pub fn follow_service(&self, name: &'static str, able: watch::Receiver<bool>) {
        self.follow_watch(able, move |health, able| health.set_service(name, able));
    }

    fn follow_watch(&self, mut watch: watch::Receiver<bool>, apply: impl Fn(&Self, bool) + Send + 'static) {
        apply(self, *watch.borrow_and_update());
        let health = self.clone();
        tokio::spawn(async move {
            while watch.changed().await.is_ok() {
                let now = *watch.borrow_and_update();
                apply(&health, now);
            }
            apply(&health, false);
        });
    }

    /// Whether the process can answer: its start waits for nothing more, and no shutdown has begun.
    pub fn ready(&self) -> bool {
        self.0.borrow().ready()
    }

    /// What stands between the process and being ready: what is required, then dependencies, each in alphabetical order.
    pub fn missing(&self) -> Vec<String> {
        let state = self.0.borrow();
        let required = state.required.iter().map(|name| (*name).to_owned());
        required.chain(state.awaited.iter().cloned()).chain(state.draining.then(|| "draining".to_owned())).collect()
    }

    /// The dependencies that are down, in alphabetical order.
    pub fn down(&self) -> Vec<String> {
        self.dependencies().into_iter().filter(|(_, up)| !up).map(|(name, _)| name).collect()
    }

    /// The named dependencies and whether each is up.
    pub fn dependencies(&self) -> Vec<(String, bool)> {
        self.0.borrow().dependencies.iter().map(|(name, up)| (name.clone(), *up)).collect()
    }

    /// Names of the announced services.
    pub fn services(&self) -> Vec<String> {
        self.0.borrow().services.keys().cloned().collect()
    }

    fn set(&self, change: impl FnOnce(&mut State) -> bool) {
        self.0.send_if_modified(change);
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.0.borrow().status(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service here")),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = Watched;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watched>, Status> {
        let service = request.into_inner().service;
        let states = WatchStream::new(self.0.subscribe());
        Ok(Response::new(Watched { service, states, told: None, over: false }))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// The changes of one service's status, from its present one until the process drains.
pub struct Watched {
    service: String,
    states: WatchStream<State>,
    told: Option<ServingStatus>,
    over: bool,
}

impl Stream for Watched {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.over {
            let Some(state) = ready!(Pin::new(&mut self.states).poll_next(context)) else {
                return Poll::Ready(None);
            };
            // Nothing can change any more, and an open watch would hold up the drain.
            self.over = state.draining;
            let status = state.status(&self.service);
            if self.told.replace(status) != Some(status) {
                return Poll::Ready(Some(Ok(answer(status))));
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tonic_health::pb::health_server::Health as _;

    use super::*;

    async fn watch(health: &Health, service: &str) -> Watched {
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        health.watch(request).await.unwrap().into_inner()
    }

    async fn next(watched: &mut Watched) -> Option<ServingStatus> {
        watched.next().await.map(|told| told.unwrap().status())
    }

    #[tokio::test(start_paused = true)]
    async fn start_waits_for_what_is_required_without_bound() {
        let (health, shutdown) = (Health::new(), Shutdown::new(Duration::ZERO));
        health.follow(&shutdown);
        health.require("lock");
        tokio::time::sleep(LONGEST_START * 2).await;
        assert_eq!((health.ready(), health.missing()), (false, vec!["lock".to_owned()]));
        health.obtained("lock");
        assert!(health.ready());
    }

    #[test]
    fn start_waits_for_each_dependency_once() {
        let health = Health::new();
        assert!(health.ready());
        health.dependency("store", false);
        health.dependency("auth", false);
        assert_eq!(health.missing(), ["auth", "store"]);
        health.dependency("store", true);
        assert!(!health.ready());
        health.dependency("auth", true);
        assert!(health.ready());
        health.dependency("auth", false);
        assert!(health.ready(), "it can answer, with a refusal that says why");
        assert_eq!(health.down(), ["auth"]);
    }

    #[tokio::test(start_paused = true)]
    async fn start_waits_for_a_dependency_no_longer_than_its_bound() {
        let health = Health::new();
        health.follow(&Shutdown::new(Duration::ZERO));
        health.dependency("auth", false);
        let mut watched = self::watch(&health, "").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        let begun = tokio::time::Instant::now();
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        assert!(begun.elapsed() >= LONGEST_START);
        health.dependency("store", false);
        assert!(health.ready(), "the start is over");
    }

    #[tokio::test]
    async fn dependency_follows_its_watch_and_is_down_once_the_sender_is_gone() {
        let (sender, up) = watch::channel(false);
        let health = Health::new();
        health.set_service("shop.v1.Cart", true);
        health.follow_dependency("auth", up);
        assert_eq!(health.missing(), ["auth"], "from the present value on");
        let mut watched = self::watch(&health, "shop.v1.Cart").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        sender.send_replace(true);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        drop(sender);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        assert!(health.ready());
    }

    #[tokio::test]
    async fn service_follows_its_watch_and_leaves_the_process_ready() {
        let (sender, able) = watch::channel(false);
        let health = Health::new();
        health.set_service("shop.v1.Cart", true);
        health.follow_service("shop.v1.Cart", able);
        let mut watched = self::watch(&health, "shop.v1.Cart").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        assert!(health.ready());
        sender.send_replace(true);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
    }

    #[tokio::test]
    async fn health_of_a_service_needs_the_service_and_every_dependency() {
        let health = Health::new();
        let mut watched = watch(&health, "shop.v1.Cart").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::ServiceUnknown));
        health.set_service("shop.v1.Cart", true);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        health.dependency("store", false);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        health.withdraw_service("shop.v1.Cart");
        assert_eq!(next(&mut watched).await, Some(ServingStatus::ServiceUnknown));
    }

    #[tokio::test]
    async fn health_watch_ends_with_the_drain() {
        let health = Health::new();
        let mut watched = watch(&health, "").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        health.draining();
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        assert_eq!(next(&mut watched).await, None);
    }
}
