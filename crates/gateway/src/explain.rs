//! What holds for a method and which layer says so: as text for people, and as a service for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use accord_api::accord::fault::v1::Reason;
use accord_api::accord::gateway::v1::explain_service_server::ExplainService;
use accord_api::accord::gateway::v1::{
    ExplainRequest, ExplainResponse, FieldSource, ListMethodsRequest, ListMethodsResponse, UpstreamVersion,
};
use accord_contract::{Access, Contract, Method, MethodKind, http::Body};
use accord_runtime::fault::StatusBuilder;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tonic::{Code, Request, Response, Status};

use crate::table::{MethodTable, Tables};

/// Why no method is known where there is no upstream.
pub(crate) const NO_UPSTREAM: &str = "there is no upstream, and so no contract; add one with --upstream NAME=URL";

/// Explains the contract that is in force now.
pub(crate) struct Explain {
    tables: Arc<Tables>,
}

impl Explain {
    /// Explains what `tables` hold.
    pub(crate) fn new(tables: Arc<Tables>) -> Self {
        Self { tables }
    }
}

#[tonic::async_trait]
impl ExplainService for Explain {
    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let name = request.into_inner().method;
        // As the path of a call has it.
        let name = name.trim_start_matches('/');
        let table = self.tables.load();
        let Some(method) = table.contract().method(name) else {
            let message = match table.upstreams() {
                [] => NO_UPSTREAM.to_owned(),
                _ => unknown(table.contract(), table.pending(), name),
            };
            let unknown = StatusBuilder::new(Reason::MethodUnknown, message).code(Code::NotFound);
            return Err(unknown.resource("method", name).build());
        };
        Ok(Response::new(response(method, &table)))
    }

    async fn list_methods(&self, _: Request<ListMethodsRequest>) -> Result<Response<ListMethodsResponse>, Status> {
        let table = self.tables.load();
        let methods = table.contract().methods().into_iter().map(|method| method.name.to_string()).collect();
        Ok(Response::new(ListMethodsResponse { methods }))
    }
}

/// The HTTP bindings of a method.
#[derive(Default)]
struct Bindings {
    served: Vec<String>,
    /// Each with what is in its way.
    not_served: Vec<String>,
}

impl Bindings {
    fn of(method: &Method, table: &MethodTable) -> Self {
        let mut bindings = Self { not_served: method.left_out.clone(), ..Self::default() };
        for binding in &method.http {
            let streams = matches!(method.kind, MethodKind::ClientStreaming | MethodKind::BidiStreaming);
            let has_no_place = streams && matches!(binding.body, Body::None);
            match table.unserved(&method.name, binding) {
                Some(why) => bindings.not_served.push(format!("`{binding}`: {why}")),
                None if has_no_place => {
                    let why =
                        "the method takes a stream of requests, for whose messages a rule without `body` has no place";
                    bindings.not_served.push(format!("`{binding}`: {why}"));
                }
                None => bindings.served.push(binding.to_string()),
            }
        }
        bindings
    }
}

/// A version of an upstream, with its share of the calls and the headers that lead to it.
#[derive(Serialize)]
struct Versioned {
    name: String,
    weight: u32,
    total: u64,
    #[serde(rename = "match")]
    headers: BTreeMap<String, String>,
}

impl From<Versioned> for UpstreamVersion {
    fn from(Versioned { name, weight, headers, .. }: Versioned) -> Self {
        Self { name, weight, r#match: headers.into_iter().collect() }
    }
}

/// The versions of a method's upstream, its own endpoints first; nothing where there are no others.
fn versions(method: &Method, table: &MethodTable) -> Vec<Versioned> {
    let Some(upstream) = table.upstream_of(method) else { return Vec::new() };
    let (weight, total) = upstream.weights();
    let own = upstream.version_name(None).map(|name| (name, weight, &[][..]));
    let others = upstream.versions().iter().map(|version| (version.name(), version.weight(), version.headers()));
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let versioned = |(name, weight, headers): (&Arc<str>, u32, &[(HeaderName, HeaderValue)])| Versioned {
        name: name.to_string(),
        weight,
        total,
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
    };
    own.into_iter().chain(others).map(versioned).collect()
}

/// What holds for a method, and where each field comes from.
pub(crate) fn response(method: &Method, table: &MethodTable) -> ExplainResponse {
    let source = |it: &Arc<accord_contract::FieldSource>| FieldSource {
        field: it.field.clone(),
        value: it.value.clone(),
        source: it.source.clone(),
    };
    let Bindings { served, not_served } = Bindings::of(method, table);
    ExplainResponse {
        method: method.name.to_string(),
        upstream: method.upstream.to_string(),
        http: served,
        http_not_served: not_served,
        versions: versions(method, table).into_iter().map(UpstreamVersion::from).collect(),
        kind: method.kind.to_string(),
        policy: Some(method.effective.as_ref().clone()),
        sources: method.sources.iter().map(source).collect(),
    }
}

/// A method's effective policy, as a command shows it.
#[derive(Serialize)]
pub(crate) struct Explanation {
    method: String,
    upstream: String,
    kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    versions: Vec<Versioned>,
    http: Vec<String>,
    http_not_served: Vec<String>,
    fields: Vec<Row>,
}

/// One field, and the layer that it comes from.
#[derive(Serialize)]
struct Row {
    field: String,
    value: String,
    source: String,
}

impl Explanation {
    /// Of a method of this table.
    pub(crate) fn of(method: &Method, table: &MethodTable) -> Self {
        let Bindings { served, not_served } = Bindings::of(method, table);
        let field = |field: &str, value: &str, source: &str| Row {
            field: field.to_owned(),
            value: value.to_owned(),
            source: source.to_owned(),
        };
        // No layer says anything of it, so it has no source, and yet nobody would guess it.
        let denied = method.policy.access == Access::Denied;
        let denied = denied.then(|| field("access", "none: every call is denied", "default"));
        let said = method.sources.iter().map(|it| field(&it.field, &it.value, &it.source));
        Self {
            method: method.name.to_string(),
            upstream: method.upstream.to_string(),
            kind: method.kind.to_string(),
            versions: versions(method, table),
            http: served,
            http_not_served: not_served,
            fields: denied.into_iter().chain(said).collect(),
        }
    }
}

/// As text, fields stand in aligned columns.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\nupstream  {}\nkind      {}", self.method, self.upstream, self.kind)?;
        for Versioned { name, weight, total, headers } in &self.versions {
            write!(f, "version   {name}  weight {weight} of {total}")?;
            for (place, (header, value)) in headers.iter().enumerate() {
                let word = if place == 0 { ", and where" } else { " and" };
                write!(f, "{word} {header}: {value}")?;
            }
            writeln!(f)?;
        }
        self.http.iter().try_for_each(|http| writeln!(f, "http      {http}"))?;
        self.http_not_served.iter().try_for_each(|http| writeln!(f, "http      not served: {http}"))?;
        writeln!(f)?;
        let rows = self.fields.iter().map(|it| [it.field.as_str(), it.value.as_str(), it.source.as_str()]);
        let rows: Vec<_> = std::iter::once(["FIELD", "VALUE", "SOURCE"]).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (field, value) = (width(0), width(1));
        rows.iter().try_for_each(|row| writeln!(f, "{:field$}  {:value$}  {}", row[0], row[1], row[2]))
    }
}

/// Why there is nothing to explain, with the name that was probably meant.
pub(crate) fn unknown(contract: &Contract, pending: &[Arc<str>], name: &str) -> String {
    let (service, method) = name.rsplit_once(['/', '.']).unwrap_or(("", name));
    let alike = |known: &&Arc<Method>| {
        known.name.split_once('/').is_some_and(|(of, it)| it.eq_ignore_ascii_case(method) || of == service)
    };
    let mut near: Vec<_> = contract.methods().into_iter().filter(alike).map(|known| &*known.name).collect();
    // First the method that only its separator or its case kept from being found, then the other methods of its service.
    let distance = |known: &str| {
        let (of, it) = known.split_once('/').unwrap_or_default();
        (!it.eq_ignore_ascii_case(method), !of.eq_ignore_ascii_case(service))
    };
    near.sort_by_key(|known| distance(known));
    near.truncate(5);
    let mut message = format!("no method is named {name}; a name is written pkg.Service/Method");
    if !near.is_empty() {
        write!(message, ", such as {}", near.join(", ")).unwrap_or_default();
    }
    if !pending.is_empty() {
        write!(message, "; the descriptors of {} could not be read", pending.join(", ")).unwrap_or_default();
    }
    message
}

#[cfg(test)]
mod tests;
