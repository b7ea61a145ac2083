//! One server or a Cluster: which node is asked for a key.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accord_runtime::deadline::Deadline;
use accord_runtime::tls::TlsError;
use arc_swap::ArcSwapOption;
use opentelemetry::metrics::Gauge;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout, timeout_at};

use crate::connection::NoReply;
use crate::link::{Common, Link, Live, Texts};
use crate::reply::{Reply, command};
use crate::server::{Address, Options};
use crate::slot::slot;
use crate::slots::{Redirect, Slots};

/// How often a command is sent on to another node.
const MOST_REDIRECTS: usize = 2;

/// Between two looks at the slots of a Cluster: where all its nodes answer, where one does not, and at least.
const CALM: Duration = Duration::from_secs(30);
const WAITING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// The servers. Errors and refusals of commands are its callers' to bear: nothing is tried again.
pub struct Client {
    common: Arc<Common>,
    links: Mutex<BTreeMap<Address, Arc<Link>>>,
    topology: ArcSwapOption<Topology>,
    up: watch::Sender<bool>,
    up_gauge: Gauge<u64>,
}

/// Which link is for which key.
enum Topology {
    One(Arc<Link>),
    Cluster { nodes: Vec<Arc<Link>>, owners: Vec<Option<u16>> },
}

impl Topology {
    fn link(&self, key: &[u8]) -> Option<&Arc<Link>> {
        match self {
            Self::One(link) => Some(link),
            Self::Cluster { nodes, owners } => nodes.get(usize::from((*owners.get(slot(key))?)?)),
        }
    }

    fn is_up(&self) -> bool {
        match self {
            Self::One(link) => link.live().is_some(),
            Self::Cluster { nodes, owners } => {
                nodes.iter().all(|node| node.live().is_some()) && owners.iter().all(Option::is_some)
            }
        }
    }
}

/// Why a command was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Its node has no connection.
    Disconnected,
    /// As many commands are in flight as may be.
    Busy,
    /// The server did not answer in time.
    Timeout,
    /// The caller's own deadline came first, which says nothing of the server.
    Deadline,
    /// The server answered with this error.
    Refused(String),
}

impl Client {
    /// A client that is not kept yet. `greeting`: what each connection has to answer before it is used.
    pub fn new(options: Options, texts: Texts, greeting: Vec<Vec<u8>>, up_gauge: Gauge<u64>) -> Result<Self, TlsError> {
        let common = Arc::new(Common::new(options, texts, greeting)?);
        Ok(Self {
            common,
            links: Mutex::default(),
            topology: ArcSwapOption::empty(),
            up: watch::Sender::new(false),
            up_gauge,
        })
    }

    /// Whether all keys can be asked for.
    pub fn is_up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Sends commands, which all are about keys in the slot of this one, and waits for their replies: no longer than the timeout,
    /// and not beyond a deadline. An error among the replies has failed all of them.
    pub async fn ask(
        &self,
        key: &[u8],
        commands: &[Vec<u8>],
        longest: Duration,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Reply>, Unanswered> {
        let wait_budget = Deadline::after(longest);
        let until = deadline.map_or(wait_budget, |deadline| deadline.min(wait_budget));
        let link = self.topology.load().as_ref().and_then(|topology| topology.link(key).cloned());
        let mut target = (link.ok_or(Unanswered::Disconnected)?, false);
        for _ in 0..=MOST_REDIRECTS {
            let (link, is_asking) = &target;
            let live = link.live().ok_or(Unanswered::Disconnected)?;
            let is_late = || if until < wait_budget { Unanswered::Deadline } else { Unanswered::Timeout };
            let replies = timeout_at(until.at(), send(&live, commands, *is_asking)).await;
            let replies = replies.unwrap_or_else(|_| Err(is_late()));
            if replies == Err(Unanswered::Timeout) {
                live.failed();
            }
            let replies = replies?;
            let Some(error) =
                replies.iter().find_map(|reply| if let Reply::Error(text) = reply { Some(text) } else { None })
            else {
                live.answered();
                return Ok(replies);
            };
            let Some(redirect) = Redirect::read(error, &link.address.host) else {
                live.failed();
                self.common.changed.notify_one();
                return Err(Unanswered::Refused(error.clone()));
            };
            target = self.redirected(redirect).ok_or(Unanswered::Disconnected)?;
        }
        Err(Unanswered::Disconnected)
    }

    /// Where a command goes on to, where that node is known.
    fn redirected(&self, redirect: Redirect) -> Option<(Arc<Link>, bool)> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match redirect {
            Redirect::Moved(address) => {
                self.common.changed.notify_one();
                links.get(&address).map(|link| (Arc::clone(link), false))
            }
            Redirect::Ask(address) => links.get(&address).map(|link| (Arc::clone(link), true)),
        }
    }

    /// Connects again and again, and follows the slots of a Cluster.
    pub async fn keep(self: Arc<Self>) -> Infallible {
        let (mut tasks, mut kept) = (JoinSet::new(), BTreeMap::new());
        self.link_only(self.seeds(), &mut tasks, &mut kept);
        loop {
            let is_cluster = matches!(self.topology.load().as_deref(), Some(Topology::Cluster { .. }));
            let longest = match (is_cluster, *self.up.borrow()) {
                (true, true) => CALM,
                (true, false) => WAITING,
                (false, _) => Duration::MAX,
            };
            // Whichever comes first.
            let _ = timeout(longest, self.common.changed.notified()).await.is_ok();
            if let Some(slots) = self.discover().await {
                let nodes = self.seeds().into_iter().chain(slots.nodes.iter().cloned());
                let links = self.link_only(nodes.collect(), &mut tasks, &mut kept);
                let nodes = slots.nodes.iter().filter_map(|node| links.get(node).cloned()).collect();
                self.topology.store(Some(Arc::new(Topology::Cluster { nodes, owners: slots.owners })));
            }
            let is_up = self.topology.load().as_ref().is_some_and(|topology| topology.is_up());
            self.up.send_replace(is_up);
            self.up_gauge.record(is_up.into(), &[]);
            sleep(PAUSE).await;
        }
    }

    fn seeds(&self) -> Vec<Address> {
        self.common.options.servers.iter().map(|server| server.address.clone()).collect()
    }

    /// Keeps links to these nodes, and to no others.
    fn link_only(
        &self,
        nodes: Vec<Address>,
        tasks: &mut JoinSet<()>,
        kept: &mut BTreeMap<Address, AbortHandle>,
    ) -> BTreeMap<Address, Arc<Link>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|address, _| nodes.contains(address));
        kept.retain(|address, task| {
            let stays = nodes.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in nodes {
            links.entry(address).or_insert_with_key(|address| {
                let link = Arc::new(Link::new(&self.common, address.clone()));
                kept.insert(address.clone(), tasks.spawn(Arc::clone(&link).keep()));
                link
            });
        }
        links.clone()
    }

    /// Asks a node that answers for the slots; nothing where there are none, or nobody answers. One that knows of none is alone.
    async fn discover(&self) -> Option<Slots> {
        let links: Vec<_> = self.links.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let live = |link: &Arc<Link>| link.live().map(|live| (Arc::clone(link), live));
        let question = [command(&["CLUSTER", "SLOTS"])];
        for (link, live) in links.iter().filter_map(live) {
            let asking = send(&live, &question, false);
            let Ok(Ok(replies)) = timeout(self.common.options.connect_timeout, asking).await else { continue };
            let reply = replies.first()?;
            if let Some(slots) = Slots::read(reply, &link.address.host).filter(|slots| !slots.nodes.is_empty()) {
                return Some(slots);
            }
            let is_alone = matches!(reply, Reply::Error(text) if !text.starts_with("CLUSTERDOWN"));
            if is_alone && !matches!(self.topology.load().as_deref(), Some(Topology::Cluster { .. })) {
                self.topology.store(Some(Arc::new(Topology::One(link))));
                return None;
            }
        }
        None
    }
}

/// Sends commands together. `is_asking`: to a node that is taking over their slot.
async fn send(live: &Live, commands: &[Vec<u8>], is_asking: bool) -> Result<Vec<Reply>, Unanswered> {
    let asking = if is_asking { command(&["ASKING"]) } else { Vec::new() };
    let bytes: Vec<u8> = commands.iter().flat_map(|command| [&asking[..], command]).flatten().copied().collect();
    let each = 1 + usize::from(is_asking);
    let replies = live.connection.ask(bytes, commands.len() * each).await.map_err(|error| match error {
        NoReply::Busy => Unanswered::Busy,
        NoReply::Closed => Unanswered::Disconnected,
    })?;
    Ok(replies.into_iter().skip(each - 1).step_by(each).collect())
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}
