//! JSON to protobuf and back: through the public API only, with `prost-reflect` as the oracle.

mod bodies;
mod editions;
mod forged;
mod http_rule;
mod invented;
mod kitchen;
mod legacy;
mod oracle;
mod parameters;
mod proto_json;
mod proto_json_known;
mod requests;
mod responses;
mod routes;
mod samples;
