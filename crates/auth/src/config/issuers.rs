//! Who else says who somebody is: `[[issuer]]` and `[kubernetes]`.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use accord_runtime::config::{
    Invalid,
    bound::{self, DAY, HOUR, Time},
};
use accord_token::foreign::ForeignAlgorithm;
use http::Uri;
use serde::{Deserialize, Serialize};

/// What links and the audit log call the cluster.
pub(crate) const KUBERNETES: &str = "kubernetes";

/// `[[issuer]]`: an `OpenID` provider whose tokens are exchanged for ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerConfig {
    /// What it is called here: its principals are `NAME:SUBJECT`. No default; no two have the same.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The exact `iss` of its tokens, a URL with `https://`; `http://` is for loopback alone. No default.
    #[serde(deserialize_with = "bound::text")]
    pub issuer: String,
    /// Our name there, the only audience that its tokens may have: the id of a client. No default.
    #[serde(deserialize_with = "bound::text")]
    pub audience: String,
    /// Where its keys are. Default: where its metadata says, `ISSUER/.well-known/openid-configuration`.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM file with the authorities that may vouch for its certificate. Default: the system's.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What it may sign with: `EdDSA`, `ES256`, `RS256`. Default: all of them.
    pub algorithms: Vec<ForeignAlgorithm>,
    /// The claim that tells its subjects apart; `email` counts only where `email_verified` is true. Default: `sub`.
    #[serde(deserialize_with = "bound::text")]
    pub subject_claim: String,
    /// Whom a token lets in: `known` principals, which were added or linked before, or anybody, whom it `provision`s. Default: `known`.
    pub principals: AcceptedPrincipals,
    /// The tenant of principals that it provisions. Default: none.
    pub tenant: String,
    /// The claim with the groups of its subject, a list. Default: none is read, and roles are granted here alone.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// The roles of each group. Its members get them with each login, and lose those of groups that they have left. Default: none.
    pub roles: BTreeMap<String, Vec<String>>,
    /// How long its keys are used after they were fetched, 100ms to 7days; they are fetched anew after half of that. Default: `1h`.
    #[serde(with = "Time::<100, { 7 * DAY }>")]
    pub keys_max_age: Duration,
    /// How often at most it is asked for its keys, as for one that is not known yet, 10ms to 1h. Default: `10s`.
    #[serde(with = "Time::<10, HOUR>")]
    pub refetch_interval: Duration,
}

/// Whom a foreign token lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedPrincipals {
    /// Those who are known here.
    #[default]
    Known,
    /// Anybody: who is not known is added.
    Provision,
}

/// `[kubernetes]`: a cluster whose service accounts log in with their projected tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The only audience that their tokens may have: that of the projected volume. Default: none, and then none is accepted.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How they are checked: by the API server, which knows of deleted pods (`token_review`), or here, by its keys (`jwks`).
    /// Default: `token_review`.
    pub check: TokenCheck,
    /// The exact `iss` of their tokens. Default: any that the API server vouches for; needed where `check` is `jwks`.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The API server. Without TLS, as for `kubectl proxy`, no token is sent. Default: `https://kubernetes.default.svc`, which it has
    /// inside the cluster.
    #[serde(deserialize_with = "bound::text")]
    pub url: String,
    /// A file with the token that auth shows to it, read again each time. Default:
    /// `/var/run/secrets/kubernetes.io/serviceaccount/token`.
    #[serde(deserialize_with = "bound::file")]
    pub token_file: PathBuf,
    /// The authorities that may vouch for its certificate, PEM. Default: `/var/run/secrets/kubernetes.io/serviceaccount/ca.crt`.
    #[serde(deserialize_with = "bound::file")]
    pub ca_file: PathBuf,
    /// How long its keys are used after they were fetched, 100ms to 7days; they are fetched anew after half of that. Default: `1h`.
    #[serde(with = "Time::<100, { 7 * DAY }>")]
    pub keys_max_age: Duration,
    /// How often at most it is asked for its keys, 10ms to 1h. Default: `10s`.
    #[serde(with = "Time::<10, HOUR>")]
    pub refetch_interval: Duration,
}

/// How tokens of service accounts are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCheck {
    /// By the API server.
    #[default]
    TokenReview,
    /// By its keys.
    Jwks,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            ca_file: None,
            algorithms: vec![ForeignAlgorithm::EdDsa, ForeignAlgorithm::Es256, ForeignAlgorithm::Rs256],
            subject_claim: "sub".to_owned(),
            principals: AcceptedPrincipals::default(),
            tenant: String::new(),
            groups_claim: None,
            roles: BTreeMap::new(),
            keys_max_age: Duration::from_hours(1),
            refetch_interval: Duration::from_secs(10),
        }
    }
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        let mounted = PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount");
        Self {
            audience: None,
            check: TokenCheck::default(),
            issuer: None,
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: mounted.join("token"),
            ca_file: mounted.join("ca.crt"),
            keys_max_age: Duration::from_hours(1),
            refetch_interval: Duration::from_secs(10),
        }
    }
}

/// What of the issuers contradicts itself, or could not be served.
pub(super) fn contradictions(issuers: &[IssuerConfig], kubernetes: &KubernetesConfig, own: &str) -> Vec<Invalid> {
    let (mut names, mut urls) = (HashSet::from([KUBERNETES]), HashSet::from([own]));
    let mut found = Vec::new();
    for (index, config) in issuers.iter().enumerate() {
        let mut invalid = |key: &str, problem: &str, remedy: &str| {
            found.push(Invalid::new(format!("issuer.{index}.{key}"), problem.to_owned(), remedy.to_owned()));
        };
        if config.name.is_empty() || config.name.contains([':', ' ']) || !names.insert(&config.name) {
            invalid(
                "name",
                "is no name, or another issuer's",
                "give each a name without `:` of its own; not `kubernetes`",
            );
        }
        if !is_trustworthy(&config.issuer) || !urls.insert(&config.issuer) {
            invalid(
                "issuer",
                "is no URL with https://, ours, or another issuer's",
                "give the exact `iss` of its tokens",
            );
        }
        if config.audience.is_empty() {
            invalid("audience", "is not given", "give the id of the client that is registered there for this mesh");
        }
        if config.jwks_url.as_ref().is_some_and(|url| !is_trustworthy(url)) {
            invalid("jwks_url", "is no URL with https://", "give the `jwks_uri` of its metadata, or leave it out");
        }
        if config.algorithms.is_empty() {
            invalid("algorithms", "names none", "leave it out, or name those that it signs with");
        }
        if !config.roles.is_empty() && config.groups_claim.is_none() {
            invalid("roles", "are of groups that no claim tells", "give `groups_claim`");
        }
    }
    if kubernetes.audience.is_some() && !is_url(&kubernetes.url) {
        let remedy = "write it like https://kubernetes.default.svc or http://127.0.0.1:8001";
        found.push(Invalid::new("kubernetes.url", "is no URL of an API server".to_owned(), remedy));
    }
    if kubernetes.audience.is_some() && kubernetes.check == TokenCheck::Jwks && kubernetes.issuer.is_none() {
        let remedy =
            "give the `issuer` of the API server's /.well-known/openid-configuration, or let it review the tokens";
        found.push(Invalid::new("kubernetes.issuer", "is not given, and nobody else checks it".to_owned(), remedy));
    }
    found
}

fn is_url(url: &str) -> bool {
    let Ok(parsed) = url.parse::<Uri>() else { return false };
    let has_credentials = parsed.authority().is_some_and(|authority| authority.as_str().contains('@'));
    matches!(parsed.scheme_str(), Some("http" | "https")) && !has_credentials && parsed.query().is_none()
}

/// What anybody on the way could answer in place of an issuer is worth nothing.
pub(crate) fn is_trustworthy(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|parsed| parsed.host().map(str::to_owned)).unwrap_or_default();
    let is_loopback =
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|it: std::net::IpAddr| it.is_loopback());
    is_url(url) && (url.starts_with("https://") || is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> IssuerConfig {
        IssuerConfig {
            name: "corp".to_owned(),
            issuer: "https://login.example.com".to_owned(),
            audience: "accord".to_owned(),
            ..IssuerConfig::default()
        }
    }

    fn keys_of(issuers: &[IssuerConfig], kubernetes: &KubernetesConfig) -> Vec<String> {
        contradictions(issuers, kubernetes, "https://accord.local").into_iter().map(|invalid| invalid.key).collect()
    }

    #[test]
    fn issuer_that_could_not_be_believed_is_refused_with_its_key() {
        let none = KubernetesConfig::default();
        assert_eq!(keys_of(&[good()], &none), Vec::<String>::new());
        let with = |change: fn(&mut IssuerConfig)| {
            let mut config = good();
            change(&mut config);
            keys_of(&[config], &none)
        };
        for name in ["", "a:b", "a b", "kubernetes"] {
            assert_eq!(
                keys_of(&[IssuerConfig { name: name.to_owned(), ..good() }], &none),
                ["issuer.0.name"],
                "{name}"
            );
        }
        for issuer in ["", "login.example.com", "http://login.example.com", "https://a@b", "https://accord.local"] {
            let config = IssuerConfig { issuer: issuer.to_owned(), ..good() };
            assert_eq!(keys_of(&[config], &none), ["issuer.0.issuer"], "{issuer}");
        }
        assert_eq!(with(|config| config.audience.clear()), ["issuer.0.audience"]);
        assert_eq!(with(|config| config.jwks_url = Some("http://keys.example.com".to_owned())), ["issuer.0.jwks_url"]);
        assert_eq!(with(|config| config.algorithms.clear()), ["issuer.0.algorithms"]);
        assert_eq!(with(|config| config.roles = [("staff".to_owned(), Vec::new())].into()), ["issuer.0.roles"]);
        assert_eq!(keys_of(&[good(), good()], &none), ["issuer.1.name", "issuer.1.issuer"]);
    }

    #[test]
    fn loopback_alone_is_trusted_without_tls() {
        for url in ["http://127.0.0.1:80", "http://[::1]", "http://localhost:8080/x", "https://example.com"] {
            assert!(is_trustworthy(url), "{url}");
        }
        for url in
            ["http://127.0.0.1.example.com", "http://localhost.example.com", "http://10.0.0.1", "ftp://127.0.0.1"]
        {
            assert!(!is_trustworthy(url), "{url}");
        }
    }

    #[test]
    fn cluster_whose_tokens_are_verified_here_needs_its_issuer() {
        let jwks = KubernetesConfig {
            audience: Some("accord".to_owned()),
            check: TokenCheck::Jwks,
            ..KubernetesConfig::default()
        };
        assert_eq!(keys_of(&[], &jwks), ["kubernetes.issuer"]);
        let no_url = KubernetesConfig { url: "kubernetes".to_owned(), issuer: Some("x".to_owned()), ..jwks };
        assert_eq!(keys_of(&[], &no_url), ["kubernetes.url"]);
    }
}
