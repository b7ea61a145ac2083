//! `deploy/config/*.toml` document every key of the binaries, with its real default.
//!
//! In those files a line that begins with `#` and no space is a key at its default, left out: `#grace = "30s"`. With all
//! such marks taken off, the files that a binary is started with are its whole configuration. It must accept them, and
//! they must name every key that it prints, each in one file only.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use accord_fabric::binaries;
use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;
use crate::workspace;

/// Where the files are.
const DIRECTORY: &str = "deploy/config";

/// The binaries, each with the files that it is started with.
const STARTED: [(&str, &[&str]); 3] = [
    ("accord-gateway", &["gateway.toml", UPSTREAMS]),
    ("accord-auth", &["auth.toml"]),
    ("accord-cache", &["cache.toml", UPSTREAMS]),
];

/// The file that two binaries share.
const UPSTREAMS: &str = "upstreams.toml";

/// The least that a section of that file says: the keys without a default. A binary prints the defaults of the others only
/// when it has such a section.
const LEAST_UPSTREAM: &str = "[[upstream]]\nname = \"a\"\nurls = [\"http://127.0.0.1:1\"]\n";

/// What `config print` shows in place of a secret.
const HIDDEN: &str = "***";

/// A file's values by their dotted paths.
type Flat = BTreeMap<String, Value>;

/// A file, taken apart.
struct Documentation {
    file: String,
    /// What it sets.
    set: Flat,
    /// What it says once its defaults are spelled out.
    whole: Flat,
}

impl Documentation {
    fn read(file: &str, text: &str) -> Result<Self> {
        let flat = |text: &str| Ok::<_, toml::de::Error>(flatten(&toml::from_str(text)?));
        let unusable = || format!("{file} is not TOML once its defaults are spelled out");
        let (set, whole) = (flat(text).with_context(unusable)?, flat(&with_defaults(text)).with_context(unusable)?);
        Ok(Self { file: file.to_owned(), set, whole })
    }
}

/// Asks each binary what it makes of its files.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (binary, files) in STARTED {
        findings.extend(check_binary(binary, files)?);
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn check_binary(binary: &str, files: &[&str]) -> Result<Vec<Finding>> {
    let written = tempfile::tempdir()?;
    let as_they_are: Vec<_> = files.iter().map(|file| workspace::root().join(DIRECTORY).join(file)).collect();
    let spelled_out: Vec<_> = files.iter().map(|file| written.path().join(file)).collect();
    let mut texts = Vec::new();
    for (from, to) in as_they_are.iter().zip(&spelled_out) {
        let text = fs::read_to_string(from).with_context(|| format!("{} could not be read", from.display()))?;
        fs::write(to, startable(&text))?;
        texts.push(text);
    }
    for (state, paths) in [("as they are", &as_they_are), ("with their defaults spelled out", &spelled_out)] {
        if let Err(refusal) = print(binary, paths)? {
            return Ok(vec![format!("{binary} refuses {} {state}: {refusal}", files.join(" with "))]);
        }
    }
    let documented =
        files.iter().zip(&texts).map(|(file, text)| Documentation::read(file, text)).collect::<Result<Vec<_>>>()?;
    let least = if files.contains(&UPSTREAMS) { LEAST_UPSTREAM } else { "" };
    let minimal = written.path().join("least.toml");
    fs::write(&minimal, least)?;
    Ok(match print(binary, &[minimal])? {
        Ok(printed) => {
            disagreements(&documented, &flatten(&toml::from_str(&printed)?), &flatten(&toml::from_str(least)?))
        }
        Err(refusal) => vec![format!("{binary} refuses its own defaults: {refusal}")],
    })
}

/// What `config print` prints, or why it refuses.
fn print(binary: &str, files: &[impl AsRef<Path>]) -> Result<std::result::Result<String, String>> {
    let mut command = Command::new(binaries::path(binary)?);
    command.args(["config", "print"]);
    for file in files {
        command.arg("--config").arg(file.as_ref());
    }
    let output = command.output().with_context(|| format!("{binary} could not be started"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// Every key must be in one of the files; one that is there as a default must state the real one. What was given for want
/// of a default is in `given`.
fn disagreements(documented: &[Documentation], printed: &Flat, given: &Flat) -> Vec<Finding> {
    let files: Vec<_> = documented.iter().map(|it| it.file.as_str()).collect();
    let mut findings = Vec::new();
    for (key, default) in printed {
        let section = format!("{key}.");
        let mut stating = documented.iter().filter(|it| it.whole.contains_key(key));
        let Some(first) = stating.next() else {
            // A section that is printed as an empty list.
            if !documented.iter().any(|it| it.whole.keys().any(|known| known.starts_with(&section))) {
                let default = if given.contains_key(key) { "none".to_owned() } else { default.to_string() };
                findings.push(format!("{} does not document {key}; its default: {default}", files.join(" with ")));
            }
            continue;
        };
        if let Some(second) = stating.next() {
            findings.push(format!("{} and {} both document {key}: leave it to one", first.file, second.file));
        }
        let stated = &first.whole[key];
        let is_default = !first.set.contains_key(key) && !given.contains_key(key);
        if is_default && stated != default && default.as_str() != Some(HIDDEN) {
            findings.push(format!("{} gives {stated} as the default of {key}, but it is {default}", first.file));
        }
    }
    findings
}

fn with_defaults(text: &str) -> String {
    text.lines().map(|line| spelled_out(line).unwrap_or(line).to_owned() + "\n").collect()
}

/// The keys of certificates that are in the place of files.
const IN_PLACE_OF_FILES: [&str; 2] = ["workload_api", "server_spiffe_ids"];

/// The same to start a binary with: of a secret and its file, in one section, only one may be given, and of certificates likewise.
fn startable(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| (line, spelled_out(line).unwrap_or(line))).collect();
    let sections = lines.chunk_by(|_, (_, next)| !next.starts_with('['));
    let of_section = |section: &[(&str, &str)]| {
        let has_file = |key: &str| section.iter().any(|(_, line)| line.starts_with(&format!("{key}_file = ")));
        let is_alternative = |(line, spelled): &(&str, &str)| {
            line.starts_with('#')
                && spelled
                    .split_once(" = ")
                    .is_some_and(|(key, _)| has_file(key) || IN_PLACE_OF_FILES.contains(&key) && has_file("cert"))
        };
        let kept = section.iter().filter(|line| !is_alternative(line));
        kept.flat_map(|(_, spelled)| [*spelled, "\n"]).collect::<String>()
    };
    sections.map(of_section).collect()
}

fn spelled_out(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '['))
}

/// Dotted paths of all values. An array of tables is as deep as its first table: its members are alike.
fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (key, value) in table {
        let inner = match value {
            Value::Table(inner) => Some(inner),
            Value::Array(items) => items.first().and_then(Value::as_table),
            _ => None,
        };
        let Some(inner) = inner else {
            flat.insert(key.clone(), value.clone());
            continue;
        };
        flat.extend(flatten(inner).into_iter().map(|(path, value)| (format!("{key}.{path}"), value)));
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::{Documentation, Flat, LEAST_UPSTREAM, disagreements, flatten, startable};

    const DEFAULTS: &str = "grace = \"30s\"\n[listen]\naddress = \"127.0.0.1:8080\"\nmax_streams = 200\n";
    const COMPLETE: &str =
        "# How long.\n#grace = \"30s\"\n[listen]\naddress = \"0.0.0.0:8080\"\n# Streams.\n#max_streams = 200\n";

    fn flat(text: &str) -> Flat {
        flatten(&toml::from_str(text).expect("the test's text is TOML"))
    }

    fn findings(own: &str) -> Vec<String> {
        let own = Documentation::read("a.toml", own).expect("the test's text is TOML");
        disagreements(&[own], &flat(DEFAULTS), &Flat::new())
    }

    /// What is found in two files, of which the second is about upstreams.
    fn findings_of_two(own: &str, upstreams: &str) -> Vec<String> {
        let files = [("a.toml", own), ("upstreams.toml", upstreams)];
        let documented = files.map(|(file, text)| Documentation::read(file, text).expect("the test's text is TOML"));
        let printed = format!("{DEFAULTS}{LEAST_UPSTREAM}connections = 2\nconnect_timeout = \"2s\"\n");
        disagreements(&documented, &flat(&printed), &flat(LEAST_UPSTREAM))
    }

    #[test]
    fn secret_is_left_out_where_its_file_is_given() {
        let text = "# One.\nkey_file = \"f\"\n# Other.\n#key = \"k\"\n#other = 1\n";
        assert_eq!(startable(text), "# One.\nkey_file = \"f\"\n# Other.\nother = 1\n");
    }

    #[test]
    fn file_that_names_every_key_is_accepted() {
        assert_eq!(findings(COMPLETE), Vec::<String>::new());
    }

    #[test]
    fn key_beside_its_file_is_left_out_and_one_of_that_name_elsewhere_stays() {
        let text = "[tls]\n#key = \"a\"\n#key_file = \"b\"\n[[outbox]]\n#key = \"{id}\"\n";
        assert_eq!(startable(text), "[tls]\nkey_file = \"b\"\n[[outbox]]\nkey = \"{id}\"\n");
    }

    #[test]
    fn missing_key_and_wrong_default_are_found() {
        let found = findings("#grace = \"10s\"\n[listen]\naddress = \"0.0.0.0:8080\"\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("default of grace"), "{found:?}");
        assert!(found[1].contains("listen.max_streams"), "{found:?}");
    }

    #[test]
    fn section_of_a_second_file_with_every_key_is_accepted() {
        let upstreams = "#[[upstream]]\n#name = \"catalog\"\n#urls = [\"http://catalog:9000\"]\n#connections = 2\n\
                         #connect_timeout = \"2s\"\n#ca_file = \"/run/secrets/ca.crt\"\n";
        assert_eq!(findings_of_two(COMPLETE, upstreams), Vec::<String>::new());
    }

    #[test]
    fn section_of_a_second_file_with_a_missing_key_and_a_wrong_default_is_found() {
        let found = findings_of_two(COMPLETE, "#[[upstream]]\n#name = \"catalog\"\n#connections = 3\n");
        let expected = [
            "a.toml with upstreams.toml does not document upstream.connect_timeout; its default: \"2s\"",
            "upstreams.toml gives 3 as the default of upstream.connections, but it is 2",
            "a.toml with upstreams.toml does not document upstream.urls; its default: none",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn second_file_without_the_section_is_found() {
        let found = findings_of_two(COMPLETE, "# Nothing.\n");
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn key_that_two_files_document_is_found() {
        let found = findings_of_two(
            &format!("{COMPLETE}#[[upstream]]\n#connections = 2\n"),
            "#[[upstream]]\n#name = \"catalog\"\n#urls = []\n#connections = 2\n#connect_timeout = \"2s\"\n",
        );
        assert_eq!(found, ["a.toml and upstreams.toml both document upstream.connections: leave it to one"]);
    }
}
