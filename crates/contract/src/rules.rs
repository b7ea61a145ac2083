//! Whether messages say of themselves what may stand in them, by the options of `buf.validate`.

use std::collections::HashSet;

use prost_reflect::{DynamicMessage, ExtensionDescriptor, Kind, MessageDescriptor};

/// The extensions of messages, oneofs and fields.
struct Options {
    message: Option<ExtensionDescriptor>,
    oneof: Option<ExtensionDescriptor>,
    field: Option<ExtensionDescriptor>,
}

/// Whether a message, or one inside it, has rules.
pub(crate) fn has_rules(message: &MessageDescriptor) -> bool {
    let pool = message.parent_pool();
    let extension = |name: &str| pool.get_extension_by_name(&format!("buf.validate.{name}"));
    let options = Options { message: extension("message"), oneof: extension("oneof"), field: extension("field") };
    let is_known = [&options.message, &options.oneof, &options.field].iter().any(|extension| extension.is_some());
    is_known && inside(message, &options, &mut HashSet::new())
}

fn inside(message: &MessageDescriptor, options: &Options, seen: &mut HashSet<String>) -> bool {
    if !seen.insert(message.full_name().to_owned()) {
        return false;
    }
    has(options.message.as_ref(), &message.options())
        || message.oneofs().any(|oneof| has(options.oneof.as_ref(), &oneof.options()))
        || message.fields().any(|field| {
            has(options.field.as_ref(), &field.options())
                || matches!(field.kind(), Kind::Message(inner) if inside(&inner, options, seen))
        })
}

fn has(extension: Option<&ExtensionDescriptor>, options: &DynamicMessage) -> bool {
    extension.is_some_and(|extension| options.has_extension(extension))
}
