//! The namespaces that the configuration declares: their bounds, and who may read and write them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accord_readthrough::{Engine, Namespace, NamespaceLimits, Origin, Store, World};
use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count, DAY, HOUR, Time};
use accord_runtime::{fair_share::FairShare, telemetry};
use accord_upstream::UpstreamConfig;
use opentelemetry::KeyValue;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::declared_metrics::NAMESPACE_WATCHERS;
use crate::malformed::malformed;
use crate::namespace_origin::KeyOrigin;
use crate::namespace_origin::query::{QueryConfig, QueryOrigin};
use crate::namespace_origin::records::{KeyRecords, LONGEST_KEY, RecordsConfig, RecordsOrigin};
use crate::namespace_origin::upstream::{OriginConfig, UpstreamOrigin};
use crate::upstreams::Upstreams;

/// Most namespaces: each has metrics of its own.
const MOST: usize = 256;

/// What an entry may cost beside its key and its value: tags, and its places in memory.
const ENTRY_OVERHEAD: u64 = 4096;

/// A namespace: a key/value space of its own, the section `[[namespace]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceConfig {
    /// Its name in calls, paths and metrics: 1 to 64 characters of `a-z`, `0-9`, `-`, `_` and `.`. No default; no two have the
    /// same.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The permission that reading takes: `Get`, `BatchGet`, `Watch`, `Stats`. The resource of its policies is the upstream under whose
    /// name the gateway fronts the cache, which is the cache's `auth.client_id`. No default.
    #[serde(deserialize_with = "bound::text")]
    pub read_permission: String,
    /// The permission that writing takes: `Put`, `Touch`, `Delete`, `Invalidate`. No default.
    #[serde(deserialize_with = "bound::text")]
    pub write_permission: String,
    /// Bytes of its entries of all tenants, with what it costs to keep them; what was put first leaves first. They count in
    /// `engine.capacity_bytes`. 65536 to 1099511627776. Default: 16777216 (16 MiB).
    #[serde(with = "Count::<65_536, 1_099_511_627_776>")]
    pub max_bytes: u64,
    /// Its entries; what was put first leaves first. 1 to 100000000. Default: 65536.
    #[serde(with = "Count::<1, 100_000_000>")]
    pub max_entries: u64,
    /// Bytes of a key; a longer one is refused with `INVALID_ARGUMENT`. 1 to 4096. Default: 512.
    #[serde(with = "Count::<1, 4_096>")]
    pub max_key_bytes: usize,
    /// Bytes of a value; a larger one is refused with `RESOURCE_EXHAUSTED`. 1 to 3145728. Default: 65536.
    #[serde(with = "Count::<1, 3_145_728>")]
    pub max_value_bytes: usize,
    /// The life of a value that is put without one, or loaded; 1ms to 365days. Default: `5m`.
    #[serde(with = "Time::<1, { 365 * DAY }>")]
    pub default_ttl: Duration,
    /// The longest life; a longer one is refused with `INVALID_ARGUMENT`. 1ms to 365days. Default: `1h`.
    #[serde(with = "Time::<1, { 365 * DAY }>")]
    pub max_ttl: Duration,
    /// The changes that are remembered for those who watch it: who reads more slowly, or comes back later, begins anew. One of more
    /// than 1024 bytes takes the room of several, and where there is no room the tenant that takes most loses its oldest.
    /// 1 to 1000000. Default: 1024.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_changes: usize,
    /// Watchers at a time; one principal has at most half of those that are left. 1 to 1000000. Default: 256.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_watchers: u64,
    /// The longest silence in a stream of changes, 100ms to 1h. Default: `15s`.
    #[serde(with = "Time::<100, HOUR>")]
    pub heartbeat: Duration,
    /// For how long a `Put` under an idempotency key is remembered, 1s to 30days. Default: `1h`.
    #[serde(with = "Time::<1_000, { 30 * DAY }>")]
    pub idempotency_window: Duration,
    /// Where `Put` and `Delete` write: `around` changes what is in memory alone, and the origin, if there is one, is changed by
    /// others; `through` writes the record first, which takes `[namespace.records]`. Default: `around`.
    pub write: WriteMode,
    /// Where a key that holds nothing is loaded from: a method of an upstream. Default: nowhere, and `Get` says that it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginConfig>,
    /// The same: rows in the cache's own store. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsConfig>,
    /// The same: a query of a PostgreSQL server. Default: none. No more than one of the three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryConfig>,
}

/// Where a namespace writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Memory alone.
    #[default]
    Around,
    /// The record first, and then memory.
    Through,
}

impl Default for NamespaceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            read_permission: String::new(),
            write_permission: String::new(),
            max_bytes: 16 * 1024 * 1024,
            max_entries: 65_536,
            max_key_bytes: 512,
            max_value_bytes: 64 * 1024,
            default_ttl: Duration::from_mins(5),
            max_ttl: Duration::from_hours(1),
            max_changes: 1024,
            max_watchers: 256,
            heartbeat: Duration::from_secs(15),
            idempotency_window: Duration::from_hours(1),
            write: WriteMode::Around,
            origin: None,
            records: None,
            query: None,
        }
    }
}

impl NamespaceConfig {
    fn contradictions(&self, capacity: u64, upstreams: &[UpstreamConfig]) -> Vec<Invalid> {
        let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let has_name = (1..=64).contains(&self.name.len()) && self.name.bytes().all(is_name);
        let largest = self.max_key_bytes as u64 + self.max_value_bytes as u64 + ENTRY_OVERHEAD;
        let checks = [
            ("name", has_name, "a namespace needs a name of 1 to 64 characters of a-z, 0-9, -, _ and .", "name it"),
            (
                "read_permission",
                !self.read_permission.is_empty(),
                "nothing says who may read it",
                "name a permission, such as carts.read",
            ),
            (
                "write_permission",
                !self.write_permission.is_empty(),
                "nothing says who may write it",
                "name a permission, such as carts.write",
            ),
            (
                "max_bytes",
                self.max_bytes <= capacity,
                "a namespace can't have more bytes than the whole cache",
                "raise `engine.capacity_bytes`, or lower it",
            ),
            (
                "max_value_bytes",
                largest <= self.max_bytes,
                "an entry with the largest key and value, and 4096 bytes more, does not fit into `max_bytes`",
                "raise `max_bytes`, or lower it",
            ),
            (
                "default_ttl",
                self.default_ttl <= self.max_ttl,
                "it is longer than `max_ttl`",
                "raise `max_ttl`, or lower it",
            ),
        ];
        let broken = checks.into_iter().filter(|(_, holds, ..)| !holds);
        let broken = broken.map(|(key, _, problem, remedy)| Invalid::new(key, problem, remedy));
        broken.chain(self.contradictions_of_origin(upstreams)).collect()
    }

    fn contradictions_of_origin(&self, upstreams: &[UpstreamConfig]) -> Vec<Invalid> {
        let origins = [self.origin.is_some(), self.records.is_some(), self.query.is_some()];
        let checks = [
            (
                "origin",
                origins.into_iter().filter(|is_there| *is_there).count() <= 1,
                "a namespace can't be loaded from several places",
                "leave one of `origin`, `records` and `query`",
            ),
            (
                "write",
                self.write == WriteMode::Around || self.records.is_some(),
                "only records can be written through",
                "add [namespace.records], or write `around`",
            ),
            (
                "max_key_bytes",
                self.records.is_none() || self.max_key_bytes <= LONGEST_KEY,
                "the key of a record can't be longer than 1024 bytes",
                "lower it",
            ),
        ];
        let broken = checks.into_iter().filter(|(_, holds, ..)| !holds);
        let broken = broken.map(|(key, _, problem, remedy)| Invalid::new(key, problem, remedy));
        let of_origin = self.origin.iter().flat_map(|origin| origin.contradictions(upstreams));
        broken.chain(of_origin).chain(self.query.iter().flat_map(QueryConfig::contradictions)).collect()
    }
}

/// What contradicts itself in these sections, where the whole cache has `capacity` bytes and may call these upstreams.
pub(crate) fn contradictions(
    configured: &[NamespaceConfig],
    capacity: u64,
    upstreams: &[UpstreamConfig],
) -> Vec<Invalid> {
    if configured.len() > MOST {
        let problem = format!("there are {} namespaces, more than {MOST}", configured.len());
        return vec![Invalid::new("namespace", problem, "leave some out")];
    }
    let mut found = Vec::new();
    for (index, namespace) in configured.iter().enumerate() {
        let mut wrong = namespace.contradictions(capacity, upstreams);
        if configured[..index].iter().any(|other| other.name == namespace.name) {
            let problem = format!("two namespaces are named {}", namespace.name);
            wrong.push(Invalid::new("name", problem, "give each a name of its own"));
        }
        found.extend(wrong.into_iter().map(|invalid| invalid.under(format!("namespace.{index}"))));
    }
    found
}

/// What of these sections can't hold where replicas share a log: memory of one replica is none of the others'.
pub(crate) fn of_one_replica(configured: &[NamespaceConfig]) -> Vec<Invalid> {
    let problem = |namespace: &NamespaceConfig| {
        let has_origin = namespace.origin.is_some() || namespace.records.is_some() || namespace.query.is_some();
        if !has_origin {
            let problem = "its values would be in the memory of one replica, where `log.url` is for several";
            let remedy = "give it an origin, such as [namespace.records] with `write = \"through\"`, or a cache of its own without `log.url`";
            return Some(Invalid::new("origin", problem, remedy));
        }
        let is_unwritten = namespace.records.is_some() && namespace.write == WriteMode::Around;
        let problem =
            "nobody could put a record: where `log.url` is for several replicas, memory holds what the records have";
        is_unwritten.then(|| Invalid::new("write", problem, "set it to `through`"))
    };
    let found = configured.iter().enumerate().filter_map(|(index, namespace)| Some((index, problem(namespace)?)));
    found.map(|(index, invalid)| invalid.under(format!("namespace.{index}"))).collect()
}

/// The namespaces by their names.
#[derive(Debug)]
pub(crate) struct Namespaces(HashMap<String, Space>);

/// A namespace and what it was configured with.
#[derive(Debug)]
pub(crate) struct Space {
    /// What it holds.
    pub namespace: Namespace,
    /// Its bounds and permissions.
    pub config: NamespaceConfig,
    /// Where what a key does not hold is loaded from.
    pub origin: Option<Arc<dyn KeyOrigin>>,
    /// What is written first.
    pub through: Option<Arc<RecordsOrigin>>,
    /// Places of those who watch it.
    pub watchers: FairShare,
}

impl Namespaces {
    /// Empty ones in this engine's store, which load from these upstreams.
    pub(crate) fn new<O: Origin, S: Store, W: World>(
        engine: &Engine<O, S, W>,
        configured: &[NamespaceConfig],
        upstreams: &Upstreams,
        records: Option<&KeyRecords>,
    ) -> Result<Self, Status> {
        let space = |config: &NamespaceConfig| {
            let limits =
                NamespaceLimits { bytes: config.max_bytes, entries: config.max_entries, changes: config.max_changes };
            let namespace = match &config.query {
                Some(_) => engine.namespace_of_rows(&config.name, limits),
                None => engine.namespace(&config.name, limits),
            };
            let of_records = records_origin(config, records)?;
            let origin = match &of_records {
                Some(records) => Some(Arc::clone(records) as Arc<dyn KeyOrigin>),
                None => other_origin(config, upstreams)?,
            };
            let through = of_records.filter(|_| config.write == WriteMode::Through);
            let watchers = FairShare::new(config.max_watchers, FairShare::DEFAULT);
            observe_watchers(&config.name, &watchers);
            Ok((config.name.clone(), Space { namespace, config: config.clone(), origin, through, watchers }))
        };
        configured.iter().map(space).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Space> {
        self.0.get(name)
    }
}

/// Shows how many watch a namespace. Namespaces are configured, so their names are few.
fn observe_watchers(name: &str, watchers: &FairShare) {
    let (held, label) = (Arc::clone(watchers.held()), [KeyValue::new("namespace", name.to_owned())]);
    NAMESPACE_WATCHERS.observe(&telemetry::meter(), move |gauge| gauge.observe(held.load(Ordering::Relaxed), &label));
}

fn records_origin(
    config: &NamespaceConfig,
    records: Option<&KeyRecords>,
) -> Result<Option<Arc<RecordsOrigin>>, Status> {
    let Some(section) = &config.records else { return Ok(None) };
    let records = records.ok_or_else(|| Status::internal("the records of namespaces are not open"))?;
    Ok(Some(Arc::new(RecordsOrigin::new(section, records.clone(), &config.name, config.max_value_bytes))))
}

fn other_origin(config: &NamespaceConfig, upstreams: &Upstreams) -> Result<Option<Arc<dyn KeyOrigin>>, Status> {
    if let Some(query) = &config.query {
        let origin = QueryOrigin::new(query, &config.name, config.max_value_bytes);
        return Ok(Some(Arc::new(origin.map_err(|error| malformed(error.to_string()))?)));
    }
    let Some(origin) = &config.origin else { return Ok(None) };
    let key_origin = UpstreamOrigin::new(origin, upstreams.clone(), &config.name, config.max_value_bytes);
    Ok(Some(Arc::new(key_origin.ok_or_else(|| malformed("a method of `namespace.origin` is none"))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carts() -> NamespaceConfig {
        NamespaceConfig {
            name: "carts".to_owned(),
            read_permission: "carts.read".to_owned(),
            write_permission: "carts.write".to_owned(),
            ..NamespaceConfig::default()
        }
    }

    fn query() -> QueryConfig {
        let sql = "SELECT id AS key, body AS value FROM carts WHERE id = ANY($1)".to_owned();
        QueryConfig { url: Some("postgres://reader@db/shop".parse().unwrap()), sql, ..QueryConfig::default() }
    }

    fn keys(configured: &[NamespaceConfig]) -> Vec<String> {
        contradictions(configured, 1 << 28, &[]).into_iter().map(|invalid| invalid.key).collect()
    }

    #[test]
    fn namespace_with_name_and_permissions_is_accepted() {
        assert_eq!(keys(&[carts(), NamespaceConfig { name: "sessions-2".to_owned(), ..carts() }]), [""; 0]);
    }

    #[test]
    fn unusable_namespace_is_refused_at_its_key() {
        let of_no_upstream = OriginConfig {
            method: "shop.v1.Shop/Get".to_owned(),
            permission: "authenticated".to_owned(),
            ..OriginConfig::default()
        };
        for (key, namespace) in [
            ("name", NamespaceConfig { name: String::new(), ..carts() }),
            ("name", NamespaceConfig { name: "a/b".to_owned(), ..carts() }),
            ("name", NamespaceConfig { name: "a".repeat(65), ..carts() }),
            ("read_permission", NamespaceConfig { read_permission: String::new(), ..carts() }),
            ("write_permission", NamespaceConfig { write_permission: String::new(), ..carts() }),
            ("max_bytes", NamespaceConfig { max_bytes: 1 << 29, ..carts() }),
            ("max_value_bytes", NamespaceConfig { max_bytes: 65_536, ..carts() }),
            ("default_ttl", NamespaceConfig { max_ttl: Duration::from_secs(1), ..carts() }),
            ("origin.upstream", NamespaceConfig { origin: Some(of_no_upstream), ..carts() }),
            ("query.sql", NamespaceConfig { query: Some(QueryConfig { sql: String::new(), ..query() }), ..carts() }),
            ("write", NamespaceConfig { write: WriteMode::Through, query: Some(query()), ..carts() }),
            (
                "max_key_bytes",
                NamespaceConfig { records: Some(RecordsConfig::default()), max_key_bytes: 1025, ..carts() },
            ),
            ("origin", NamespaceConfig { records: Some(RecordsConfig::default()), query: Some(query()), ..carts() }),
        ] {
            assert_eq!(keys(&[namespace]), [format!("namespace.0.{key}")]);
        }
    }

    #[test]
    fn namespaces_of_one_name_are_refused() {
        assert_eq!(keys(&[carts(), carts()]), ["namespace.1.name"]);
    }

    #[test]
    fn more_namespaces_than_have_metrics_are_refused() {
        let many: Vec<_> = (0..257).map(|n| NamespaceConfig { name: format!("n{n}"), ..carts() }).collect();
        assert_eq!(keys(&many), ["namespace"]);
        assert_eq!(keys(&many[1..]), [""; 0]);
    }
}
