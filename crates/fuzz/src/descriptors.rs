//! Descriptor sets of others: whatever is in one, it is refused or served, and ends nothing.

use std::sync::Arc;

use accord_contract::{Contract, Source};
use accord_transcode::{Limits, Plan, Schema};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "descriptors",
    check,
    tokens: &[
        "proto2",
        "proto3",
        "editions",
        "\x62\x06proto3",
        "google/api/http.proto",
        "google.protobuf.Any",
        ".a.M",
        "\x70\u{e8}\x07",
    ],
};

fn check(input: &[u8]) {
    let whole = Source::descriptor_set("fuzzed", "fuzzed", input);
    let reflected = Source::reflected("fuzzed", [input]);
    for source in [whole, reflected].into_iter().flatten() {
        let (contract, _) = Contract::load(std::slice::from_ref(&source), &[]);
        let schema = Arc::new(Schema::compile(&source.pool));
        for method in contract.methods() {
            let bindings = method.http.iter().map(Some).chain([None]);
            for plan in bindings.filter_map(|it| Plan::compile(&schema, &method.descriptor, it, Limits::default()).ok())
            {
                drop(plan.whole_request(b"{}"));
                drop(plan.response(b"", &mut Vec::new()));
            }
        }
    }
}
