//! The metrics of every binary.

use accord_metric::{Label, metrics};

const METHOD: Label =
    Label::open("rpc.method", "`pkg.Service/Method`, or `_OTHER` where nothing is served under its name");
const CODE: Label = Label::open("rpc.response.status_code", "of gRPC");
const SYSTEM: Label = Label::closed("rpc.system.name", &[("grpc", "")]);
const LISTENER: Label = Label::closed("accord.listener", &[("public", ""), ("internal", "")]).note("at the gateway");
const PROTOCOL: Label = Label::closed(
    "accord.protocol",
    &[("grpc", ""), ("grpc_web", ""), ("connect", ""), ("json", ""), ("websocket", "")],
)
.note("at the gateway");
const VERSION: Label = Label::open("accord.version", "where its upstream has several [versions](services.md#versions)");
const BUDGET: Label = Label::closed(
    "budget",
    &[
        ("calls", "at the gateway"),
        ("memory", "there"),
        ("passwords", "in auth"),
        ("inspection", "health and reflection"),
        ("admin_inspection", "the same at the admin port"),
        ("ext_authz_inspection", "the same at the port of `ext_authz`"),
    ],
);
const SHED: Label = Label::closed("reason", &[("full", ""), ("share", "its caller had its share")]);
const PORT: Label = Label::open("network.local.port", "");
const FILE_KIND: Label = Label::closed(
    "kind",
    &[
        ("server_tls", ""),
        ("client_tls", ""),
        ("client_secret", ""),
        ("client_secrets", "in auth"),
        ("client_names", ""),
        ("policies", "in auth"),
        ("second_level_key", "at the cache"),
        ("consistency_token_key", "there"),
        ("configuration", ""),
    ],
);
const RELOAD: Label = Label::closed("outcome", &[("replaced", ""), ("refused", ""), ("restart_needed", "")]);

metrics! {
    pub METRICS;

    pub(crate) CALL_DURATION: Histogram(
        "rpc.server.call.duration",
        "Rates, errors and durations: time from a call's first header to its last byte",
    ).unit("s").labels(&[METHOD, CODE, SYSTEM, LISTENER, PROTOCOL, VERSION]);
    pub(crate) ACTIVE_REQUESTS: UpDownCounter("rpc.server.active_requests", "Calls in flight")
        .unit("{request}").labels(&[LISTENER]);
    pub(crate) BUDGET_LIMIT: Gauge("accord.budget.limit", "What may be held of a budget").labels(&[BUDGET]);
    pub(crate) BUDGET_SHED: Counter("accord.budget.shed", "Requests for more of a budget that were refused")
        .labels(&[BUDGET, SHED]);
    pub(crate) DEPENDENCY_UP: Gauge("accord.dependency.up", "1 while a dependency is up, else 0")
        .labels(&[Label::closed("dependency", &[("auth", ""), ("store", "")])]);
    pub(crate) ACCESS_LOG_DROPPED: Counter(
        "accord.access_log.dropped",
        "Lines of the access log that were dropped, because nobody reads standard output, or not fast enough",
    ).unit("{line}");
    pub(crate) CONNECTIONS_OPEN: UpDownCounter("accord.connections.open", "Open connections").labels(&[PORT]);
    pub(crate) CONNECTIONS_ACCEPTED: Counter("accord.connections.accepted", "Accepted connections").labels(&[PORT]);
    pub(crate) CONNECTIONS_REFUSED: Counter(
        "accord.connections.refused",
        "Connections closed at once, since their address has its share of `max_connections`",
    ).labels(&[PORT]);
    pub(crate) PROXY_HEADERS_FAILED: Counter(
        "accord.connections.proxy_headers.failed",
        "Connections closed since their PROXY protocol header (`proxy_protocol`) is missing, malformed, or late",
    ).labels(&[PORT]);
    pub(crate) FLOODS: Counter(
        "accord.connections.floods",
        "Connections that were ended for too many HTTP/2 control frames",
    ).labels(&[PORT]);
    pub(crate) HANDSHAKES_FAILED: Counter(
        "accord.tls.handshakes.failed",
        "TLS handshakes that failed or took too long",
    ).labels(&[PORT]);
    pub(crate) CERTIFICATE_EXPIRY: Gauge(
        "accord.tls.certificate.expiry",
        "When a certificate that is shown ends, in seconds since 1970",
    ).unit("s").labels(&[Label::open("file", "")]);
    pub(crate) SVID_EXPIRY: Gauge(
        "accord.tls.svid.expiry",
        "When the X.509-SVID that a [`workload_api`](credentials.md#spire) gave ends, in seconds since 1970",
    ).unit("s").labels(&[Label::open("spiffe_id", "")]);
    pub(crate) FILE_RELOADS: Counter(
        "accord.files.reloads",
        "Attempts to take over [changed files](#graceful-shutdown-and-reload) while serving",
    ).labels(&[FILE_KIND, RELOAD]);
    pub(crate) BUILD_INFO: Gauge("accord.build.info", "Which build runs; always 1")
        .labels(&[Label::open("version", "")]);
    pub(crate) CPU_TIME: Counter("process.cpu.time", "Processor time that the process has taken; on Linux").unit("s");
    pub(crate) MEMORY_USAGE: Gauge("process.memory.usage", "Memory of the process that is resident; on Linux")
        .unit("By");
    pub(crate) OPEN_FILES: Gauge(
        "process.open_file_descriptor.count",
        "Open file descriptors, sockets included; on Linux",
    );
    pub(crate) OPEN_FILES_LIMIT: Gauge("process.open_file_descriptor.limit", "File descriptors that may be open");
    pub(crate) START_TIME: Gauge("process.start_time", "When the process started, in seconds since 1970; on Linux")
        .unit("s");
}
