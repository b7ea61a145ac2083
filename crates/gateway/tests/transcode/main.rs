//! JSON to protobuf and back: through the public API only, with `prost-reflect` as the oracle.

mod bodies;
mod kitchen;
mod legacy;
mod oracle;
mod requests;
mod responses;
mod routes;
