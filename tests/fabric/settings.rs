//! The binaries, and the configuration files with which the fabric joins them.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;
use toml::{Table, toml};

use crate::{builder::Builder, home::Home};

/// One of the binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The gateway.
    Gateway,
    /// Auth.
    Auth,
    /// The cache.
    Cache,
    /// The sample service.
    Catalog,
    /// The sample's second service, which calls the first; only where it is asked for.
    Orders,
}

impl Part {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Auth, Self::Cache, Self::Catalog, Self::Orders, Self::Gateway];

    /// Its name, as in `accord-NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::Cache => "cache",
            Self::Catalog => "catalog",
            Self::Orders => "orders",
        }
    }

    /// Where SRV records lead to its processes.
    pub(crate) fn service_record(self) -> String {
        format!("_grpc._tcp.{}.test", self.name())
    }

    /// The port on which it serves unless told otherwise; its admin port is the next.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Gateway => 8080,
            Self::Auth => 8090,
            Self::Cache => 8100,
            Self::Catalog => 9000,
            Self::Orders => 9010,
        }
    }
}

/// The whole configuration of a binary, secrets excepted.
pub(crate) fn of(part: Part, builder: &Builder, home: &Home) -> Table {
    let mut settings = common(builder, part);
    merge(&mut settings, own(part, builder, home));
    merge(&mut settings, builder.settings.get(&part).cloned().unwrap_or_default());
    settings
}

fn common(builder: &Builder, part: Part) -> Table {
    let (listen, admin) = builder.addresses.of(part);
    let (listen, admin) = (listen.to_string(), admin.to_string());
    let mut settings = toml! {
        [listen]
        address = listen
        [admin]
        address = admin
        [telemetry.access_log]
        enabled = true
    };
    if let Some(endpoint) = &builder.otlp {
        // A test waits for what it looks for: all of it, and soon.
        merge(
            &mut settings,
            toml! {
                [telemetry.otlp]
                endpoint = (endpoint.as_str())
                sample_ratio = 1.0
                interval = "1s"
            },
        );
    }
    settings
}

fn own(part: Part, builder: &Builder, home: &Home) -> Table {
    match part {
        Part::Auth => auth(builder, home),
        Part::Cache => cache(builder, home),
        Part::Catalog => catalog(builder, home),
        Part::Orders => orders(builder, home),
        Part::Gateway => gateway(builder, home),
    }
}

fn auth(builder: &Builder, home: &Home) -> Table {
    let url = sqlite(home, "auth.db");
    let key = home.encryption_key().display().to_string();
    let policies = [home.policies()].into_iter().chain(builder.policies.iter().cloned());
    let policies: Vec<_> = policies.map(|file| file.display().to_string()).collect();
    toml! {
        [store]
        url = url
        [keys]
        encryption_key_file = key
        [policy]
        files = policies
    }
}

fn cache(builder: &Builder, home: &Home) -> Table {
    let url = sqlite(home, "cache.db");
    let mut settings = member(Part::Cache, builder, home);
    settings.insert("data_dir".to_owned(), home.data("").display().to_string().into());
    merge(
        &mut settings,
        toml! {
            [records]
            url = url
        },
    );
    settings.insert("upstream".to_owned(), upstreams(builder));
    if builder.has_orders {
        merge(
            &mut settings,
            toml! {
                [[namespace]]
                name = "baskets"
                read_permission = "baskets.read"
                write_permission = "baskets.write"
                default_ttl = "1h"
                [[namespace]]
                name = "carts"
                read_permission = "carts.read"
                write_permission = "carts.write"
            },
        );
    }
    settings
}

fn catalog(builder: &Builder, home: &Home) -> Table {
    let store = home.data("catalog.db").display().to_string();
    let mut settings = member(Part::Catalog, builder, home);
    settings.insert("store".to_owned(), store.into());
    settings
}

fn orders(builder: &Builder, home: &Home) -> Table {
    let store = home.data("orders.db").display().to_string();
    let internal = url(builder.addresses.internal());
    let mut settings = member(Part::Orders, builder, home);
    settings.insert("store".to_owned(), store.into());
    merge(
        &mut settings,
        toml! {
            [gateway]
            endpoint = internal
        },
    );
    settings
}

fn gateway(builder: &Builder, home: &Home) -> Table {
    let cache = url(builder.addresses.of(Part::Cache).0);
    let internal = builder.addresses.internal().to_string();
    let overlays: Vec<_> = builder.overlays.iter().map(|overlay| overlay.display().to_string()).collect();
    let mut settings = member(Part::Gateway, builder, home);
    merge(
        &mut settings,
        toml! {
            [internal]
            address = internal
            [cache]
            url = cache
            [contract]
            overlays = overlays
        },
    );
    settings.insert("upstream".to_owned(), upstreams(builder));
    settings
}

/// The services behind the gateway, which are the origins of the cache.
fn upstreams(builder: &Builder) -> toml::Value {
    let own = builder.own_upstreams().map(|part| (part.name().to_owned(), url(builder.addresses.of(part).0)));
    let own: Vec<_> = own.collect();
    let mut endpoints = BTreeMap::<_, Vec<_>>::new();
    for (name, url) in own.iter().chain(&builder.upstreams) {
        endpoints.entry(name.as_str()).or_default().push(url.as_str());
    }
    let upstream = |(name, urls): (&str, Vec<&str>)| {
        let mut upstream = toml! {
            name = name
            urls = urls
        };
        merge(&mut upstream, builder.upstream_settings.get(name).cloned().unwrap_or_default());
        upstream
    };
    endpoints.into_iter().map(upstream).map(toml::Value::Table).collect::<Vec<_>>().into()
}

/// What every binary needs that calls auth.
fn member(part: Part, builder: &Builder, home: &Home) -> Table {
    let url = url(builder.addresses.of(Part::Auth).0);
    let (id, secret) = (part.name(), home.secret(part.name()).display().to_string());
    let mut settings = toml! {
        [auth]
        url = url
        client_id = id
        client_secret_file = secret
    };
    if let Some(bound) = builder.staleness_bound {
        merge(
            &mut settings,
            toml! {
                [auth]
                staleness_bound = (milliseconds(bound))
            },
        );
    }
    settings
}

fn sqlite(home: &Home, file: &str) -> String {
    format!("sqlite://{}", home.data(file).display())
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The same settings for another process of the binary, which serves elsewhere.
pub(crate) fn moved(settings: &str, listen: SocketAddr, admin: SocketAddr, internal: SocketAddr) -> Result<Table> {
    let mut settings: Table = settings.parse()?;
    for (section, address) in [("listen", listen), ("admin", admin), ("internal", internal)] {
        if let Some(section) = settings.get_mut(section).and_then(toml::Value::as_table_mut) {
            section.insert("address".to_owned(), address.to_string().into());
        }
    }
    Ok(settings)
}

/// Whether a server with these settings serves over TLS.
pub(crate) fn is_encrypted(settings: &Table) -> bool {
    settings.get("listen").and_then(|listen| listen.get("tls")).is_some()
}

/// Lays `stronger` over `base`, table by table; anything else is replaced.
pub(crate) fn merge(base: &mut Table, stronger: Table) {
    for (key, value) in stronger {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(stronger)) => merge(base, stronger),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The file with the key of consistency tokens, which all replicas of the cache share, and which seals what they share.
pub(crate) fn token_key(directory: &Path) -> Result<String> {
    let file = directory.join("consistency");
    fs::write(&file, "s".repeat(32))?;
    Ok(file.display().to_string())
}
