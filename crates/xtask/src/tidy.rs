//! `cargo xtask tidy`: the house rules that a compiler does not know.
//!
//! What the compiler and clippy know, such as unreachable `pub`, is not looked for again: tidy sees to it that their lints are
//! on in every package, and `.ci/run` denies their warnings.

mod bounds;
mod commands;
mod configuration;
mod dependencies;
mod graph;
mod layout;
mod licences;
mod links;
mod lints;
mod metrics;
mod modules;
mod order;
mod quotes;
mod seams;
mod sources;
mod unused;

use anyhow::{Result, ensure};

use crate::say::say;

/// What `cargo xtask tidy` can be asked: nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// One thing that is not as it should be: a sentence that begins with the place.
type Finding = String;

/// Finds everything that breaks one rule; an error where it could not look.
type Rule = fn() -> Result<Vec<Finding>>;

/// Prints every finding, one a line; fails if there is one.
pub(crate) fn run(Args {}: Args) -> Result<()> {
    let rules: [(&str, Rule); 15] = [
        ("layout", layout::check),
        ("lints", lints::check),
        ("licences", licences::check),
        ("dependencies", dependencies::check),
        ("unused dependencies", unused::check),
        ("modules", modules::check),
        ("request order", order::check),
        ("seams", seams::check),
        ("sources", sources::check),
        ("links", links::check),
        ("bounds", bounds::check),
        ("quotes", quotes::check),
        ("commands", commands::check),
        ("configuration", configuration::check),
        ("metrics", metrics::check),
    ];
    let mut findings = 0;
    for (rule, check) in rules {
        for finding in check()? {
            say(format_args!("{rule}: {finding}"))?;
            findings += 1;
        }
    }
    ensure!(findings == 0, "findings: {findings}");
    say("tidy: nothing to find fault with")
}
