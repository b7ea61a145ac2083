//! What is measured.

use std::net::SocketAddr;

use accord_fabric::Fabric;
use anyhow::{Context, Result, ensure};

use super::{
    authority::{self, Method},
    checks::Checks,
    load::{Protocol, Request},
    namespaces,
    scale::Scale,
    service::Service,
    verifier::Verification,
};

/// One kind of request.
pub(super) struct Case {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// How.
    pub kind: Kind,
}

/// What is called.
pub(super) enum Kind {
    /// A method of the upstream.
    Service(Service),
    /// Keys of a namespace of the cache, so many at once.
    Namespace(u32),
    /// Reads that the cache has to load.
    Misses,
    /// A method of auth.
    Auth(Method),
    /// A token and a decision at whoever verifies.
    Verifier(Verification),
    /// A method of the upstream, with messages of several sizes.
    Sizes(Service),
    /// A stream of so many messages, per message.
    Stream(u32),
    /// The same call where there is more of something.
    Scale(Scale),
    /// A decision of auth where there are more policies.
    Policies,
    /// Time until the answer, at so many percent of what Envoy can answer.
    Latency(u32),
    /// What is in memory.
    Memory,
    /// Time until a binary serves.
    Start,
}

const GRPC: Service = Service {
    protocol: Protocol::Grpc,
    is_encrypted: false,
    checks: Checks::Limit,
    method: "GetLimited",
    path: "/v1/limited/oak-desk",
    text: None,
    cache_status: None,
    peers: &["Envoy", "HAProxy", "nginx"],
    floors: &["floor: epoll"],
};

const JSON: Service =
    Service { protocol: Protocol::Http1, peers: &["Envoy", "Gin"], floors: &["floor: epoll", "floor: hyper"], ..GRPC };

const ECHO: Service = Service { method: "Echo", path: "/v1/echo", floors: &[], ..GRPC };

const CACHED: Service =
    Service { method: "GetCached", path: "/v1/cached/oak-desk", cache_status: Some("accord; hit"), ..JSON };

const NEAR: Service =
    Service { method: "GetNear", path: "/v1/near/oak-desk", cache_status: Some("accord-near; hit"), ..CACHED };

static CASES: [Case; 43] = [
    Case {
        name: "grpc-public",
        about: "gRPC passthrough of a public method",
        kind: Kind::Service(Service { checks: Checks::None, method: "GetPublic", path: "/v1/public/oak-desk", ..GRPC }),
    },
    Case {
        name: "grpc-jwt",
        about: "gRPC passthrough with a JWT",
        kind: Kind::Service(Service {
            checks: Checks::Token,
            method: "GetAuthenticated",
            path: "/v1/authenticated/oak-desk",
            ..GRPC
        }),
    },
    Case { name: "grpc-jwt-limit", about: "gRPC passthrough with a JWT and a rate limit", kind: Kind::Service(GRPC) },
    Case {
        name: "json-get-h1",
        about: "JSON GET over HTTP/1.1 with a JWT and a rate limit",
        kind: Kind::Service(JSON),
    },
    Case {
        name: "json-get-h2",
        about: "JSON GET over HTTP/2 with a JWT and a rate limit",
        kind: Kind::Service(Service { protocol: Protocol::Http2, ..JSON }),
    },
    Case {
        name: "json-post-h1",
        about: "JSON POST of 1 KB over HTTP/1.1 with a JWT and a rate limit",
        kind: Kind::Service(Service { method: "PutLimited", path: "/v1/limited", text: Some(840), ..JSON }),
    },
    Case {
        name: "grpc-web",
        about: "gRPC-Web over HTTP/1.1 with a JWT and a rate limit",
        kind: Kind::Service(Service { protocol: Protocol::GrpcWeb, peers: &["Envoy"], ..GRPC }),
    },
    Case {
        name: "connect",
        about: "Unary call of Connect in protobuf over HTTP/2 with a JWT and a rate limit",
        kind: Kind::Service(Service { protocol: Protocol::Connect, peers: &["Envoy"], ..GRPC }),
    },
    Case {
        name: "tls-grpc",
        about: "gRPC passthrough over TLS with a JWT and a rate limit, handshakes included",
        kind: Kind::Service(Service { is_encrypted: true, peers: &["Envoy", "HAProxy"], ..GRPC }),
    },
    Case {
        name: "tls-json-h1",
        about: "JSON GET over HTTP/1.1 and TLS with a JWT and a rate limit, handshakes included",
        kind: Kind::Service(Service { is_encrypted: true, peers: &["Envoy"], floors: &["floor: epoll"], ..JSON }),
    },
    Case {
        name: "near-hit-grpc",
        about: "Near hit as gRPC, leases included; peers don't cache; wanted: at most 0.2 × Envoy",
        kind: Kind::Service(Service { protocol: Protocol::Grpc, peers: &["Envoy"], ..NEAR }),
    },
    Case {
        name: "near-hit-h1",
        about: "Near hit as JSON over HTTP/1.1, leases included; wanted: at most 0.07 × Gin, 1.5 × floor hyper",
        kind: Kind::Service(NEAR),
    },
    Case {
        name: "near-hit-h2",
        about: "Near hit as JSON over HTTP/2, leases included; peers don't cache",
        kind: Kind::Service(Service { protocol: Protocol::Http2, ..NEAR }),
    },
    Case {
        name: "cached-hop-grpc",
        about: "Hit at the cache as gRPC, gateway and cache together; peers don't cache",
        kind: Kind::Service(Service { protocol: Protocol::Grpc, peers: &["Envoy"], ..CACHED }),
    },
    Case {
        name: "cached-hop-h1",
        about: "Hit at the cache as JSON over HTTP/1.1, gateway and cache together; peers don't cache",
        kind: Kind::Service(CACHED),
    },
    Case {
        name: "cached-hop-h2",
        about: "Hit at the cache as JSON over HTTP/2, gateway and cache together; peers don't cache",
        kind: Kind::Service(Service { protocol: Protocol::Http2, ..CACHED }),
    },
    Case {
        name: "cached-miss-h1",
        about: "Miss at the cache as JSON over HTTP/1.1, gateway and cache together",
        kind: Kind::Misses,
    },
    Case {
        name: "cache-get",
        about: "Get of a key of 100 bytes at the cache; Redis and memcached: the same without pipelining",
        kind: Kind::Namespace(1),
    },
    Case {
        name: "cache-batch-16",
        about: "BatchGet of 16 keys of 100 bytes at the cache, per key; Redis: a pipeline of 16 GETs; memcached: a get of 16 keys",
        kind: Kind::Namespace(16),
    },
    Case {
        name: "cache-batch-100",
        about: "BatchGet of 100 keys of 100 bytes at the cache, per key; Redis: a pipeline of 100 GETs; memcached: a get of 100 keys",
        kind: Kind::Namespace(100),
    },
    Case {
        name: "size-grpc",
        about: "gRPC with a JWT and a rate limit, by the size of a message that is answered with itself",
        kind: Kind::Sizes(Service { peers: &["Envoy"], ..ECHO }),
    },
    Case {
        name: "size-json",
        about: "JSON over HTTP/1.1 with a JWT and a rate limit, by the size of a message that is answered with itself",
        kind: Kind::Sizes(Service { protocol: Protocol::Http1, peers: &["Envoy", "Gin"], ..ECHO }),
    },
    Case {
        name: "stream",
        about: "Server stream of 1,000 messages as gRPC with a JWT and a rate limit, per message",
        kind: Kind::Stream(1000),
    },
    Case {
        name: "auth-check",
        about: "Check at auth of a permission that a policy gives",
        kind: Kind::Auth(Method::Check),
    },
    Case {
        name: "auth-issue",
        about: "Issue of a token for a program's secret at auth",
        kind: Kind::Auth(Method::Issue),
    },
    Case {
        name: "auth-exchange",
        about: "Exchange of a token for a passport at auth",
        kind: Kind::Auth(Method::Exchange),
    },
    Case { name: "auth-introspect", about: "Introspect at auth", kind: Kind::Auth(Method::Introspect) },
    Case {
        name: "verify-known",
        about: "Verification of a token that was verified before, at whoever verifies",
        kind: Kind::Verifier(Verification { is_decision: false, is_known: true }),
    },
    Case {
        name: "verify-new",
        about: "Verification of a token that was not verified before, at whoever verifies",
        kind: Kind::Verifier(Verification { is_decision: false, is_known: false }),
    },
    Case {
        name: "check-known",
        about: "Verification and a decision that is remembered, at whoever verifies",
        kind: Kind::Verifier(Verification { is_decision: true, is_known: true }),
    },
    Case {
        name: "check-new",
        about: "Verification and a decision that auth is asked for, at whoever verifies and auth together",
        kind: Kind::Verifier(Verification { is_decision: true, is_known: false }),
    },
    Case {
        name: "scale-methods",
        about: "JSON GET over HTTP/2 beside 10,000 methods and beside 10; wanted: at most 1.15 ×",
        kind: Kind::Scale(Scale::Methods),
    },
    Case {
        name: "scale-connections",
        about: "gRPC over 2,000 connections and over 8, one call in flight on each; wanted: at most 1.15 ×",
        kind: Kind::Scale(Scale::Connections),
    },
    Case {
        name: "scale-tokens",
        about: "gRPC with 100,000 tokens in turn and with 1; wanted: at most 1.15 ×",
        kind: Kind::Scale(Scale::Tokens),
    },
    Case {
        name: "scale-entries",
        about: "Hits among 1,000,000 entries (or `--most`) and among 1,000, gateway and cache together; wanted: at most 1.15 ×",
        kind: Kind::Scale(Scale::Entries),
    },
    Case {
        name: "scale-policies",
        about: "Check at auth beside 1,000 policies and beside 10, each of another permission; wanted: at most 2 ×",
        kind: Kind::Policies,
    },
    Case {
        name: "workers",
        about: "gRPC at two workers on two cores and at one; wanted: at most 1.08 ×",
        kind: Kind::Scale(Scale::Workers),
    },
    Case {
        name: "traces",
        about: "gRPC with 1% of the traces sampled and sent, and without a collector; wanted: at most 1.05 ×",
        kind: Kind::Scale(Scale::Traces),
    },
    Case {
        name: "latency-30",
        about: "gRPC with a JWT and a rate limit at 30% of Envoy's capacity, open loop",
        kind: Kind::Latency(30),
    },
    Case {
        name: "latency-50",
        about: "gRPC with a JWT and a rate limit at 50% of Envoy's capacity, open loop; wanted: p99 at most 1.0 ×",
        kind: Kind::Latency(50),
    },
    Case {
        name: "latency-70",
        about: "gRPC with a JWT and a rate limit at 70% of Envoy's capacity, open loop",
        kind: Kind::Latency(70),
    },
    Case {
        name: "memory",
        about: "Resident: a gateway with 100 methods at its start, and for an idle connection; of auth and a gateway with many principals, and with as many whose tokens were revoked; wanted: at most 30,000 kB, 12 kB, and 40,000 kB of auth with 100,000 principals",
        kind: Kind::Memory,
    },
    Case {
        name: "start",
        about: "From its start until a binary is ready, the gateway with 100 methods",
        kind: Kind::Start,
    },
];

/// Those whose names begin with one of these; all where there is none.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    for name in names {
        let is_known = CASES.iter().any(|case| case.name.starts_with(name.as_str()));
        ensure!(is_known, "no case is called {name}: `cargo xtask bench --list` names them");
    }
    let is_wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| case.name.starts_with(name.as_str()));
    Ok(CASES.iter().filter(is_wanted).collect())
}

/// The one of this name.
pub(super) fn named(name: &str) -> Result<&'static Case> {
    let found = CASES.iter().find(|case| case.name == name);
    found.with_context(|| format!("no case is called {name}: `cargo xtask bench --list` names them"))
}

impl Case {
    /// Peers beside it.
    pub(super) fn peers(&self) -> &'static [&'static str] {
        match &self.kind {
            Kind::Service(service) | Kind::Sizes(service) => service.peers,
            Kind::Namespace(_) => &["Redis", "memcached"],
            Kind::Latency(_) => &["Envoy"],
            Kind::Auth(_)
            | Kind::Verifier(_)
            | Kind::Misses
            | Kind::Scale(_)
            | Kind::Policies
            | Kind::Memory
            | Kind::Start => &[],
            Kind::Stream(_) => &["Envoy", "HAProxy", "nginx"],
        }
    }

    /// The request that the gateway gets, by whoever holds this token; none where it is not the gateway that is asked.
    pub(super) fn request(&self, token: &str) -> Option<Request> {
        match &self.kind {
            Kind::Service(service) if !service.is_encrypted => Some(service.request(token)),
            _ => None,
        }
    }

    /// One of its requests, by whoever holds this token, and where it goes; an error where there are several kinds.
    pub(super) async fn prepared(&self, fabric: &Fabric, token: &str) -> Result<(SocketAddr, Request)> {
        match &self.kind {
            Kind::Namespace(keys) => namespaces::prepared(*keys, fabric, token).await,
            Kind::Auth(method) => authority::prepared(*method, fabric, token).await,
            _ => {
                let request =
                    self.request(token).context("a case that sends several kinds of requests has no profile")?;
                Ok((fabric.gateway.listen, request))
            }
        }
    }
}
