//! Every key of a binary with values that hardly anybody means, for the test that each is refused or can be served.
//!
//! The keys are asked of the configuration's types, so that a new one is tried without a word in a test.

use std::{fs, io, path::Path};

use toml::{Table, Value};

use super::{Binary, Settings};
use crate::{
    config::{Key, keys},
    run,
};

/// Zero, negative, huge, empty, and of another type, as TOML.
const VALUES: [&str; 13] = [
    "0",
    "-1",
    "9000000000000000000",
    "99999999999999999999999",
    "nan",
    "\"\"",
    "\" \"",
    "\"0s\"",
    "\"500000000000years\"",
    "true",
    "[]",
    "[\"\"]",
    "{}",
];

/// What of them the sections and keys that all binaries share accept on purpose.
const SHARED: [&str; 5] = [
    "workers = 0",
    "telemetry.access_log.enabled = true",
    "telemetry.access_log.ok_ratio = 0",
    "telemetry.access_log.error_ratio = 0",
    "telemetry.otlp.sample_ratio = 0",
];

/// Stands in a file for the value.
const MARK: &str = "the value";

/// What became of one key with one value.
struct Outcome<C> {
    /// The key and the value, as `key = value`.
    setting: String,
    /// What can be served, or why it can't be.
    result: Result<C, String>,
    /// Whether a refusal names key, file, line and remedy.
    is_explained: bool,
}

/// Tries every key with every value in a file in `directory`, among the keys in `least` that can't be left out. The settings
/// that are accepted, as `key = value`, but for those of `texts`, which may be any text; each is shown to `serve`. It is an
/// error where a refusal does not name key, file, line and remedy.
pub fn accepted_extremes<B: Binary>(
    directory: &Path,
    least: &str,
    texts: &[&str],
    serve: impl Fn(&B::Config),
) -> io::Result<Vec<String>> {
    let is_text = |setting: &str| texts.iter().any(|text| setting.starts_with(&format!("{text} = \"")));
    let mut accepted = Vec::new();
    for Outcome { setting, result, is_explained } in extremes::<B>(directory, least)? {
        match result {
            Ok(config) => {
                serve(&config);
                accepted.push(setting);
            }
            Err(refusal) if !is_explained => return Err(io::Error::other(format!("{setting}: {refusal}"))),
            Err(_) => {}
        }
    }
    accepted.retain(|setting| !is_text(setting) && !SHARED.contains(&setting.as_str()));
    Ok(accepted)
}

/// Whether both addresses stay the binary's own where a file in `directory` sets another key of their sections.
pub fn keeps_default_addresses<B: Binary>(directory: &Path) -> anyhow::Result<bool> {
    let file = directory.join("sections.toml");
    fs::write(&file, "[listen]\nmax_streams = 5\n[admin]\nmax_streams = 5\n")?;
    let config = Settings::<B>::parse_from([B::NAME, "--config", &file.display().to_string(), "check"])?.load()?;
    let (default, now) = (B::Config::default(), B::sections(&config));
    let own = B::sections(&default);
    Ok((&now.listen.address, &now.admin.address) == (&own.listen.address, &own.admin.address)
        && (now.listen.max_streams, now.admin.max_streams) == (5, 5))
}

fn extremes<B: Binary>(directory: &Path, least: &str) -> io::Result<Vec<Outcome<B::Config>>> {
    let mut outcomes = Vec::new();
    let file = directory.join("extreme.toml");
    for key in keys::<B::Config>() {
        let mut table: Table = least.parse().map_err(io::Error::other)?;
        set(&mut table, &key.names().collect::<Vec<_>>());
        let text = toml::to_string(&table).map_err(io::Error::other)?;
        for value in VALUES {
            fs::write(&file, text.replace(&format!("{MARK:?}"), value))?;
            outcomes.push(outcome::<B>(&file, &key, value)?);
        }
    }
    Ok(outcomes)
}

fn outcome<B: Binary>(file: &Path, key: &Key, value: &str) -> io::Result<Outcome<B::Config>> {
    let file = file.display().to_string();
    let settings = Settings::<B>::parse_from([B::NAME, "--config", &file, "check"]).map_err(io::Error::other)?;
    let result = settings.usable().map_err(|wrong| wrong.iter().map(run::sentence).collect::<Vec<_>>().join("\n"));
    let section = key.to_string().replace("[]", ".0");
    let (section, name) = section.rsplit_once('.').unwrap_or(("", &section));
    let is_explained = result.as_ref().err().is_none_or(|error| {
        let place = error.strip_prefix(&format!("{file}:")).unwrap_or_default();
        let has_line = place.starts_with(|first: char| first.is_ascii_digit());
        let has_key = place.contains(name) || place.contains(&format!("`{section}`"));
        has_line && has_key && place.contains("; ")
    });
    Ok(Outcome { setting: format!("{key} = {value}"), result, is_explained })
}

/// Puts the mark at the end of the path; a list of sections is its first.
fn set(table: &mut Table, path: &[&str]) {
    let Some((name, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert((*name).to_owned(), MARK.into());
        return;
    }
    let list = name.strip_suffix("[]");
    let empty = if list.is_some() { Value::Array(vec![Table::new().into()]) } else { Table::new().into() };
    let inner = match table.entry(list.unwrap_or(name)).or_insert(empty) {
        Value::Array(sections) => sections.first_mut(),
        section => Some(section),
    };
    if let Some(Value::Table(section)) = inner {
        set(section, rest);
    }
}
