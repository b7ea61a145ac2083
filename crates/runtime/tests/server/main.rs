//! Servers that carry this runtime, each on its own port: deadlines, drain, limits, TLS, health, telemetry.

mod call;
mod client_certificates;
mod configure;
mod control_frames;
mod deadline;
mod drain;
mod hostile;
mod limits;
mod operate;
mod probe;
mod proxy_protocol;
mod rfc9112;
mod rfc9113;
mod tls;
mod trace;
mod slow_readers;
mod wire;
mod workers;
mod workload_api;
