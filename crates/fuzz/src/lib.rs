//! Fuzz targets: everything that reads what others send, each held to an oracle beyond "does not panic".
//!
//! `cargo xtask fuzz` runs them under libFuzzer, which is guided by what code an input reaches. The tests of this crate run the
//! corpus in `tests/fuzz/corpus`, and some thousands of mutations of it, through the same functions. An input that fails
//! becomes an entry of the corpus.

// JSON and its messages.
mod json_request;
mod json_response;
mod query;

// Paths and contracts.
mod descriptors;
mod path_match;
mod template;

// Bodies and heads.
mod compressed;
mod connect_query;
mod frames;
mod grpc_web_text;
mod status;
mod timeout;
mod websocket;

// What the targets stand on.
mod mutation;
mod oracle;
mod percent;
mod schemas;

pub use mutation::Mutations;

/// Something that reads foreign bytes.
#[derive(Debug)]
pub struct Target {
    /// What it is called on the command line, and the folder of its corpus.
    pub name: &'static str,
    /// Panics where what has to hold does not.
    pub check: fn(&[u8]),
    /// Pieces that inputs are likely made of.
    pub tokens: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    json_request::TARGET,
    json_response::TARGET,
    query::TARGET,
    descriptors::TARGET,
    path_match::TARGET,
    template::TARGET,
    compressed::TARGET,
    connect_query::TARGET,
    frames::TARGET,
    grpc_web_text::TARGET,
    status::TARGET,
    timeout::TARGET,
    websocket::TARGET,
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
