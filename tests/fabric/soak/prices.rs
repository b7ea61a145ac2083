//! Prices in the database of a service. Plain SQL alone changes them, each replica of the cache loads them by a query and keeps them
//! for minutes, and an outbox is all that tells the cache of a change: without it a replica goes on with what it holds.

mod known;

use std::{
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use accord_api::accord::cache::v1::{GetRequest, cache_service_client::CacheServiceClient};
use anyhow::Result;
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sqlx::{Connection, Executor, PgConnection};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use toml::{Table, toml};
use tonic::{
    Code, Request,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use self::known::Known;
pub(super) use self::known::PriceJudge;
use crate::{Bearer, binaries, home, tool::output, writers::Writers};

const NAMESPACE: &str = "prices";
const TABLE: &str = "CREATE TABLE prices (id text PRIMARY KEY, number bigint NOT NULL)";
const FIRST: &str = "INSERT INTO prices VALUES ($1, 0)";
const CHANGE: &str = "UPDATE prices SET number = $2 WHERE id = $1";
/// How long a change may take: longer than the database is away in a failover.
const CHANGED: Duration = Duration::from_secs(20);
/// How long a read may take.
const READ: Duration = Duration::from_secs(2);
/// How long a change is looked for before the next one is made.
const LOOK: Duration = Duration::from_secs(3);
/// Between two reads that look for a change.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// How long a price is left alone, in milliseconds.
const QUIET: Range<u64> = 100..1_500;

type Client = CacheServiceClient<InterceptedService<Channel, Bearer>>;

/// The prices, with who changes and reads them.
pub(super) struct Prices {
    replicas: Vec<Client>,
    /// Of the database, as a service reaches it.
    url: String,
    seed: u64,
    known: Vec<Known>,
    judge: PriceJudge,
    is_over: watch::Sender<bool>,
}

/// What a replica is configured with that reaches the database there.
pub(super) fn settings(database: SocketAddr) -> Table {
    let (url, of_outbox) = (url(database), url(database));
    toml! {
        [[namespace]]
        name = NAMESPACE
        read_permission = "carts.read"
        write_permission = "carts.write"
        default_ttl = "10m"
        [namespace.query]
        url = url
        sql = "SELECT id AS key, number::text AS value FROM prices WHERE id = ANY($1)"
        [[outbox]]
        name = "prices"
        url = of_outbox
        lease = "2s"
        poll_interval = "500ms"
        [[outbox.table]]
        name = "public.prices"
        [[outbox.table.key]]
        namespace = NAMESPACE
        key = "{id}"
    }
}

/// Makes the prices, and installs the outbox on them as an operator does: by a subcommand of the cache.
pub(super) async fn install(database: SocketAddr, prices: usize, directory: &Path) -> Result<()> {
    let mut operator = PgConnection::connect(&url(database)).await?;
    operator.execute(TABLE).await?;
    for at in 0..prices {
        sqlx::query(FIRST).bind(id(at)).execute(&mut operator).await?;
    }
    let config: PathBuf = directory.join("outbox.toml");
    home::write(&config, settings(database).to_string())?;
    let cache = binaries::path("accord-cache")?.display().to_string();
    output(&cache, &["outbox", "install", "--config", &config.display().to_string()]).await?;
    Ok(())
}

impl Prices {
    /// Changed by way of this address of the database, and read at these replicas.
    pub(super) fn new(
        database: SocketAddr,
        replicas: &[SocketAddr],
        token: &str,
        seed: u64,
        prices: usize,
    ) -> Result<Arc<Self>> {
        let client = |replica: &SocketAddr| {
            let channel = Endpoint::from_shared(format!("http://{replica}"))?.tcp_nodelay(true).connect_lazy();
            anyhow::Ok(CacheServiceClient::with_interceptor(channel, Bearer::new(token)?))
        };
        Ok(Arc::new(Self {
            replicas: replicas.iter().map(client).collect::<Result<_>>()?,
            url: url(database),
            seed,
            known: (0..prices).map(|at| Known::new(id(at))).collect(),
            judge: PriceJudge::new(),
            is_over: watch::Sender::new(false),
        }))
    }

    pub(super) fn judge(&self) -> &PriceJudge {
        &self.judge
    }

    /// Starts a writer for each price, who is its reader as well.
    pub(super) fn start(self: &Arc<Self>) -> Writers {
        Writers::start(self.known.len(), |at| Arc::clone(self).change_on(at))
    }

    /// Ends what was started, and waits for what is under way.
    pub(super) async fn end(&self, writers: Writers) -> Result<()> {
        self.is_over.send_replace(true);
        writers.end().await
    }

    async fn change_on(self: Arc<Self>, at: usize) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (at as u64) << 48);
        let (mut is_over, known) = (self.is_over.subscribe(), &self.known[at]);
        let mut connection = None;
        loop {
            let number = known.attempt();
            let changed = timeout(CHANGED, self.change(&mut connection, &known.id, number)).await;
            if let Ok(Ok(())) = changed {
                self.judge.committed(known, number);
            } else {
                // Whether it was committed is not known. What is left of the connection is no use.
                connection = None;
                self.judge.failed();
            }
            join_all((0..self.replicas.len()).map(|replica| self.look_for(known, number, replica))).await;
            let quiet = Duration::from_millis(rng.random_range(QUIET));
            if timeout(quiet, is_over.wait_for(|is_over| *is_over)).await.is_ok() {
                return;
            }
        }
    }

    async fn change(&self, connection: &mut Option<PgConnection>, id: &str, number: u64) -> Result<()> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(PgConnection::connect(&self.url).await?),
        };
        sqlx::query(CHANGE).bind(id).bind(i64::try_from(number)?).execute(connection).await?;
        Ok(())
    }

    /// Reads at a replica until it tells this change, and no longer than a while.
    async fn look_for(&self, known: &Known, number: u64, replica: usize) {
        let begun = Instant::now();
        while begun.elapsed() < LOOK {
            if self.read(known, replica).await.is_some_and(|told| told >= number) {
                return self.judge.seen_after(begun.elapsed());
            }
            // Nothing tells a caller of Get that a replica has forgotten; one that is gone refuses at once, and would be asked all the time.
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Reads and judges; the number that was told.
    async fn read(&self, known: &Known, replica: usize) -> Option<u64> {
        let floor = self.judge.floor(known);
        let mut get =
            Request::new(GetRequest { namespace: NAMESPACE.to_owned(), key: known.id.clone(), consistency: None });
        get.set_timeout(READ);
        let told = match timeout(READ, self.replicas[replica].clone().get(get)).await {
            Ok(Ok(answer)) => answer.into_inner().entry.and_then(|entry| number(&entry.value)),
            Ok(Err(status)) if status.code() == Code::NotFound => None,
            _ => {
                self.judge.unanswered();
                return None;
            }
        };
        self.judge.read(known, floor, told, replica);
        told
    }
}

fn id(at: usize) -> String {
    format!("price-{at}")
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn url(database: SocketAddr) -> String {
    format!("postgres://accord@{database}/postgres")
}
