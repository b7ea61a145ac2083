//! Environment variables: which of them are meant for a binary, and which keys they set.
//!
//! `PREFIX__LISTEN__ADDRESS` is the key `listen.address`. A variable with single underscores that spells a key is refused with
//! the name that was meant. Others that only begin with the prefix are somebody else's: Kubernetes gives each container
//! variables such as `ACCORD_GATEWAY_SERVICE_HOST` for the services that it knows.

use std::ffi::OsString;

use super::{
    ConfigError,
    origin::Origin,
    schema::Key,
    tree::{Node, refused},
};

const SEPARATOR: &str = "__";

/// The most names on the way to a key. No key lies nearly as deep, and a tree is walked by recursion.
const DEEPEST: usize = 32;

impl Node {
    /// Takes over the variables that are meant for the binary with this prefix.
    pub(super) fn overlay_environment(
        &mut self,
        prefix: &str,
        mut environment: Vec<(OsString, OsString)>,
        keys: impl Fn() -> Vec<Key>,
    ) -> Result<(), ConfigError> {
        // A section comes before its keys, so that a contradiction between them never depends on the system's order.
        environment.sort_unstable();
        let mut given: Vec<(Vec<String>, Origin)> = Vec::new();
        for (name, value) in environment {
            let name = name.to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(prefix).filter(|rest| rest.starts_with('_')) else { continue };
            let origin = Origin::Variable(name.as_str().into());
            let Some(path) = rest.strip_prefix(SEPARATOR) else {
                refuse_misspelt(prefix, rest, &origin, &keys())?;
                continue;
            };
            let Some(text) = value.to_str() else {
                return Err(refused(origin, "its value is not UTF-8", "write it in UTF-8"));
            };
            let path: Vec<String> = path.to_lowercase().split(SEPARATOR).map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                return Err(refused(origin, "it names no key", format!("write it like {prefix}__SECTION__KEY")));
            }
            if path.len() > DEEPEST {
                // The name is not repeated: it has no bound either.
                let short = Origin::Variable(format!("{prefix}{SEPARATOR}…").into());
                return Err(refused(
                    short,
                    "its name lies deeper than any key",
                    format!("write it like {prefix}__SECTION__KEY"),
                ));
            }
            if let Some((_, whole)) = given.iter().find(|(section, _)| path.starts_with(section)) {
                let problem = format!("it sets a key of a section that is already given as one value ({whole})");
                return Err(refused(origin, problem, "give the section in one place, or key by key"));
            }
            self.put_text(&path, &origin, text)?;
            given.push((path, origin));
        }
        Ok(())
    }
}

/// Refuses the name of a key that is spelt with single underscores: it would be ignored without a word.
fn refuse_misspelt(prefix: &str, rest: &str, origin: &Origin, keys: &[Key]) -> Result<(), ConfigError> {
    let given = rest.trim_start_matches('_').replace(SEPARATOR, "_").to_lowercase();
    let spelt = |separator: &str, key: &Key| key.names().collect::<Vec<_>>().join(separator);
    match keys.iter().find(|key| spelt("_", key) == given) {
        None => Ok(()),
        Some(key) => {
            let meant = format!("{prefix}{SEPARATOR}{}", spelt(SEPARATOR, key).to_uppercase());
            Err(refused(
                origin.clone(),
                "this sets nothing, since two underscores separate the keys",
                format!("name it {meant}"),
            ))
        }
    }
}
