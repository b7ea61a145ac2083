//! One operation: a method by one of its bindings.

use accord_contract::{Access, Kinds, Method};
use accord_transcode::Known;
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value, json};

use crate::answers;
use crate::body::{BodySource, request_body};
use crate::comments::summary;
use crate::members::{Form, Taken};
use crate::object::put_unless_empty;
use crate::parameters;
use crate::place::Place;
use crate::policy;
use crate::route::Route;
use crate::schemas::Schemas;

/// The method by one of its ways, the `index`-th of those it has, which is `written` as a contract does it.
pub(crate) fn operation(
    schemas: &mut Schemas,
    method: &Method,
    route: Route<'_>,
    place: &Place,
    index: usize,
    written: String,
) -> Value {
    let (form, request) = forms(method, route);
    let comment =
        schemas.comment(&method.descriptor.parent_service().parent_file(), method.descriptor.path()).to_owned();
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), operation_id(method, index).into()),
        ("x-accord-binding".to_owned(), written.into()),
        ("tags".to_owned(), json!([method.descriptor.parent_service().full_name()])),
    ]);
    let summary = summary(&comment).to_owned();
    put_unless_empty(
        &mut operation,
        "description",
        if summary == comment.trim_end_matches('.') { "" } else { &*comment }.into(),
    );
    put_unless_empty(&mut operation, "summary", summary.into());
    if method.deprecated {
        operation.insert("deprecated".to_owned(), json!(true));
    }
    let taken = Taken::new(place.parameters.iter().filter_map(|parameter| parameter.field.as_deref()));
    let source = BodySource::of(route);
    let input = method.descriptor.input();
    let mut parameters = parameters::in_path(schemas, place, &input, request);
    match &source {
        BodySource::None => parameters.extend(parameters::in_query(schemas, &input, request, &taken)),
        BodySource::Field(field) => {
            let taken = taken.clone().and(field.name());
            parameters.extend(parameters::in_query(schemas, &input, request, &taken));
        }
        BodySource::Whole | BodySource::Canonical => {}
    }
    parameters.extend(parameters::in_head(&method.policy, route));
    operation.insert("parameters".to_owned(), parameters.into());
    let body = request_body(schemas, &method.descriptor, &source, request, &taken);
    let has_body = body.is_some();
    put_unless_empty(&mut operation, "requestBody", body.unwrap_or_default());
    operation.insert("responses".to_owned(), answers::responses(schemas, method, route, form, has_body));
    operation.extend(access(method));
    put_unless_empty(&mut operation, "x-accord-policy", policy::told(&method.effective));
    operation.into()
}

/// The forms of answers and of requests. Where a field mask says which fields count, no field has to be given.
fn forms(method: &Method, route: Route<'_>) -> (Form, Form) {
    let json = &method.policy.json;
    let form = match route {
        Route::Connect => Form::default(),
        _ => Form { proto_names: json.proto_names, enum_numbers: json.enum_numbers, is_request: false },
    };
    let is_mask = |message: &MessageDescriptor| Known::of(message) == Some(Known::FieldMask);
    let has_mask = method.descriptor.input().fields().any(|field| field.kind().as_message().is_some_and(is_mask));
    (form, Form { is_request: !has_mask, ..form })
}

/// Unique, since no method of a proto has a hyphen in its name.
fn operation_id(method: &Method, index: usize) -> String {
    let name = method.name.replace('/', ".");
    if index == 0 { name } else { format!("{name}-{}", index + 1) }
}

/// Who may call, once it is known who does.
fn access(method: &Method) -> Map<String, Value> {
    let mut access = Map::new();
    if let Access::Permission(permission) = &method.policy.access {
        access.insert("x-accord-permission".to_owned(), permission.as_ref().into());
    }
    if method.policy.kinds != Kinds::ALL {
        let kinds = [("user", method.policy.kinds.users), ("service", method.policy.kinds.services)];
        let accepted: Vec<_> = kinds.into_iter().filter(|(_, accepted)| *accepted).map(|(kind, _)| kind).collect();
        access.insert("x-accord-principal-kinds".to_owned(), json!(accepted));
    }
    access
}
