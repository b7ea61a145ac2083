//! The section `[[upstream.version]]`.

use std::collections::BTreeMap;

use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{LONGEST_NAME, UpstreamConfig, is_name};
use crate::{metadata, url};

/// What the endpoints of the upstream itself are called, where it has other versions.
pub(crate) const DEFAULT: &str = "default";

/// The section `[[upstream.version]]`: a version of an upstream beside the one that its own `urls` are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VersionConfig {
    /// Its name: what `explain`, metrics and the access log show. Letters, digits, `-`, `_` and `.`, 63 at most. No default; no two
    /// of an upstream have the same, and none is `default`.
    #[serde(deserialize_with = "bound::text")]
    pub name: String,
    /// The URLs of its endpoints, as those of the upstream. No default; at least one.
    #[serde(deserialize_with = "url::list")]
    pub urls: Vec<String>,
    /// Its share of the calls that no `match` fits, among the weights of the upstream and of all its versions, 0 to 1000000; only
    /// the gateway reads it. Default: 0, only the calls that its `match` fits.
    #[serde(with = "Count::<0, 1_000_000>")]
    pub weight: u32,
    /// Headers by their names, each with the value that it has to have; only the gateway reads it. A call that has all of them
    /// goes to this version, whatever its weight is; of several that fit the first one gets it. Default: none, only by weight.
    #[serde(rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl VersionConfig {
    /// It as an upstream, which has all settings of the upstream that it is a version of.
    pub(crate) fn upstream(&self, of: &UpstreamConfig) -> UpstreamConfig {
        UpstreamConfig {
            name: format!("{}/{}", of.name, self.name),
            urls: self.urls.clone(),
            descriptors: None,
            services: Vec::new(),
            version: Vec::new(),
            ..of.clone()
        }
    }

    /// What its headers have to be.
    pub(crate) fn matched(&self) -> Box<[(HeaderName, HeaderValue)]> {
        self.headers.iter().filter_map(|(name, value)| header_name(name).zip(header_value(value))).collect()
    }

    fn wrong(&self, of: &UpstreamConfig) -> impl Iterator<Item = Invalid> {
        let endpoints = self.upstream(of).parsed().err().filter(|invalid| invalid.key != "name");
        let headers = self.headers.iter().filter_map(|(name, value)| wrong_header(name, value));
        self.misnamed().into_iter().chain(endpoints).chain(headers)
    }

    fn misnamed(&self) -> Option<Invalid> {
        let problem = format!("`{:.64}` is no name of a version", self.name);
        let remedy = format!(
            "begin with a letter or digit, then letters, digits, `-`, `_` and `.`, {LONGEST_NAME} at most, and not \
             `{DEFAULT}`"
        );
        (!is_name(&self.name) || self.name == DEFAULT).then(|| Invalid::new("name", problem, remedy))
    }
}

fn wrong_header(name: &str, value: &str) -> Option<Invalid> {
    let key = format!("match.{name}");
    match header_name(name) {
        None => Some(Invalid::new(key, "this is no name of a header", "write a header such as `x-canary`")),
        Some(name) if metadata::is_reserved(&name) => {
            let problem = "headers of the mesh's own are taken from what callers send";
            Some(Invalid::new(key, problem, "match a header of your own, such as `x-canary`"))
        }
        Some(_) if header_value(value).is_none() => {
            Some(Invalid::new(key, "no header has this value", "write one of visible ASCII"))
        }
        Some(_) => None,
    }
}

fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

fn header_value(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(value).ok().filter(|value| !value.is_empty() && value.to_str().is_ok())
}

/// What contradicts itself in the versions of an upstream.
pub(super) fn contradictions(config: &UpstreamConfig) -> Vec<Invalid> {
    let mut found = Vec::new();
    for (index, version) in config.version.iter().enumerate() {
        let section = format!("version.{index}");
        found.extend(version.wrong(config).map(|invalid| invalid.under(&section)));
        if config.version[..index].iter().any(|other| other.name == version.name) {
            let problem = format!("two versions of {} are named {}", config.name, version.name);
            found.push(Invalid::new("name", problem, "give each its own `name`").under(section));
        }
    }
    if !config.version.is_empty() && total(config) == 0 {
        let problem =
            format!("the weights of {} and its versions are 0, and calls without a match go nowhere", config.name);
        found.push(Invalid::new("weight", problem, "give one of them a weight above 0"));
    }
    found
}

/// The sum of all weights of an upstream.
pub(crate) fn total(config: &UpstreamConfig) -> u64 {
    let others = config.version.iter().map(|version| u64::from(version.weight));
    others.fold(config.weight.into(), u64::saturating_add)
}

/// Which of a version's files can't be used.
pub(super) fn unusable(config: &UpstreamConfig) -> impl Iterator<Item = Invalid> {
    config.version.iter().enumerate().flat_map(|(index, version)| {
        let found = version.upstream(config).unusable().into_iter();
        found.map(move |invalid| invalid.under(format!("version.{index}")))
    })
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    pub(crate) fn version(name: &str, weight: u32, headers: &[(&str, &str)]) -> VersionConfig {
        VersionConfig {
            name: name.to_owned(),
            urls: vec!["http://127.0.0.1:2".to_owned()],
            weight,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    pub(crate) fn config(weight: u32, versions: &[VersionConfig]) -> UpstreamConfig {
        UpstreamConfig {
            name: "shop".to_owned(),
            urls: vec!["http://127.0.0.1:1".to_owned()],
            weight,
            version: versions.to_vec(),
            ..UpstreamConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{config, version};
    use super::*;

    #[test]
    fn version_that_contradicts_itself_is_refused_at_its_key() {
        let keys = |weight, versions: &[VersionConfig]| -> Vec<_> {
            contradictions(&config(weight, versions)).into_iter().map(|invalid| invalid.key).collect()
        };
        let good = || version("b", 1, &[("x-canary", "1")]);
        assert!(keys(0, &[good()]).is_empty() && keys(0, &[]).is_empty());
        assert_eq!(keys(0, &[version("b", 0, &[("x-canary", "1")])]), ["weight"]);
        for name in ["", "default", "a/b"] {
            assert_eq!(keys(1, &[VersionConfig { name: name.to_owned(), ..good() }]), ["version.0.name"], "{name:?}");
        }
        assert_eq!(keys(1, &[good(), good()]), ["version.1.name"]);
        assert_eq!(keys(1, &[VersionConfig { urls: Vec::new(), ..good() }]), ["version.0.urls"]);
        assert_eq!(keys(1, &[VersionConfig { urls: vec!["nowhere".to_owned()], ..good() }]), ["version.0.urls.0"]);
        for name in ["x-accord-canary", "x_accord_canary", "two words", ""] {
            let refused = format!("version.0.match.{name}");
            assert_eq!(keys(1, &[version("b", 1, &[(name, "1")])]), [refused]);
        }
        for value in ["", "ä", "a\nb"] {
            assert_eq!(keys(1, &[version("b", 1, &[("x-canary", value)])]), ["version.0.match.x-canary"], "{value:?}");
        }
    }
}
