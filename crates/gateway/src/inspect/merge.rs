//! The files of all upstreams as one set, as they came.
//!
//! Two upstreams may have different files of one name. The later one is told under another name, and so are the files that
//! import it where the earlier upstream has them too: whoever asks for a service gets the types that it was made with.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use accord_contract::Source;
use accord_wire::{Occurrence, Value, occurrences, put_bytes};

use super::equivalent::equivalent;

/// `google.protobuf.FileDescriptorProto.name`, `.dependency` and `.option_dependency`.
const NAME: u32 = 1;
const DEPENDENCIES: [u32; 2] = [3, 15];

/// Every language's protobuf brings its own copies of these, and they mean the same.
const WELL_KNOWN: &str = "google/protobuf/";

/// Files by their names.
type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

/// All files as one encoded `FileDescriptorSet`.
pub(super) fn merge(sources: &[Source]) -> Vec<u8> {
    let (mut told, mut moved) = (BTreeMap::<String, Vec<u8>>::new(), BTreeMap::new());
    for source in sources {
        let set = source.encoded.bytes();
        let files = files(&set);
        let names = renamed(&told, &files, &source.upstream);
        for (name, file) in files {
            let file = with_names(file, &names).into_owned();
            match names.get(name) {
                Some(other) => drop(moved.insert(other.clone(), file)),
                None => drop(told.entry(name.to_owned()).or_insert(file)),
            }
        }
    }
    let mut set = Vec::new();
    // Of two types of one name the later one is told where somebody asks for the type itself.
    for file in moved.values().chain(told.values()) {
        put_bytes(&mut set, 1, file);
    }
    set
}

fn files(set: &[u8]) -> Files<'_> {
    let files = occurrences(set).filter_map(|occurrence| match occurrence {
        Ok(Occurrence { number: 1, value: Value::Bytes(file), .. }) => Some((name(file)?, file)),
        _ => None,
    });
    files.collect()
}

fn name(file: &[u8]) -> Option<&str> {
    occurrences(file).find_map(|occurrence| match occurrence {
        Ok(Occurrence { number: NAME, value: Value::Bytes(name), .. }) => std::str::from_utf8(name).ok(),
        _ => None,
    })
}

/// The files that are told under other names, with these: those that differ from what is told already, by themselves or by
/// what they import.
fn renamed(told: &BTreeMap<String, Vec<u8>>, files: &Files<'_>, upstream: &str) -> HashMap<String, String> {
    let mut names = HashMap::new();
    loop {
        let before = names.len();
        for (name, file) in files {
            let first = told.get(*name).filter(|_| !names.contains_key(*name) && !name.starts_with(WELL_KNOWN));
            if first.is_some_and(|first| !equivalent(first, &with_names(file, &names))) {
                let other = format!("{upstream}/{name}");
                tracing::info!(
                    "two upstreams have different files {name}; reflection tells that of {upstream} as {other}"
                );
                names.insert((*name).to_owned(), other);
            }
        }
        if names.len() == before {
            return names;
        }
    }
}

/// A file that has, and imports by, other names.
fn with_names<'a>(file: &'a [u8], names: &HashMap<String, String>) -> Cow<'a, [u8]> {
    if names.is_empty() {
        return Cow::Borrowed(file);
    }
    let mut out = Vec::with_capacity(file.len() + 64);
    for occurrence in occurrences(file).filter_map(Result::ok) {
        let is_name = occurrence.number == NAME || DEPENDENCIES.contains(&occurrence.number);
        let other = match occurrence.value {
            Value::Bytes(name) if is_name => std::str::from_utf8(name).ok().and_then(|name| names.get(name)),
            _ => None,
        };
        match other {
            Some(other) => put_bytes(&mut out, occurrence.number, other.as_bytes()),
            None => out.extend_from_slice(occurrence.raw),
        }
    }
    Cow::Owned(out)
}
