//! How a method is read and written as JSON.

use std::sync::Arc;

use accord_api::accord::policy::v1::{Json, JsonEnums, JsonNames};

use super::bounds::Bounds;
use crate::limits::MAX_IGNORED_PARAMETERS;
use crate::policy::JsonPolicy;

/// Statuses that say success with one answer, or lead elsewhere. Those of parts, and of answers that were not modified, say
/// something about other requests than these.
const SUCCESS: [u16; 10] = [200, 201, 202, 203, 204, 301, 302, 303, 307, 308];

pub(super) fn compile(declared: Option<&Json>, bounds: &mut Bounds<'_>) -> JsonPolicy {
    let Some(declared) = declared else { return JsonPolicy::default() };
    JsonPolicy {
        defaults: declared.defaults(),
        proto_names: declared.names() == JsonNames::Proto,
        enum_numbers: declared.enums() == JsonEnums::Numbers,
        success: declared.success.and_then(|status| success(status, bounds)),
        ignored_parameters: ignored(&declared.ignored_parameters, bounds),
    }
}

fn success(status: u32, bounds: &mut Bounds<'_>) -> Option<u16> {
    let status = u16::try_from(status).ok().filter(|status| SUCCESS.contains(status));
    if status.is_none() {
        let remedy = "give one of 200, 201, 202, 203, 204, 301, 302, 303, 307 and 308, or leave the option out for 200";
        bounds.refuse("json.success", "is no status of an answer without an error", remedy);
    }
    status.filter(|status| *status != 200)
}

fn ignored(names: &[String], bounds: &mut Bounds<'_>) -> Arc<[Box<str>]> {
    if names.len() > MAX_IGNORED_PARAMETERS {
        let problem = format!("has {} names, more than {MAX_IGNORED_PARAMETERS}", names.len());
        bounds.refuse("json.ignored_parameters", problem, "name a common beginning with `*`, such as `utm_*`");
    }
    for name in names {
        let begin = name.strip_suffix('*').unwrap_or(name);
        if begin.is_empty() || begin.contains('*') {
            let remedy = "write a name, or the beginning of names with one `*` at its end";
            bounds.refuse("json.ignored_parameters", format!("`{name}` names no parameters"), remedy);
        }
    }
    names.iter().map(|name| name.as_str().into()).collect()
}
