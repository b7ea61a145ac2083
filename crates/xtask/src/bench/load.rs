//! Load: h2load of nghttp2, which nobody here wrote, on the core that the upstream has.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::programs::{apt_install, can_install, on_path};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web over HTTP/1.1.
    GrpcWeb,
    /// A unary call of Connect over HTTP/2, in protobuf.
    Connect,
    /// JSON over HTTP/1.1.
    Http1,
    /// JSON over HTTP/2.
    Http2,
}

impl Protocol {
    /// Whether its requests go one after another on a connection.
    pub(super) fn is_http1(self) -> bool {
        matches!(self, Self::GrpcWeb | Self::Http1)
    }
}

/// One request, which is sent again and again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// What is spoken.
    pub protocol: Protocol,
    /// The path, with its query.
    pub path: String,
    /// Who asks.
    pub token: Option<String>,
    /// Its body; without one it is a GET.
    pub body: Option<Vec<u8>>,
    /// Sent over TLS, to those that this trusts.
    pub trusted: Option<Arc<ClientConfig>>,
}

impl Request {
    /// Headers beside those that the protocol itself needs.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        match self.protocol {
            Protocol::Grpc => {
                headers.extend([("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())]);
            }
            Protocol::GrpcWeb => headers.push(("content-type", "application/grpc-web+proto".to_owned())),
            Protocol::Connect => headers.extend([
                ("content-type", "application/proto".to_owned()),
                ("connect-protocol-version", "1".to_owned()),
            ]),
            _ if self.body.is_some() => headers.push(("content-type", "application/json".to_owned())),
            _ => {}
        }
        headers.extend(self.token.iter().map(|token| ("authorization", format!("Bearer {token}"))));
        headers
    }
}

/// Bytes that are in flight at the most, to one side.
const IN_FLIGHT: usize = 4 << 20;

/// As many as keep a core busy: connections, and requests in flight on each. Of large ones a few do.
fn concurrency(request: &Request) -> (usize, usize) {
    let bytes = request.body.as_ref().map_or(1, |body| body.len().max(1));
    let connections = if request.protocol.is_http1() { (IN_FLIGHT / bytes).clamp(4, 32) } else { 8 };
    let streams = if request.protocol.is_http1() { 1 } else { (IN_FLIGHT / bytes / connections).clamp(1, 16) };
    (connections, streams)
}

/// The generator.
pub(super) struct Tool {
    program: PathBuf,
    bodies: TempDir,
}

impl Tool {
    /// Finds it, or installs it.
    pub(super) fn find() -> Result<Self> {
        if on_path("h2load").is_none() {
            ensure!(can_install(), "h2load is missing: install what Debian calls nghttp2-client");
            apt_install(&["nghttp2-client"])?;
        }
        let program = on_path("h2load").context("h2load is not on PATH")?;
        Ok(Self { program, bodies: tempfile::tempdir()? })
    }

    /// Sends so many requests, each as soon as there is room for it; an error unless all succeed.
    pub(super) fn send(&self, address: SocketAddr, request: &Request, count: u32) -> Result<()> {
        let (connections, streams) = concurrency(request);
        let mut command = Command::new(&self.program);
        command.args(["-t", "1", "-n", &count.to_string(), "-c", &connections.to_string(), "-m", &streams.to_string()]);
        if request.protocol.is_http1() {
            command.arg("--h1");
        }
        for (name, value) in request.headers() {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        if let Some(body) = &request.body {
            let file = self.bodies.path().join("body");
            fs::write(&file, body)?;
            command.arg("-d").arg(file);
        }
        let scheme = if request.trusted.is_some() { "https" } else { "http" };
        command.arg(format!("{scheme}://{address}{}", request.path));
        let output = command.output().context("h2load could not be started")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let all =
            said.contains(&format!(" {count} succeeded,")) && said.contains(&format!("status codes: {count} 2xx"));
        ensure!(output.status.success() && all, "not every request succeeded: {}", summary(&said));
        Ok(())
    }
}

fn summary(said: &str) -> String {
    let lines = said.lines().filter(|line| line.starts_with("requests:") || line.starts_with("status codes:"));
    lines.collect::<Vec<_>>().join("; ")
}

/// As gRPC sends a message: not compressed, its length, itself.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_are_sent_with_fewer_in_flight() {
        let of = |protocol, bytes| {
            let body = Some(vec![0; bytes]);
            concurrency(&Request { protocol, path: String::new(), token: None, body, trusted: None })
        };
        assert_eq!(of(Protocol::Grpc, 100), (8, 16));
        assert_eq!(of(Protocol::Grpc, 1_000_000), (8, 1));
        assert_eq!(of(Protocol::Http1, 100), (32, 1));
        assert_eq!(of(Protocol::Http1, 1_000_000), (4, 1));
    }
}
