//! The object that access is decided about: `Product/{product_id}`.

use accord_wire::{Part, Template};
use prost_reflect::MethodDescriptor;

use super::bounds::Bounds;
use crate::policy::Resource;
use crate::template::compile_template;

const OPTION: &str = "access.resource";
const REMEDY: &str =
    "write the type of the object and the field of the request that has its id, such as `Product/{product_id}`";

/// One field alone: of two, other requests could come to the same id.
pub(super) fn compile(text: &str, descriptor: &MethodDescriptor, bounds: &mut Bounds<'_>) -> Option<Resource> {
    if text.is_empty() {
        return None;
    }
    let Template { parts } = match compile_template(text, &descriptor.input(), &descriptor.output()) {
        Ok(template) => template,
        Err(error) => {
            bounds.refuse(OPTION, format!("`{text}`: {error}"), REMEDY);
            return None;
        }
    };
    let problem = match &parts[..] {
        [Part::Literal(beginning), Part::Request(id)] => match object_type(beginning) {
            Some(object_type) => {
                let (object_type, beginning) = (object_type.into(), beginning.as_str().into());
                return Some(Resource { object_type, beginning, id: id.clone() });
            }
            None => "begins with no type and `/`",
        },
        [Part::Literal(_), Part::Answer(_)] => "needs the answer, and who gets one is decided before there is any",
        _ => "is not a type, `/` and one field of the request",
    };
    bounds.refuse(OPTION, format!("`{text}` {problem}"), REMEDY);
    None
}

/// The type that an object's name begins with, where what follows can be the beginning of an id.
fn object_type(beginning: &str) -> Option<&str> {
    let (name, rest) = beginning.split_once('/')?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_rest = !rest.contains(|letter: char| letter.is_whitespace() || letter == '#');
    (is_name && is_rest).then_some(name)
}
