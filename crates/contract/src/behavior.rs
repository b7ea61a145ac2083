//! `google.api.field_behavior`: what a field is for, as its proto says.

use accord_api::google::api::FieldBehavior;
use prost_reflect::{FieldDescriptor, Value};

/// What `google.api.field_behavior` says of a field, in the order in which it stands there. What is not known is left out.
pub fn behaviors(field: &FieldDescriptor) -> Vec<FieldBehavior> {
    let Some(extension) = field.parent_pool().get_extension_by_name("google.api.field_behavior") else {
        return Vec::new();
    };
    let options = field.options();
    if !options.has_extension(&extension) {
        return Vec::new();
    }
    let declared = options.get_extension(&extension);
    let numbers = declared.as_list().into_iter().flatten().filter_map(Value::as_enum_number);
    numbers.filter_map(|number| FieldBehavior::try_from(number).ok()).collect()
}
