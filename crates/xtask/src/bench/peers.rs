//! Servers that others run for the same: found on this machine, or installed. One that can't be had is named as missing.

mod envoy;
mod gin;
mod haproxy;
mod keys;
mod memcached;
mod nginx;
mod redis;

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Result;

use self::keys::Key;
use super::{
    checks::Checks,
    load::Protocol,
    stage::{Stage, Started},
};
pub(super) use crate::programs::debian;
use crate::say::note;

/// What a listener of a peer does: what it makes gRPC of, what it checks, and whether that is over TLS.
type Service = (Form, Checks, bool);

/// What callers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Grpc,
    GrpcWeb,
    Connect,
    Json,
}

impl Form {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Grpc => Self::Grpc,
            Protocol::GrpcWeb => Self::GrpcWeb,
            Protocol::Connect => Self::Connect,
            Protocol::Http1 | Protocol::Http2 => Self::Json,
        }
    }
}

/// A running peer.
struct Peer {
    process: Started,
    /// Where it does what. One that checks nothing serves every case.
    listeners: BTreeMap<Service, SocketAddr>,
    /// What is said of it beside its figures.
    checks_nothing: bool,
}

/// All that the cases need.
pub(super) struct Peers {
    running: BTreeMap<&'static str, Peer>,
    missing: Vec<String>,
}

impl Peers {
    /// Starts those that are wanted, but for those that are to be left out.
    pub(super) async fn start(stage: &Stage, wanted: &[&str], without: &[String]) -> Result<Self> {
        let key = Key::of(stage).await?;
        let (mut running, mut missing) = (BTreeMap::new(), Vec::new());
        for name in ["Envoy", "HAProxy", "nginx", "Gin", "Redis", "memcached"] {
            let is_left_out = without.iter().any(|it| it.eq_ignore_ascii_case(name));
            if is_left_out || !wanted.contains(&name) {
                continue;
            }
            note(format_args!("Starting {name} ..."));
            let started = match name {
                "Envoy" => envoy::start(stage, &key).await,
                "HAProxy" => haproxy::start(stage).await,
                "nginx" => nginx::start(stage).await,
                "Redis" => redis::start(stage).await,
                "memcached" => memcached::start(stage).await,
                _ => gin::start(stage, &key).await,
            };
            match started {
                Ok(peer) => drop(running.insert(name, peer)),
                Err(problem) => missing.push(format!("{name}: {problem:#}")),
            }
        }
        Ok(Self { running, missing })
    }

    /// Those that could not be had, and why.
    pub(super) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Where a peer is that has no listeners of its own for what it does, and its process.
    pub(super) fn process(&self, name: &str) -> Option<(SocketAddr, u32)> {
        self.running.get(name).map(|peer| (peer.process.address, peer.process.process.id()))
    }

    /// Where a peer does this, and its process.
    pub(super) fn endpoint(
        &self,
        name: &str,
        protocol: Protocol,
        checks: Checks,
        is_encrypted: bool,
    ) -> Option<(SocketAddr, u32)> {
        let peer = self.running.get(name)?;
        let service = (Form::of(protocol), if peer.checks_nothing { Checks::None } else { checks }, is_encrypted);
        Some((*peer.listeners.get(&service)?, peer.process.process.id()))
    }
}
