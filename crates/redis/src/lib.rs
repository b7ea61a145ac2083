//! A client of Valkey and Redis: one server, or a Cluster, which it recognises by itself.
//!
//! Each node has one connection for all callers (`connection`), which is made again when it ends, and given up when the node falls
//! silent (`link`). Which node has a key a Cluster says (`cluster`), and says again when that changes. A command whose answer does
//! not come, or is an error, has failed: nothing is repeated but what a node sends to another one.

mod reply;
mod connection;
mod server;
mod link;
mod slot;
mod slots;
mod client;

pub use client::{Client, Unanswered};
pub use link::Texts;
pub use reply::{Reply, command};
pub use server::{Options, Server, UrlError, servers};
