//! Certificates that are replaced while everything is called, and then their authority, in the order that `deploy/guide/rotate.md` says.

use std::{fmt, sync::Arc};

use accord_test_certificates::Authority;
use anyhow::{Context, Result};
use rustls::ClientConfig;
use tokio::sync::watch;
use toml::toml;

use super::connect::Trust;
use crate::{Builder, Part, Server, mutual_tls::Certificates};

/// As whom clients show themselves to auth: somebody whom it lets in.
const CLIENT: Part = Part::Catalog;
/// What a process counts for each thing that it made anew of files.
const RELOADS: &str = "accord_files_reloads_total";

/// What is replaced at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Each gets another certificate of the same authority.
    Renew,
    /// All trust the next authority as well.
    TrustBoth,
    /// Each gets a certificate of the next one.
    IssueByNext,
    /// Nobody trusts the one before.
    TrustNext,
}

impl Step {
    const ALL: [Self; 4] = [Self::Renew, Self::TrustBoth, Self::IssueByNext, Self::TrustNext];
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Renew => "renewed",
            Self::TrustBoth => "two authorities are trusted",
            Self::IssueByNext => "issued by the next authority",
            Self::TrustNext => "the next authority alone is trusted",
        })
    }
}

/// The certificates of all processes, and how far the change of their authority is.
pub(super) struct Rotation {
    current: Authority,
    next: Authority,
    certificates: Certificates,
    trusted: String,
    trust: watch::Sender<Arc<ClientConfig>>,
    count: usize,
}

impl Rotation {
    pub(super) fn begin() -> Result<Self> {
        let (current, next) = (Authority::named("mesh"), Authority::named("mesh"));
        let (certificates, trusted) = (Certificates::issued_by(&current)?, current.pem());
        let trust = watch::Sender::new(Arc::new(certificates.client_config(CLIENT, &trusted)?));
        Ok(Self { current, next, certificates, trusted, trust, count: 0 })
    }

    /// All call each other over TLS, and the gateway is called over TLS.
    pub(super) fn encrypt(&self, builder: Builder) -> Builder {
        let tls = self.certificates.public(Part::Gateway);
        builder.mutual_tls(&self.certificates).settings(Part::Gateway, toml! { listen = { tls = tls } })
    }

    /// What a client needs, at each moment.
    pub(super) fn trust(&self) -> Trust {
        self.trust.subscribe()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes the next step, and waits until these have taken it over.
    pub(super) async fn advance(&mut self, mut servers: Vec<(Part, &mut Server)>) -> Result<Step> {
        let mut before = Vec::new();
        for (part, server) in &servers {
            before.push(reloads(*part, server).await?);
        }
        let step = Step::ALL[self.count % Step::ALL.len()];
        self.take(step)?;
        for ((_, server), before) in servers.iter_mut().zip(before) {
            for (kind, count) in before {
                let all = |now| now > count - 0.5;
                let taken_over = server.await_metric(RELOADS, &labels(kind), all).await;
                taken_over.with_context(|| format!("{step}, {kind} not taken over"))?;
            }
        }
        self.count += 1;
        Ok(step)
    }

    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Renew => self.certificates.issue(&self.current)?,
            Step::TrustBoth => self.trusted = format!("{}{}", self.current.pem(), self.next.pem()),
            Step::IssueByNext => self.certificates.issue(&self.next)?,
            Step::TrustNext => {
                self.current = std::mem::replace(&mut self.next, Authority::named("mesh"));
                self.trusted = self.current.pem();
            }
        }
        if matches!(step, Step::TrustBoth | Step::TrustNext) {
            self.certificates.trust(&self.trusted)?;
        }
        self.trust.send_replace(Arc::new(self.certificates.client_config(CLIENT, &self.trusted)?));
        Ok(())
    }
}

/// How many changes a process will have counted of its files, once it has taken over the next one: one more for each listener, and for
/// each connection pool.
async fn reloads(part: Part, server: &Server) -> Result<[(&'static str, f64); 2]> {
    let (listeners, pools) = match part {
        // Who calls from outside, and other services; auth, the cache, and the sample service.
        Part::Gateway => (2.0, 3.0),
        // Auth, and the sample service.
        Part::Cache => (1.0, 2.0),
        Part::Catalog => (1.0, 1.0),
        _ => (1.0, 0.0),
    };
    let count = async |kind| server.metric(RELOADS, &labels(kind)).await;
    Ok([("server_tls", listeners + count("server_tls").await?), ("client_tls", pools + count("client_tls").await?)])
}

fn labels(kind: &str) -> [(&str, &str); 2] {
    [("kind", kind), ("outcome", "replaced")]
}
