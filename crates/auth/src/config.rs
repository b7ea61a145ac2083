//! Configuration of auth: one tree of plain data, every key with its unit and default.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use accord_runtime::{
    config::{
        Configuration, Invalid,
        bound::{self, Count, DAY, HOUR, Time},
    },
    server::{Address, ListenConfig},
    telemetry::TelemetryConfig,
};
use accord_store::StoreUrl;
use accord_token::Type;
use serde::{Deserialize, Serialize};

pub mod clients;
pub mod device;
pub mod issuers;
mod keys;

use clients::ClientsConfig;
use device::DeviceConfig;
use issuers::{IssuerConfig, KubernetesConfig};
pub use keys::KeysConfig;

/// The whole configuration of `accord-auth`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The listener for callers. Default: `127.0.0.1:8090`.
    pub listen: ListenConfig,
    /// The port for those who operate auth. Default: `127.0.0.1:8091`.
    pub admin: ListenConfig,
    /// What must last.
    pub store: StoreConfig,
    /// What seals the store, and signs.
    pub keys: KeysConfig,
    /// What tokens say, and how long they live.
    pub tokens: TokensConfig,
    /// OAuth over HTTP.
    pub oauth: OauthConfig,
    /// Programs whose secrets are in files.
    pub clients: ClientsConfig,
    /// `OpenID` providers whose tokens are exchanged for ours.
    pub issuer: Vec<IssuerConfig>,
    /// The cluster whose service accounts log in.
    pub kubernetes: KubernetesConfig,
    /// Who may do what.
    pub policy: PolicyConfig,
    /// The services whose contracts policies are about.
    pub upstream: Vec<ContractConfig>,
    /// Requests that other proxies than the gateway ask about.
    pub ext_authz: ExtAuthzConfig,
    /// Logs, traces, metrics.
    pub telemetry: TelemetryConfig,
    /// How long work in flight has after SIGTERM, 1ms to 1h. Default: `20s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub grace: Duration,
    /// Threads that serve callers, each with connections to upstreams of its own, 0 to 1024. Default: 0, which is one for each
    /// core, of which a container's CPU limit counts.
    #[serde(with = "Count::<0, 1024>")]
    pub workers: usize,
}

/// `[store]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite://` with a file's path, or `postgres://`. A password in it is better given by the environment.
    /// Default: `sqlite://accord-auth.db`.
    pub url: StoreUrl,
    /// A file of this auth's own that says how far the store has come, so that an older copy in its place is noticed before anything
    /// is answered from it. Default: beside the file of SQLite, none for PostgreSQL.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub mark_file: Option<PathBuf>,
}

/// `[tokens]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// The issuer that tokens name. Default: `https://accord.local`.
    #[serde(deserialize_with = "bound::text")]
    pub issuer: String,
    /// The audience of access tokens. Default: `accord`.
    #[serde(deserialize_with = "bound::text")]
    pub audience: String,
    /// Time to live of an access token, 1s to 24h. Default: `15m`.
    #[serde(with = "Time::<1_000, { longest(Type::Access) }>")]
    pub access_ttl: Duration,
    /// Time to live of a passport, 1s to 5m. Default: `5m`.
    #[serde(with = "Time::<1_000, { longest(Type::Passport) }>")]
    pub passport_ttl: Duration,
    /// Time to live of refresh tokens, from the login, 1s to 365days. Default: `30days`.
    #[serde(with = "Time::<1_000, { 365 * DAY }>")]
    pub refresh_ttl: Duration,
    /// How long a used refresh token brings its successor again instead of revoking the family; at most 5 s.
    /// Default: `0s`, which is never.
    #[serde(with = "Time::<0, 5_000>")]
    pub refresh_reuse_interval: Duration,
}

/// `[oauth]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OauthConfig {
    /// Where callers reach the endpoints, `https://` with a host, as the metadata names them. Default: `tokens.issuer`; no default where
    /// devices get codes, and then `http://` is for loopback alone.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Command lines whose people approve them in a browser.
    pub device: DeviceConfig,
}

/// The most relations of one type of objects.
const MAX_RELATIONS: usize = 16;

/// The longest name of a type or a relation.
const MAX_IDENTIFIER: usize = 64;

/// Types of auth's own in the schema of policies.
const TYPES: [&str; 5] = ["User", "Service", "Role", "Relation", "Action"];

/// `[policy]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Files with Cedar policies, beside the built-in ones. Default: none.
    #[serde(deserialize_with = "bound::files")]
    pub files: Vec<PathBuf>,
    /// Files with policies that are tried and not enforced: each decision is made with and without them, and the metric
    /// `accord.auth.shadow_decisions` counts where they differ. Default: none.
    #[serde(deserialize_with = "bound::files")]
    pub shadow_files: Vec<PathBuf>,
    /// Permissions that no contract names, such as those of the cache's namespaces; only read where there are contracts.
    /// Default: none.
    #[serde(deserialize_with = "bound::texts", skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Overlay files of the contracts, weakest first. Default: none.
    #[serde(deserialize_with = "bound::files")]
    pub overlays: Vec<PathBuf>,
    /// Types of objects that principals can stand in relations to. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub object: Vec<ObjectConfig>,
}

/// `[[policy.object]]`: a type of objects, whose relations services register and policies ask for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectConfig {
    /// Its name, as policies have it, `Accord::NAME`; relations to upstreams are those of the type `Upstream`. No default.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The relations that there are, 1 to 16, each an attribute of the object: `resource.NAME`. Whoever is a `member` is in the object
    /// itself. No default.
    #[serde(deserialize_with = "bound::texts")]
    pub relations: Vec<String>,
    /// Whether they are groups, so that those in a relation to one can stand in another relation together. Default: false.
    pub groups: bool,
    /// The permission to write and list the relations. Default: none but that of administration.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

/// `[[upstream]]`, as in the gateway's configuration: a service and its contract.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContractConfig {
    /// Its name: the resource of policies, and the audience of passports. No default; no two have the same.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// A file with its `FileDescriptorSet`, imports included. No default.
    #[serde(deserialize_with = "bound::file")]
    pub descriptors: PathBuf,
    /// The services that it serves, by their full names. Default: all of the file.
    #[serde(deserialize_with = "bound::texts", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// `[ext_authz]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExtAuthzConfig {
    /// The listener at which proxies ask; whoever reaches it may. Default address: none, and then there is no such listener.
    pub listen: ListenConfig<Option<Address>>,
    /// The workload that the proxies are, as passports and policies name it (`context.act`). Default: `ext-authz`.
    #[serde(deserialize_with = "bound::text")]
    pub actor: String,
}

/// Whether policies can have this name for a type or a relation.
fn is_identifier(name: &str) -> bool {
    let is_name = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= MAX_IDENTIFIER
        && name.bytes().all(is_name)
}

/// Whether paths can be added to it.
fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.starts_with('/') && !rest.contains(['?', '#', '@', ' ']) && !rest.is_empty())
}

/// What verifiers accept, in milliseconds.
const fn longest(token_type: Type) -> u64 {
    1_000 * token_type.longest_life().as_secs()
}

impl Configuration for Config {
    const PREFIX: &'static str = "ACCORD_AUTH";

    fn contradictions(&self) -> Vec<Invalid> {
        let mut names = HashSet::new();
        let upstreams = self.upstream.iter().enumerate();
        let unusable = upstreams.filter_map(|(index, upstream)| {
            let key = |name| format!("upstream.{index}.{name}");
            if upstream.name.is_empty() || !names.insert(&upstream.name) {
                let problem = if upstream.name.is_empty() { "is not given" } else { "is another upstream's as well" };
                return Some(Invalid::new(key("name"), problem, "name it as the gateway's configuration does"));
            }
            upstream.descriptors.as_os_str().is_empty().then(|| {
                Invalid::new(key("descriptors"), "is not given", "name a file with the service's FileDescriptorSet")
            })
        });
        let objects = self.policy.unusable_objects();
        let issuers = issuers::contradictions(&self.issuer, &self.kubernetes, &self.tokens.issuer);
        unusable.chain(objects).chain(self.taken_address()).chain(self.unusable_url()).chain(issuers).collect()
    }
}

impl PolicyConfig {
    /// Types of objects that policies could not be written about.
    fn unusable_objects(&self) -> Vec<Invalid> {
        let mut names = HashSet::new();
        let unusable = self.object.iter().enumerate().filter_map(|(index, object)| {
            let invalid = |key, problem, remedy| Some(Invalid::new(format!("policy.object.{index}.{key}"), problem, remedy));
            if !is_identifier(&object.name) || TYPES.contains(&&*object.name) || !names.insert(&object.name) {
                let problem = format!("`{}` can't be the name of this type", object.name);
                let remedy = "name it once, with a letter first, then letters, digits and `_`, and not as the types of auth's own";
                return invalid("name", problem, remedy);
            }
            let is_good = (1..=MAX_RELATIONS).contains(&object.relations.len());
            if !is_good || !object.relations.iter().all(|relation| is_identifier(relation)) {
                let problem = format!("{:?} can't be the relations of this type", object.relations);
                return invalid("relations", problem, "name 1 to 16, with a letter first, then letters, digits and `_`");
            }
            None
        });
        unusable.collect()
    }
}

impl Config {
    /// A URL of the endpoints to which no path can be added, or at which people should not type their passwords.
    fn unusable_url(&self) -> Option<Invalid> {
        let has_page = !self.oauth.device.clients.is_empty();
        let (problem, remedy) = match &self.oauth.url {
            Some(url) if !is_base_url(url) => (
                format!("`{url}` is not the beginning of URLs"),
                "give it a scheme and a host, such as `https://auth.example.com`",
            ),
            Some(url) if has_page && !issuers::is_trustworthy(url) => (
                format!("`{url}` is no URL with https://, and people type their passwords there for `oauth.device`"),
                "give it `https://`; `http://` is for loopback alone",
            ),
            None if has_page => (
                "is not given, and the people of `oauth.device.clients` are sent there".to_owned(),
                "give the URL at which browsers reach auth, such as `https://auth.example.com`",
            ),
            _ => return None,
        };
        Some(Invalid::new("oauth.url", problem, remedy))
    }

    /// A listener for proxies that can't be listened on beside the two others.
    fn taken_address(&self) -> Option<Invalid> {
        let asked = self.ext_authz.listen.address.as_ref()?;
        let others = [("listen.address", &self.listen.address), ("admin.address", &self.admin.address)];
        let (key, other) = others.into_iter().find(|(_, other)| asked.overlaps(other))?;
        let problem = format!("{asked} is taken by `{key}`, which is {other}");
        Some(Invalid::new("ext_authz.listen.address", problem, "give the two different ports"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ListenConfig::local(8090),
            admin: ListenConfig::local(8091),
            store: StoreConfig::default(),
            keys: KeysConfig::default(),
            tokens: TokensConfig::default(),
            oauth: OauthConfig::default(),
            clients: ClientsConfig::default(),
            issuer: Vec::new(),
            kubernetes: KubernetesConfig::default(),
            policy: PolicyConfig::default(),
            upstream: Vec::new(),
            ext_authz: ExtAuthzConfig::default(),
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(20),
            workers: 0,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: StoreUrl::sqlite("accord-auth.db"), mark_file: None }
    }
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            issuer: "https://accord.local".to_owned(),
            audience: "accord".to_owned(),
            access_ttl: Duration::from_mins(15),
            passport_ttl: Duration::from_mins(5),
            refresh_ttl: Duration::from_hours(30 * 24),
            refresh_reuse_interval: Duration::ZERO,
        }
    }
}

impl Default for ExtAuthzConfig {
    fn default() -> Self {
        Self { listen: ListenConfig::default(), actor: "ext-authz".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_where_people_type_their_passwords_has_a_url_with_tls() {
        let refused = |url: Option<&str>, clients: &[&str]| {
            let mut config = Config::default();
            config.oauth.url = url.map(str::to_owned);
            config.oauth.device.clients = clients.iter().map(ToString::to_string).collect();
            config.contradictions().into_iter().any(|invalid| invalid.key == "oauth.url")
        };
        for url in [None, Some("http://auth.example.com")] {
            assert!(refused(url, &["shop-cli"]) && !refused(url, &[]), "{url:?}");
        }
        for url in ["https://auth.example.com/mesh", "http://127.0.0.1:8090"] {
            assert!(!refused(Some(url), &["shop-cli"]), "{url}");
        }
    }
}
