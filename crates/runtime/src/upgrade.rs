//! Upgrade (RFC 9110, 7.8): what goes on by a connection once it no longer speaks HTTP/1.1. It is still served, counted, drained
//! and bounded as before.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use http::Request;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

/// The bytes of an upgraded connection.
pub type UpgradedIo = TokioIo<Upgraded>;

/// Ends when the connection has to go: with the grace of its age, and a moment before a shutdown cuts it.
pub type GoingAway = Pin<Box<dyn Future<Output = ()> + Send>>;

type Work = Box<dyn FnOnce(GoingAway) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A connection whose client asks for another protocol.
pub struct Upgrade(OnUpgrade);

/// What follows the response that switches the protocol (101), in whose extensions it stands. Clones are the same.
#[derive(Clone)]
pub struct AfterUpgrade(Arc<Mutex<Option<Work>>>);

impl Upgrade {
    /// Of the request that asks for it.
    pub fn of<B>(request: &mut Request<B>) -> Self {
        Self(hyper::upgrade::on(request))
    }

    /// What is done with the connection once the response is out; nothing where it ends before.
    pub fn then<F>(self, work: impl FnOnce(UpgradedIo, GoingAway) -> F + Send + 'static) -> AfterUpgrade
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = move |going_away| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                if let Ok(upgraded) = self.0.await {
                    work(TokioIo::new(upgraded), going_away).await;
                }
            })
        };
        AfterUpgrade(Arc::new(Mutex::new(Some(Box::new(work)))))
    }
}

impl AfterUpgrade {
    /// To be done once.
    pub(crate) fn take(&self) -> Option<Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
