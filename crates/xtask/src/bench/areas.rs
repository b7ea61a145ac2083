//! Which part of the program a function belongs to, by its symbol.

use std::sync::LazyLock;

/// Crates by area; the first crate that a symbol names decides.
const AREAS: [(&str, &[&str]); 8] = [
    ("h2, hpack, http", &["h2", "http", "httparse", "http_body", "http_body_util", "fnv", "slab", "indexmap"]),
    (
        "hyper, tonic, tower, axum",
        &["hyper", "hyper_util", "tonic", "tonic_prost", "tower", "tower_service", "axum", "axum_core"],
    ),
    (
        "tokio",
        &[
            "tokio",
            "tokio_util",
            "tokio_stream",
            "mio",
            "futures_util",
            "futures_core",
            "futures_channel",
            "parking_lot",
        ],
    ),
    (
        "tracing, OpenTelemetry",
        &[
            "tracing",
            "tracing_core",
            "tracing_subscriber",
            "tracing_opentelemetry",
            "opentelemetry",
            "opentelemetry_sdk",
            "sharded_slab",
            "prometheus",
        ],
    ),
    (
        "crypto",
        &[
            "aws_lc_rs",
            "aws_lc_sys",
            "rustls",
            "tokio_rustls",
            "sha2",
            "rand",
            "rand_core",
            "rand_chacha",
            "chacha20",
            "uuid",
            "getrandom",
        ],
    ),
    ("moka, arc_swap", &["moka", "arc_swap", "crossbeam_epoch", "tagptr"]),
    ("prost, serde", &["prost", "prost_types", "prost_reflect", "serde", "serde_json", "bytes"]),
    ("other libraries", &[]),
];

/// What begins the names of functions of C, by area.
const C: [(&str, &[&str]); 4] = [
    (
        "memmove, memcmp",
        &["__memmove", "__memcpy", "__memset", "__memcmp", "memcpy", "memmove", "memset", "memcmp", "__bcmp", "bcmp"],
    ),
    (
        "allocator",
        &[
            "mi_",
            "_mi_",
            "malloc",
            "free",
            "calloc",
            "realloc",
            "_int_malloc",
            "_int_free",
            "__rust_alloc",
            "__rdl",
            "__rg_",
        ],
    ),
    ("crypto", &["aws_lc", "sha256", "x25519", "ed25519", "ge_", "fe_", "EVP_", "bn_", "ecp_"]),
    ("kernel", &["__vdso", "clock_gettime", "syscall", "__send", "__recv", "writev", "read", "epoll"]),
];

/// The area of a symbol as [`demangled`] leaves it; of ours, the crate and its module.
pub(super) fn of(symbol: &str) -> String {
    if symbol.starts_with("[k]") {
        return "kernel".to_owned();
    }
    let symbol = symbol.trim_start_matches("[.]").trim();
    if let Some(ours) = ours(symbol) {
        return ours;
    }
    if let Some((area, _)) = paths(symbol).find_map(|name| LIBRARIES.iter().find(|(_, library)| *library == name)) {
        return (*area).to_owned();
    }
    let of_c = C.iter().find(|(_, begins)| begins.iter().any(|begin| symbol.starts_with(begin)));
    let std = if symbol.contains("::") { "std, core, alloc" } else { "other" };
    of_c.map_or(std, |(area, _)| area).to_owned()
}

static LIBRARIES: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| AREAS.iter().flat_map(|(area, names)| names.iter().map(|name| (*area, *name))).collect());

/// `accord_gateway::call`, where the first crate that the symbol names, of those with an area, is one of ours.
fn ours(symbol: &str) -> Option<String> {
    let first = paths(symbol).find(|name| name.starts_with("accord_") || LIBRARIES.iter().any(|(_, it)| it == name))?;
    let rest = first.starts_with("accord_").then(|| symbol.split_once(&format!("{first}::")))??.1;
    let module = rest.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').next().unwrap_or_default();
    Some(format!("{first}::{module}"))
}

/// The words of a symbol that stand before `::` and after no other: crates.
fn paths(symbol: &str) -> impl Iterator<Item = &str> {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
    symbol
        .split(move |it| !is_word(it))
        .filter_map(|path| path.split_once("::"))
        .map(|(first, _)| first)
        .filter(|it| !it.is_empty())
}

/// Without what a compiler adds to tell instances apart.
pub(super) fn demangled(symbol: &str) -> String {
    let (mark, name) = symbol.split_at(symbol.find(' ').unwrap_or(0));
    let name = name.split("  ").find(|part| !part.trim().is_empty()).unwrap_or_default().trim();
    format!("{mark} {:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_crate_that_a_symbol_names_decides() {
        assert_eq!(of("[.] <tokio::runtime::task::Task<h2::Frame> as core::ops::Drop>::drop"), "tokio");
        assert_eq!(of("[.] core::ptr::drop_in_place<http::header::map::HeaderMap>"), "h2, hpack, http");
        assert_eq!(of("[.] accord_gateway::call::travel::{closure}"), "accord_gateway::call");
        assert_eq!(
            of("[.] <accord_runtime::deadline::Race<F> as core::future::Future>::poll"),
            "accord_runtime::deadline"
        );
        assert_eq!(of("[.] mi_malloc"), "allocator");
        assert_eq!(of("[.] core::fmt::write"), "std, core, alloc");
    }
}
