//! Reading, writing and tags: through the public API only, with `prost-reflect` as the oracle.

mod expansion;
mod messages;
mod reading;
mod schema;
mod templates;
