//! The one way to an endpoint: discovery, choice, ejection, connections, one call with its retries.

pub mod discovery;
pub mod url;
