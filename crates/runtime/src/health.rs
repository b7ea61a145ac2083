//! Health and readiness: `grpc.health.v1`, overall and per service, with Watch.
//!
//! Readiness follows named dependencies; a process that waits for its database is alive but not ready.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server};

use crate::shutdown::Shutdown;

#[derive(Clone, Debug, Default)]
struct State {
    services: BTreeMap<String, bool>,
    dependencies: BTreeMap<String, bool>,
    draining: bool,
}

impl State {
    fn ready(&self) -> bool {
        !self.draining && self.dependencies.values().all(|up| *up)
    }

    /// `None` for a service that nobody announced.
    fn serving(&self, service: &str) -> Option<bool> {
        if service.is_empty() {
            return Some(self.ready());
        }
        self.services.get(service).map(|able| *able && self.ready())
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

    /// Announces a service, or says whether it is able to serve. It serves while it is able and the process is ready.
    pub fn set_service(&self, name: &str, able: bool) {
        self.set(|state| state.services.insert(name.to_owned(), able) != Some(able));
    }

    /// Says whether a dependency is up. The process is ready while all named ones are.
    pub fn dependency(&self, name: &str, up: bool) {
        self.set(|state| state.dependencies.insert(name.to_owned(), up) != Some(up));
    }

    /// From now on not ready, so that nobody sends new work. Watchers are told and let go.
    pub fn draining(&self) {
        self.set(|state| !std::mem::replace(&mut state.draining, true));
    }

    /// Turns to draining when the shutdown begins.
    pub fn follow(&self, shutdown: &Shutdown) {
        let (health, begun) = (self.clone(), shutdown.begun());
        tokio::spawn(async move {
            begun.await;
            health.draining();
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

    /// Whether every dependency is up and no shutdown has begun.
    pub fn ready(&self) -> bool {
        self.0.borrow().ready()
    }

    /// What stands between the process and being ready, in alphabetical order.
    pub fn missing(&self) -> Vec<String> {
        let state = self.0.borrow();
        let down = state.dependencies.iter().filter(|(_, up)| !**up).map(|(name, _)| name.clone());
        down.chain(state.draining.then(|| "draining".to_owned())).collect()
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

    #[test]
    fn readiness_follows_its_dependencies() {
        let health = Health::new();
        assert!(health.ready());
        health.dependency("store", false);
        health.dependency("auth", false);
        assert!(!health.ready());
        assert_eq!(health.missing(), ["auth", "store"]);
        health.dependency("store", true);
        assert!(!health.ready());
        health.dependency("auth", true);
        assert!(health.ready());
    }

    #[tokio::test]
    async fn dependency_follows_its_watch_and_is_down_once_the_sender_is_gone() {
        let (sender, up) = watch::channel(false);
        let health = Health::new();
        health.follow_dependency("auth", up);
        assert_eq!(health.missing(), ["auth"], "from the present value on");
        let mut watched = self::watch(&health, "").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
        sender.send_replace(true);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        drop(sender);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
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
    async fn health_of_a_service_needs_the_service_and_the_process() {
        let health = Health::new();
        let mut watched = watch(&health, "shop.v1.Cart").await;
        assert_eq!(next(&mut watched).await, Some(ServingStatus::ServiceUnknown));
        health.set_service("shop.v1.Cart", true);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
        health.dependency("store", false);
        assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
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
