//! Overlay files: policies for protos that one does not own.
//!
//! ```toml
//! [[rule]]
//! selector = "echo.v1.EchoService/Say"
//! policy = { deadline = { default = "1s" }, access = { permission = "echo.say" } }
//! http = { get = "/v1/echo/{text}" }
//! idempotency_level = "NO_SIDE_EFFECTS"
//! required = false
//! ```

mod document;
mod rules;

use std::fmt;
use std::path::Path;

use accord_api::google::api::HttpRule;
use prost_reflect::DynamicMessage;

use crate::finding::Finding;
use crate::method::IdempotencyLevel;
pub(crate) use rules::Rules;

/// An overlay file: rules that are stronger than what the descriptors say.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The file, for messages.
    pub(crate) file: String,
    pub(crate) rules: Vec<Rule>,
}

/// What an overlay says about the methods that a selector matches.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The selector's, for messages.
    pub(crate) line: usize,
    pub(crate) selector: Selector,
    pub(crate) policy: Option<DynamicMessage>,
    pub(crate) http: Option<HttpOverlay>,
    pub(crate) idempotency_level: Option<IdempotencyLevel>,
    /// Whether fields declared REQUIRED have to be set.
    pub(crate) required: Option<bool>,
}

/// What an overlay says of the HTTP bindings of a method.
#[derive(Clone, Debug)]
pub(crate) enum HttpOverlay {
    /// There are none.
    Dropped,
    /// This rule holds.
    Rule(Box<HttpRule>),
}

/// Which methods a rule is for, the least specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Selector {
    /// `*`: every method.
    All,
    /// `pkg.*`: the methods of a package and of the packages inside it.
    Package(String),
    /// `pkg.Service/*`.
    Service(String),
    /// `pkg.Service/Get*`: the methods whose names begin so.
    Methods(String),
    /// `pkg.Service/Method`.
    Method(String),
}

impl Overlay {
    /// Reads a file.
    pub fn file(path: &Path) -> Result<Self, Vec<Finding>> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let remedy = "name a readable overlay file, or none";
            vec![Finding::error(&name, "overlay", format!("can't be read: {error}"), remedy)]
        })?;
        Self::parse(&name, &text)
    }

    /// Reads the text of a file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        document::read(file, text).map(|rules| Self { file: file.to_owned(), rules })
    }
}

impl Selector {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let dotted = |name: &str| !name.is_empty() && name.split('.').all(is_identifier);
        match text.split_once('/') {
            _ if text == "*" => Some(Self::All),
            Some((service, "*")) if dotted(service) => Some(Self::Service(service.to_owned())),
            Some((service, methods)) if dotted(service) && methods.strip_suffix('*').is_some_and(is_identifier) => {
                text.strip_suffix('*').map(|begin| Self::Methods(begin.to_owned()))
            }
            Some((service, method)) if dotted(service) && is_identifier(method) => Some(Self::Method(text.to_owned())),
            Some(_) => None,
            None => {
                text.strip_suffix(".*").filter(|package| dotted(package)).map(|name| Self::Package(name.to_owned()))
            }
        }
    }

    /// Whether it matches `pkg.Service/Method`.
    pub(crate) fn matches(&self, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Methods(begin) => method.starts_with(begin.as_str()),
            Self::Method(name) => name == method,
            Self::Service(service) => method.strip_prefix(service.as_str()).is_some_and(|rest| rest.starts_with('/')),
            Self::Package(package) => method.strip_prefix(package.as_str()).is_some_and(|rest| rest.starts_with('.')),
        }
    }
}

/// How many letters of a selector may be wrong for another one to have been meant.
const SLIP: usize = 2;

impl Selector {
    /// The selector that was probably meant by one that matches none of these methods.
    pub(crate) fn meant(&self, methods: &[String]) -> Option<Self> {
        let written = self.to_string();
        let distance = |known: &String| match known.strip_suffix(&*written) {
            // The package was left out.
            Some(package) if package.ends_with('.') => 0,
            _ => strsim::damerau_levenshtein(known, &written),
        };
        let known = methods.iter().filter_map(|method| self.like(method));
        let near = known.map(|known| (distance(&known), known)).filter(|(distance, _)| *distance <= SLIP);
        near.min().and_then(|(_, known)| Self::parse(&known))
    }

    /// The selector of this kind that matches a method.
    fn like(&self, method: &str) -> Option<String> {
        let (service, _) = method.split_once('/')?;
        Some(match self {
            Self::All => self.to_string(),
            Self::Methods(begin) => format!("{}*", method.get(..begin.len())?),
            Self::Package(_) => format!("{}.*", service.rsplit_once('.')?.0),
            Self::Service(_) => format!("{service}/*"),
            Self::Method(_) => method.to_owned(),
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("*"),
            Self::Methods(begin) => write!(formatter, "{begin}*"),
            Self::Package(package) => write!(formatter, "{package}.*"),
            Self::Service(service) => write!(formatter, "{service}/*"),
            Self::Method(method) => formatter.write_str(method),
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selector_matches_whole_names_only() {
        assert!(!Selector::parse("echo.v1.Echo/*").unwrap().matches("echo.v1.EchoTwo/Say"));
        assert!(!Selector::parse("echo.*").unwrap().matches("echoes.v1.Echo/Say"));
        assert!(!Selector::parse("echo.v1.Echo/Get*").unwrap().matches("echo.v1.EchoTwo/GetIt"));
        for wrong in ["", "**", "/", "echo", "echo.v1.Echo/", "echo/S*y", "echo/**", ".*", "*.v1", "a..b/*", "/a.B/C"] {
            assert_eq!(Selector::parse(wrong), None, "{wrong}");
        }
    }
}
