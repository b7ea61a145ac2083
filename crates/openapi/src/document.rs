//! The document as a whole.

use std::collections::BTreeMap;

use accord_contract::http::{Binding, PathTemplate, Segment};
use accord_contract::{Access, Contract, Method};
use serde_json::{Map, Value, json};

use crate::answers;
use crate::object::put_unless_empty;
use crate::operation::operation;
use crate::parameters;
use crate::place::Places;
use crate::route::Route;
use crate::schemas::Schemas;

/// The methods of HTTP that OpenAPI 3.1 has, in the order in which it names them.
const HTTP_METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// What a document says beside what the contract does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// Its `info.title`.
    pub title: &'a str,
    /// Its `info.version`.
    pub version: &'a str,
    /// Whether a certificate may stand in the place of a token.
    pub mutual_tls: bool,
}

/// Describes all that may be called with JSON; `is_served` says whether a binding of a method is.
pub fn document(
    contract: &Contract,
    surroundings: Surroundings<'_>,
    is_served: impl Fn(&Method, &Binding) -> bool,
) -> Value {
    let mut writer = Writer { mutual_tls: surroundings.mutual_tls, ..Writer::default() };
    for method in contract.methods() {
        // Nobody may call it.
        if method.policy.access != Access::Denied {
            writer.method(method, &is_served);
        }
    }
    writer.finish(surroundings)
}

#[derive(Default)]
struct Writer {
    schemas: Schemas,
    places: Places,
    /// By path, then by the place of its HTTP method.
    paths: BTreeMap<String, BTreeMap<usize, Value>>,
    /// The comments of services.
    services: BTreeMap<String, String>,
    /// Bindings that are served and have no place in OpenAPI, each with why.
    left_out: Vec<Value>,
    mutual_tls: bool,
}

impl Writer {
    fn method(&mut self, method: &Method, is_served: &impl Fn(&Method, &Binding) -> bool) {
        self.schemas.set_upstream(&method.upstream);
        let service = method.descriptor.parent_service();
        let comment = self.schemas.comment(&service.parent_file(), service.path()).to_owned();
        self.services.insert(service.full_name().to_owned(), comment);
        let served: Vec<_> = method.http.iter().filter(|binding| is_served(method, binding)).collect();
        for (index, binding) in served.iter().enumerate() {
            self.operation(method, Route::Binding(binding), &binding.method, &binding.template, index);
        }
        if served.is_empty() {
            self.operation(method, Route::own(method), "POST", &own_path(method), 0);
        }
    }

    fn operation(&mut self, method: &Method, route: Route<'_>, verb: &str, template: &PathTemplate, index: usize) {
        let Some(row) = HTTP_METHODS.iter().position(|known| *known == verb) else {
            return self.leave_out(method, verb, template, "OpenAPI has no such HTTP method");
        };
        let place = self.places.of(template);
        if self.paths.get(&place.path).is_some_and(|path| path.contains_key(&row)) {
            return self.leave_out(method, verb, template, "in OpenAPI it is the path of another operation");
        }
        let mut operation = operation(&mut self.schemas, method, route, &place, index, format!("{verb} {template}"));
        operation["security"] = self.security(method);
        self.paths.entry(place.path).or_default().insert(row, operation);
    }

    /// By which of the schemes a method may be called.
    fn security(&self, method: &Method) -> Value {
        match (&method.policy.access, self.mutual_tls) {
            (Access::Public, _) => json!([]),
            (_, false) => json!([{"bearer": []}, {"apiKey": []}]),
            (_, true) => json!([{"bearer": []}, {"apiKey": []}, {"mutualTLS": []}]),
        }
    }

    fn leave_out(&mut self, method: &Method, verb: &str, template: &PathTemplate, why: &str) {
        self.left_out.push(json!({"method": *method.name, "binding": format!("{verb} {template}"), "why": why}));
    }

    fn finish(self, surroundings: Surroundings<'_>) -> Value {
        let Surroundings { title, version, mutual_tls } = surroundings;
        let tags = self.services.into_iter().map(|(name, comment)| {
            let mut tag = Map::from_iter([("name".to_owned(), name.into())]);
            put_unless_empty(&mut tag, "description", comment.into());
            Value::Object(tag)
        });
        let paths = self.paths.into_iter().map(|(path, operations)| {
            let operations = operations.into_iter().map(|(row, it)| (HTTP_METHODS[row].to_ascii_lowercase(), it));
            (path, Value::Object(operations.collect()))
        });
        let mut document = Map::from_iter([
            ("openapi".to_owned(), json!("3.1.1")),
            ("info".to_owned(), json!({"title": title, "version": version})),
            ("jsonSchemaDialect".to_owned(), json!("https://spec.openapis.org/oas/3.1/dialect/base")),
            ("tags".to_owned(), tags.collect()),
            ("paths".to_owned(), Value::Object(paths.collect())),
        ]);
        let mut schemas = self.schemas.finish();
        schemas.extend(answers::error_schemas());
        let bearer = json!({"type": "http", "scheme": "bearer", "description": "An access token, or an API key."});
        let api_key = json!({"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key."});
        let mut security = json!({"bearer": bearer, "apiKey": api_key});
        if mutual_tls {
            security["mutualTLS"] =
                json!({"type": "mutualTLS", "description": "A client certificate that auth knows."});
        }
        let components = json!({
            "schemas": schemas,
            "parameters": parameters::components(),
            "headers": answers::headers_of_all(),
            "responses": answers::components(),
            "securitySchemes": security,
        });
        document.insert("components".to_owned(), components);
        put_unless_empty(&mut document, "x-accord-left-out", self.left_out.into());
        document.into()
    }
}

/// `/pkg.Service/Method`, by which every method is reached.
fn own_path(method: &Method) -> PathTemplate {
    let segments = method.name.split('/').map(|part| Segment::Literal(part.to_owned())).collect();
    PathTemplate { segments, verb: None }
}
