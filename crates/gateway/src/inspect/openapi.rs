//! `/openapi.json`: what callers may do with JSON, as one document. Made when it is first asked for, once for each contract.

use super::Inspection;
use crate::{
    etag,
    fault::{Component, Fault},
    protocol::{Coding, WireProtocol},
    table::{MethodTable, Tables},
};
use accord_openapi::Surroundings;
use accord_runtime::{
    config::bound, deadline::Deadline, holding_body::HoldingBody, inspection::address_of, write_deadline::write_by,
};
use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fmt::Write,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::OnceCell;
use tonic::body::Body;

/// Where the document is.
const PATH: &str = "/openapi.json";

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// It is asked for again each time, and answered without its text where that is the same.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");

/// How long it may take to make the document and to read it.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// What the document says of the contract is what its digest begins with: so many characters.
const VERSION_LENGTH: usize = 12;

/// The `OpenAPI` document of what the public listener serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenApiConfig {
    /// Whether `GET /openapi.json` is answered at the public listener, to everybody: all methods that anybody may call, with their
    /// messages, as server reflection has them too. Default: true.
    pub enabled: bool,
    /// Its title. Default: `API`.
    #[serde(deserialize_with = "bound::text")]
    pub title: String,
}

impl Default for OpenApiConfig {
    fn default() -> Self {
        Self { enabled: true, title: "API".to_owned() }
    }
}

/// The document of the contract in force.
pub(crate) struct OpenApi {
    tables: Arc<Tables>,
    config: ArcSwap<OpenApiConfig>,
    by_certificate: bool,
    made: ArcSwapOption<OfTable>,
}

/// The document of one snapshot under one configuration, once somebody asked for it.
struct OfTable {
    table: Weak<MethodTable>,
    config: Arc<OpenApiConfig>,
    written: OnceCell<Written>,
}

#[derive(Clone)]
struct Written {
    text: Bytes,
    /// The same, compressed.
    gzip: Bytes,
    zstd: Bytes,
    tag: HeaderValue,
}

impl OpenApi {
    /// Of what `tables` hold, which may be called by certificate or not.
    pub(crate) fn new(tables: &Arc<Tables>, config: &OpenApiConfig, by_certificate: bool) -> Self {
        let config = ArcSwap::from_pointee(config.clone());
        Self { tables: Arc::clone(tables), config, by_certificate, made: ArcSwapOption::empty() }
    }

    /// Whether a request asks for it, and it is served. A contract that has a binding of this path keeps it.
    fn is_asked_for<B>(&self, request: &Request<B>) -> bool {
        request.uri().path() == PATH
            && self.config.load().enabled
            && [Method::GET, Method::HEAD].contains(request.method())
            && self.tables.load().http(&Method::GET, PATH).is_err()
    }

    /// From now on, as this configuration says.
    pub(super) fn take_over(&self, config: &OpenApiConfig) {
        if **self.config.load() != *config {
            self.config.store(Arc::new(config.clone()));
        }
    }

    async fn written(&self) -> Result<Written, Fault> {
        let table = self.tables.load();
        let of_table = self.of_table(&table);
        let (config, by_certificate) = (Arc::clone(&of_table.config), self.by_certificate);
        let write = || async move {
            // A large contract takes a while, in which a worker has others to serve.
            tokio::task::spawn_blocking(move || written(&document(&table, &config.title, by_certificate))).await
        };
        of_table.written.get_or_try_init(write).await.cloned().map_err(|_panic| Fault::defect())
    }

    /// The place of a snapshot's document: the same for all who ask, or hardly ever one more.
    fn of_table(&self, table: &Arc<MethodTable>) -> Arc<OfTable> {
        let (current, config) = (self.made.load_full(), self.config.load_full());
        let is_of = |made: &&Arc<OfTable>| {
            Weak::as_ptr(&made.table) == Arc::as_ptr(table) && Arc::ptr_eq(&made.config, &config)
        };
        if let Some(made) = current.as_ref().filter(is_of) {
            return Arc::clone(made);
        }
        let fresh = Arc::new(OfTable { table: Arc::downgrade(table), config, written: OnceCell::new() });
        self.made.store(Some(Arc::clone(&fresh)));
        fresh
    }
}

/// The document of a contract. Its version is what its digest begins with, so that it changes when the contract does.
pub(crate) fn document(table: &MethodTable, title: &str, by_certificate: bool) -> Value {
    let surroundings = Surroundings { title, version: "", mutual_tls: by_certificate };
    let is_served = |method: &_, binding: &_| table.serves(method, binding);
    let mut document = accord_openapi::document(table.contract(), surroundings, is_served);
    let version = version_of(document.to_string().as_bytes());
    document["info"]["version"] = version.into();
    document
}

fn written(document: &Value) -> Written {
    let text = Bytes::from(document.to_string());
    // It is in memory, where writing can't fail; if it did, nobody would get it compressed.
    let compressed = |coding: Coding| Bytes::from(coding.compress(&text).unwrap_or_default());
    let (gzip, zstd) = (compressed(Coding::Gzip), compressed(Coding::Zstd));
    Written { tag: etag::of(&text), text, gzip, zstd }
}

impl Written {
    fn compressed(&self, coding: Coding) -> Bytes {
        match coding {
            Coding::Gzip => self.gzip.clone(),
            Coding::Zstd => self.zstd.clone(),
        }
    }
}

fn version_of(text: &[u8]) -> String {
    let mut version = String::new();
    for byte in digest(&SHA256, text).as_ref() {
        write!(version, "{byte:02x}").unwrap_or_default();
    }
    version.truncate(VERSION_LENGTH);
    version
}

impl Inspection {
    /// Whether a request of the public listener asks for the `OpenAPI` document.
    pub(crate) fn is_asked_for_openapi<B>(&self, request: &Request<B>) -> bool {
        self.openapi.is_asked_for(request)
    }

    /// Answers a request for which [`Inspection::is_asked_for_openapi`] said yes, within the bounds of health and reflection.
    pub(crate) async fn openapi<B>(
        &self,
        protocol: WireProtocol,
        accepted: Option<Coding>,
        request: &Request<B>,
    ) -> Response<Body> {
        write_by(Deadline::after(LONGEST_CALL));
        let slot = match self.limits.take(address_of(request)) {
            Ok(slot) => slot,
            Err(status) => return protocol.fault(&Fault::from_status(Component::Gateway, status)),
        };
        match self.openapi.written().await {
            Ok(written) => {
                answer(&written, accepted, request.headers()).map(|body| Body::new(HoldingBody::new(body, slot)))
            }
            Err(fault) => protocol.fault(&fault),
        }
    }
}

/// The text, or that it is still what the caller has (RFC 9110, 13.1.2).
fn answer(written: &Written, accepted: Option<Coding>, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let is_known = etag::is_known(headers, &written.tag);
    let compressed = accepted.map(|coding| (coding, written.compressed(coding))).filter(|(_, text)| !text.is_empty());
    let mut response = Response::new(Full::default());
    let tag = if compressed.is_some() { etag::weak(&written.tag) } else { written.tag.clone() };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        let coding = compressed.as_ref().map(|(coding, _)| (header::CONTENT_ENCODING, coding.name()));
        response.headers_mut().extend(coding);
        *response.body_mut() = Full::new(compressed.map_or_else(|| written.text.clone(), |(_, text)| text));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CONTROL);
    response
}

#[cfg(test)]
mod tests;
