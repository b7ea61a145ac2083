//! Answers: the one of success, and the errors that the gateway itself may give.

use accord_contract::{Access, Method, STREAM_FAILURE};
use accord_transcode::Known;
use prost_reflect::FieldDescriptor;
use serde_json::{Map, Value, json};

use crate::body::{LINES, is_raw, lines};
use crate::members::{Form, Taken};
use crate::route::Route;
use crate::schemas::Schemas;

/// What an error answer is called, by its status.
const ERRORS: [(u16, &str, &str); 12] = [
    (400, "BadRequest", "The request is not what the method takes, or the handler refuses it."),
    (401, "Unauthenticated", "No credential, or one that does not hold (any more)."),
    (403, "PermissionDenied", "The caller lacks the permission, or is of a kind that is not accepted."),
    (409, "Conflict", "A call with this `Idempotency-Key` is in flight, or the handler found a conflict."),
    (413, "RequestTooLarge", "The request is larger than the method allows."),
    (415, "UnsupportedMediaType", "The body is of a type that the method does not take."),
    (422, "IdempotencyKeyReused", "The `Idempotency-Key` was used with another request."),
    (429, "TooManyRequests", "A rate limit is used up, or more is in flight than can be served."),
    (500, "Internal", "The handler failed, or its answer is not what its contract says."),
    (501, "Unimplemented", "The handler does not implement the method."),
    (503, "Unavailable", "What the call needs does not answer now."),
    (504, "DeadlineExceeded", "The time of the call was over before it was answered."),
];

/// The answers of a method by one of its ways, by their status.
pub(crate) fn responses(schemas: &mut Schemas, method: &Method, route: Route<'_>, form: Form, has_body: bool) -> Value {
    let status = method.policy.json.success.filter(|_| !route.is_connect()).unwrap_or(200);
    let mut responses = Map::from_iter([(status.to_string(), success(schemas, method, route, form, status))]);
    if route.is_tagged(&method.policy) && status == 200 {
        let told = headers(method, route, status);
        responses
            .insert("304".to_owned(), json!({"description": "The caller has the answer already.", "headers": told}));
    }
    let answer = |name: &str| {
        let name = if route.is_connect() { "ConnectError" } else { name };
        json!({"$ref": format!("#/components/responses/{name}")})
    };
    for (status, name, _) in ERRORS {
        let is_given = match status {
            401 | 403 => method.policy.access != Access::Public,
            409 => method.policy.idempotency.is_some(),
            422 => method.policy.idempotency.is_some() && !route.is_connect(),
            413 => has_body && !route.is_connect(),
            415 => has_body,
            _ => true,
        };
        if is_given {
            responses.insert(status.to_string(), answer(name));
        }
    }
    responses.insert("default".to_owned(), answer("Error"));
    responses.into()
}

fn success(schemas: &mut Schemas, method: &Method, route: Route<'_>, form: Form, status: u16) -> Value {
    let headers = headers(method, route, status);
    let output = method.descriptor.output();
    let comment = schemas.comment(&output.parent_file(), output.path());
    let description = match comment {
        _ if status >= 300 => "It leads elsewhere.",
        "" => "The answer.",
        comment => comment,
    };
    let mut response = json!({"description": description, "headers": headers});
    if status != 204 {
        response["content"] = content(schemas, method, route, form);
    }
    response
}

fn content(schemas: &mut Schemas, method: &Method, route: Route<'_>, form: Form) -> Value {
    let output = method.descriptor.output();
    let field = route.binding().and_then(|binding| binding.response_body.as_ref());
    let is_whole_raw = !route.is_connect() && Known::of(&output) == Some(Known::HttpBody);
    if is_whole_raw || field.is_some_and(is_raw) {
        return json!({"*/*": {}});
    }
    let schema = match field {
        Some(field) => of_field(schemas, field, form),
        None => schemas.message(&output, form),
    };
    if !method.descriptor.is_server_streaming() {
        return json!({"application/json": {"schema": schema}});
    }
    let line = json!({"anyOf": [schema.clone(), {"$ref": "#/components/schemas/accord-stream-failure"}]});
    let events = json!({
        "type": "string",
        "description": "Server-sent events; the `data` of each is what `contentSchema` says. An event `error` says that the stream \
                        failed, with a status as its `data`.",
        "contentMediaType": "text/event-stream",
        "contentSchema": schema,
    });
    json!({LINES: {"schema": lines(&line)}, "text/event-stream": {"schema": events}})
}

/// An answer that is one field of the message. One that was not set is `null`, unless it has a default.
fn of_field(schemas: &mut Schemas, field: &FieldDescriptor, form: Form) -> Value {
    let schema = schemas.value(field, form, &Taken::default());
    let may_be_null = field.supports_presence() && !field.is_list() && !field.is_map();
    if may_be_null { json!({"anyOf": [schema, {"type": "null"}]}) } else { schema }
}

/// What stands in the head of the answer.
fn headers(method: &Method, route: Route<'_>, status: u16) -> Value {
    let policy = &method.policy;
    let given = [
        ("X-Request-Id", "RequestId", true),
        ("RateLimit", "RateLimit", !policy.rate_limits.is_empty()),
        ("RateLimit-Policy", "RateLimitPolicy", !policy.rate_limits.is_empty()),
        ("Age", "Age", policy.cache.is_some()),
        ("Cache-Status", "CacheStatus", policy.cache.is_some()),
        ("ETag", "ETag", route.is_tagged(policy)),
        ("X-Accord-Invalidation", "Invalidation", !policy.invalidates.is_empty()),
        ("X-Accord-Consistency-Token", "ConsistencyToken", policy.cache.is_some() || !policy.invalidates.is_empty()),
        ("Location", "Location", status >= 300),
    ];
    let given = given.into_iter().filter(|(.., is_given)| *is_given);
    given
        .map(|(name, component, _)| (name.to_owned(), json!({"$ref": format!("#/components/headers/{component}")})))
        .collect()
}

/// The error answers that many operations have.
pub(crate) fn components() -> Value {
    let content = json!({
        "application/json": {"schema": {"$ref": "#/components/schemas/accord-status"}},
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/accord-problem"}},
    });
    let header = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    let error = |description: &str, has_retry: bool| {
        let mut headers = json!({"X-Request-Id": header("RequestId"), "X-Accord-Fault": header("Fault")});
        if has_retry {
            headers["Retry-After"] = header("RetryAfter");
            headers["RateLimit-Policy"] = header("RateLimitPolicy");
        }
        json!({"description": description, "headers": headers, "content": content.clone()})
    };
    let named = ERRORS
        .iter()
        .map(|(status, name, description)| ((*name).to_owned(), error(description, matches!(status, 429 | 503))));
    let other = ("Error".to_owned(), error("Any other error of the handler, by the HTTP status of its code.", false));
    let connect = json!({
        "description": "An error of Connect, by the HTTP status of its code.",
        "headers": {"X-Request-Id": header("RequestId"), "X-Accord-Fault": header("Fault")},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/accord-connect-error"}}},
    });
    Value::Object(named.chain([other, ("ConnectError".to_owned(), connect)]).collect())
}

/// The headers of answers.
pub(crate) fn headers_of_all() -> Value {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    let whole = |description: &str| json!({"description": description, "schema": {"type": "integer", "minimum": 0}});
    json!({
        "Age": whole("Seconds since the answer was loaded (RFC 9111)."),
        "CacheStatus": text("Where the answer came from (RFC 9211)."),
        "ConsistencyToken": text(
            "What a later read passes as `X-Accord-At-Least-As-Fresh` to be told nothing older. Where the mesh has no cache: absent."
        ),
        "ETag": text("Names what the answer says (RFC 9110, 8.8.3); `If-None-Match` with it is answered with 304 while that holds."),
        "Fault": text("Whose fault it was: `gateway`, `auth`, `cache` or `upstream`. Absent where a handler answered."),
        "Invalidation": text("`DEFERRED`, `BOUNDED` or `LOCAL` where some caches may answer for a while with what was before."),
        "Location": text("Where it leads."),
        "RateLimit": text("What is left of the tightest limit (draft-ietf-httpapi-ratelimit-headers)."),
        "RateLimitPolicy": text("That limit (draft-ietf-httpapi-ratelimit-headers)."),
        "RequestId": text("The id of the call."),
        "RetryAfter": whole("Seconds after which to come back."),
    })
}

/// The schemas of errors. A hyphen is in no name of a proto.
pub(crate) fn error_schemas() -> Map<String, Value> {
    let code = json!({"type": "integer", "format": "int32", "description": "The code of gRPC."});
    let details = json!({
        "type": "array",
        "description": "Details by their types, such as `google.rpc.ErrorInfo` with the stable `reason` of an error of the mesh.",
        "items": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}, "additionalProperties": true},
    });
    let message = json!({"type": "string", "description": "For people."});
    let status = json!({
        "type": "object",
        "description": "An error (`google.rpc.Status`).",
        "required": ["code", "message", "details"],
        "properties": {"code": code.clone(), "message": message.clone(), "details": details.clone()},
    });
    let problem = json!({
        "type": "object",
        "description": "An error for callers that accept `application/problem+json` (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "details"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": message,
            "reason": {"type": "string", "description": "The stable reason, of an error of the mesh."},
            "code": code,
            "details": details,
        },
    });
    let failure = json!({
        "type": "object",
        "description": "The last line of a stream that failed.",
        "required": [STREAM_FAILURE],
        "properties": {STREAM_FAILURE: {"$ref": "#/components/schemas/accord-status"}},
    });
    let named = [
        ("accord-connect-error", connect_error()),
        ("accord-problem", problem),
        ("accord-status", status),
        ("accord-stream-failure", failure),
    ];
    named.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// An error of Connect.
fn connect_error() -> Value {
    json!({
        "type": "object",
        "description": "An error of Connect.",
        "required": ["code"],
        "properties": {
            "code": {"type": "string", "description": "The code of gRPC, such as `not_found`."},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {"type": "object"}},
        },
    })
}
