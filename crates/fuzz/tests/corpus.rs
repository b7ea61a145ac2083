//! The corpus and some mutations of it, through every target: the short form of `cargo xtask fuzz`.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use accord_fuzz::{Mutations, TARGETS, target};

/// Mutations of each target's corpus.
const MUTATIONS: usize = 4000;
const SEED: u64 = 1;

/// The largest entry, so that a reader can take one in.
const LARGEST: usize = 1024;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus"))
}

/// The entries of a target, by name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder().join(name)).unwrap_or_else(|error| panic!("{name} has no corpus: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[track_caller]
fn holds(name: &str) {
    let (target, corpus) = (target(name).unwrap(), corpus(name));
    for input in corpus.iter().cloned().chain(Mutations::new(target, &corpus, SEED).take(MUTATIONS)) {
        let checked = catch_unwind(AssertUnwindSafe(|| (target.check)(&input)));
        assert!(checked.is_ok(), "{name} fails, as said above, on b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn json_is_read_as_prost_reflect_reads_it() {
    holds("json_request");
}

#[test]
fn messages_are_written_as_prost_reflect_writes_them() {
    holds("json_response");
}

#[test]
fn queries_make_the_message_of_their_values() {
    holds("query");
}

#[test]
fn descriptor_sets_of_any_bytes_are_refused_or_served() {
    holds("descriptors");
}

#[test]
fn routes_are_those_that_a_search_through_all_finds() {
    holds("path_match");
}

#[test]
fn path_templates_are_those_of_the_grammar() {
    holds("template");
}

#[test]
fn compressed_bodies_are_within_the_limit() {
    holds("compressed");
}

#[test]
fn message_in_a_query_of_connect_is_the_one_that_was_encoded() {
    holds("connect_query");
}

#[test]
fn frames_hold_the_same_messages_however_they_are_cut() {
    holds("frames");
}

#[test]
fn text_of_grpc_web_is_base64_however_it_is_cut() {
    holds("grpc_web_text");
}

#[test]
fn statuses_are_read_as_they_were_written() {
    holds("status");
}

#[test]
fn timeouts_are_those_of_their_grammars() {
    holds("timeout");
}

#[test]
fn frames_of_a_websocket_are_those_that_tungstenite_reads() {
    holds("websocket");
}

#[test]
fn every_target_has_a_corpus_of_small_entries() {
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(folders.collect::<BTreeSet<_>>(), names);
    for name in &names {
        let entries = corpus(name);
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry.len() <= LARGEST), "{name}");
    }
}
