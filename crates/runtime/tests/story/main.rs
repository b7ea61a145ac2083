//! Stories of servers that carry this runtime: each on its own port, each about one promise.

mod call;
mod configure;
mod deadline;
mod drain;
mod hostile;
mod limits;
mod operate;
mod probe;
mod tls;
mod trace;
mod unread;
mod wire;
