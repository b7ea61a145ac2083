//! The sections `[[outbox]]`.

use std::time::Duration;

use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count, Time};
use accord_store::StoreUrl;
use serde::{Deserialize, Serialize};

use super::template::{Template, is_name};
use crate::namespaces::NamespaceConfig;

/// Most outboxes: each has metrics and connections of its own.
const MOST: usize = 64;

/// Most tables of one.
const MOST_TABLES: usize = 1000;

/// A database whose changes are read, the section `[[outbox]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboxConfig {
    /// Its name in metrics and log lines: 1 to 64 characters of `a-z`, `0-9`, `-`, `_` and `.`. No default; no two have the same.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The server, `postgres://accord_reader@host/database?sslmode=verify-full`; the user needs what `accord-cache outbox install`
    /// grants to it, and nothing else. A password is better given by a file, with the parameter `password_file`. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<StoreUrl>,
    /// The schema in which `accord_outbox` is. Caches that share no invalidation log need one each. Default: `public`.
    #[serde(deserialize_with = "bound::text")]
    pub schema: String,
    /// How often it is read where no notification comes, 10ms to 1m. Default: `1s`.
    #[serde(with = "Time::<10, 60_000>")]
    pub poll_interval: Duration,
    /// How long a reader that falls silent is waited for before another replica takes its place, 1s to 10m. Default: `5s`.
    #[serde(with = "Time::<1_000, 600_000>")]
    pub lease: Duration,
    /// Whether writers wake the reader by NOTIFY. Transactions that do commit one after another in the whole database: without it
    /// they don't, and `poll_interval` is what a change waits. It counts when the outbox is installed. Default: true.
    pub notify: bool,
    /// Rows that wait for a reader; beyond, everything that was loaded is invalidated instead. It counts when the outbox is
    /// installed. 1000 to 1000000000. Default: 1000000.
    #[serde(with = "Count::<1_000, 1_000_000_000>")]
    pub max_rows: i64,
    /// The tables whose changes are written into it. Default: none.
    pub table: Vec<TableConfig>,
}

/// A table, the section `[[outbox.table]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableConfig {
    /// The table, as `schema.table`, letter for letter. No default.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The tags that a change of a row invalidates, with columns in braces, such as `product/{id}`: those of the row before and of
    /// the row after. A column has to have the text of the field that the contract names. Default: none.
    pub tags: Vec<String>,
    /// The keys of namespaces that a change of a row invalidates. Default: none.
    pub key: Vec<KeyConfig>,
}

/// Keys of a namespace, the section `[[outbox.table.key]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyConfig {
    /// The namespace, which has a `query`. No default.
    #[serde(deserialize_with = "bound::text")]
    pub namespace: String,
    /// The key, with columns in braces, such as `{id}`. No default.
    #[serde(deserialize_with = "bound::text")]
    pub key: String,
    /// The column with the tenant whose key it is. Default: none, and the key of every tenant is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: None,
            schema: "public".to_owned(),
            poll_interval: Duration::from_secs(1),
            lease: Duration::from_secs(5),
            notify: true,
            max_rows: 1_000_000,
            table: Vec::new(),
        }
    }
}

impl OutboxConfig {
    /// The namespaces whose keys it invalidates.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.table.iter().flat_map(|table| table.key.iter().map(|key| &*key.namespace))
    }

    fn contradictions(&self, namespaces: &[NamespaceConfig]) -> Vec<Invalid> {
        let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let has_name = (1..=64).contains(&self.name.len()) && self.name.bytes().all(is_letter);
        let is_server = self.url.as_ref().is_some_and(|url| url.location().file().is_none());
        let checks = [
            ("name", has_name, "an outbox needs a name of 1 to 64 characters of a-z, 0-9, -, _ and .", "name it"),
            (
                "url",
                is_server,
                "an outbox is in a PostgreSQL",
                "name the server, as in postgres://accord_reader@db/shop",
            ),
            ("schema", is_name(&self.schema), "it is no name of a schema", "name one, such as public"),
            (
                "table",
                (1..=MOST_TABLES).contains(&self.table.len()),
                "an outbox has 1 to 1000 tables",
                "name those whose rows are cached, each in a section [[outbox.table]]",
            ),
        ];
        let broken = checks.into_iter().filter(|(_, holds, ..)| !holds);
        let broken = broken.map(|(key, _, problem, remedy)| Invalid::new(key, problem, remedy));
        let of_tables = self.table.iter().enumerate().flat_map(|(index, table)| {
            let is_second = self.table[..index].iter().any(|other| other.name == table.name);
            let twice = is_second.then(|| Invalid::new("name", "it has a section already", "put both into one"));
            let found = table.contradictions(namespaces).into_iter().chain(twice);
            found.map(move |invalid| invalid.under(format!("table.{index}"))).collect::<Vec<_>>()
        });
        broken.chain(of_tables).collect()
    }
}

impl TableConfig {
    /// Its schema and its own name.
    pub(crate) fn parts(&self) -> Option<(&str, &str)> {
        self.name.split_once('.').filter(|(schema, table)| is_name(schema) && is_name(table))
    }

    fn contradictions(&self, namespaces: &[NamespaceConfig]) -> Vec<Invalid> {
        let mut found = Vec::new();
        if self.parts().is_none() {
            found.push(Invalid::new("name", "it is no table", "write schema and table, as in public.products"));
        }
        if self.tags.is_empty() && self.key.is_empty() {
            let remedy = "name `tags`, as in product/{id}, or add [[outbox.table.key]]";
            found.push(Invalid::new("tags", "a change of a row invalidates nothing", remedy));
        }
        for tag in &self.tags {
            if let Err(problem) = Template::parse(tag) {
                found.push(Invalid::new("tags", format!("{tag:?}: {problem}"), "write it as in product/{id}"));
            }
        }
        let of_keys = self.key.iter().enumerate().flat_map(|(index, key)| {
            let found = key.contradictions(namespaces).into_iter();
            found.map(move |invalid| invalid.under(format!("key.{index}")))
        });
        found.extend(of_keys);
        found
    }
}

impl KeyConfig {
    fn contradictions(&self, namespaces: &[NamespaceConfig]) -> Vec<Invalid> {
        let mut found = Vec::new();
        let is_of_query = |it: &NamespaceConfig| it.name == self.namespace && it.query.is_some();
        if !namespaces.iter().any(is_of_query) {
            let problem = format!("no namespace {:?} is loaded by a query", self.namespace);
            found.push(Invalid::new("namespace", problem, "name one that has [namespace.query]"));
        }
        if let Err(problem) = Template::parse(&self.key) {
            found.push(Invalid::new("key", format!("{:?}: {problem}", self.key), "write it as in {id}"));
        }
        if self.tenant.as_ref().is_some_and(|column| !is_name(column)) {
            found.push(Invalid::new("tenant", "it is no column", "name one, or leave it out"));
        }
        found
    }
}

/// What contradicts itself in these sections, where there are these namespaces.
pub(crate) fn contradictions(configured: &[OutboxConfig], namespaces: &[NamespaceConfig]) -> Vec<Invalid> {
    if configured.len() > MOST {
        let problem = format!("there are {} outboxes, more than {MOST}", configured.len());
        return vec![Invalid::new("outbox", problem, "leave some out")];
    }
    let mut found = Vec::new();
    for (index, outbox) in configured.iter().enumerate() {
        let mut wrong = outbox.contradictions(namespaces);
        if configured[..index].iter().any(|other| other.name == outbox.name) {
            let problem = format!("two outboxes are named {}", outbox.name);
            wrong.push(Invalid::new("name", problem, "give each a name of its own"));
        }
        found.extend(wrong.into_iter().map(|invalid| invalid.under(format!("outbox.{index}"))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace_origin::query::QueryConfig;

    fn products() -> TableConfig {
        let (name, tags) = ("public.products".to_owned(), vec!["product/{id}".to_owned()]);
        let key = KeyConfig { namespace: "prices".to_owned(), key: "{id}".to_owned(), tenant: None };
        TableConfig { name, tags, key: vec![key] }
    }

    fn shop() -> OutboxConfig {
        let url = Some("postgres://accord_reader@db/shop".parse().unwrap());
        OutboxConfig { name: "shop".to_owned(), url, table: vec![products()], ..OutboxConfig::default() }
    }

    fn keys(configured: &[OutboxConfig]) -> Vec<String> {
        let query = Some(QueryConfig::default());
        let prices = NamespaceConfig { name: "prices".to_owned(), query, ..NamespaceConfig::default() };
        let carts = NamespaceConfig { name: "carts".to_owned(), ..NamespaceConfig::default() };
        contradictions(configured, &[prices, carts]).into_iter().map(|invalid| invalid.key).collect()
    }

    #[test]
    fn outbox_of_a_table_with_tags_and_keys_is_accepted() {
        assert_eq!(keys(&[shop(), OutboxConfig { name: "stock".to_owned(), ..shop() }]), [""; 0]);
    }

    #[test]
    fn unusable_outbox_is_refused_at_its_key() {
        let of = |change: fn(&mut TableConfig)| {
            let mut table = products();
            change(&mut table);
            OutboxConfig { table: vec![table], ..shop() }
        };
        for (key, outbox) in [
            ("name", OutboxConfig { name: "a/b".to_owned(), ..shop() }),
            ("url", OutboxConfig { url: None, ..shop() }),
            ("url", OutboxConfig { url: Some(StoreUrl::sqlite("a.db")), ..shop() }),
            ("schema", OutboxConfig { schema: "a\"b".to_owned(), ..shop() }),
            ("table", OutboxConfig { table: Vec::new(), ..shop() }),
            ("table.1.name", OutboxConfig { table: vec![products(), products()], ..shop() }),
            ("table.0.name", of(|table| table.name = "products".to_owned())),
            ("table.0.tags", of(|table| (table.tags, table.key) = (Vec::new(), Vec::new()))),
            ("table.0.tags", of(|table| table.tags = vec!["product/{id".to_owned()])),
            ("table.0.key.0.namespace", of(|table| table.key[0].namespace = "carts".to_owned())),
            ("table.0.key.0.key", of(|table| table.key[0].key = "{}".to_owned())),
            ("table.0.key.0.tenant", of(|table| table.key[0].tenant = Some("a\"b".to_owned()))),
        ] {
            assert_eq!(keys(&[outbox]), [format!("outbox.0.{key}")]);
        }
        assert_eq!(keys(&[shop(), shop()]), ["outbox.1.name"]);
    }
}
