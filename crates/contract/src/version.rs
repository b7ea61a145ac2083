//! The field of an answer that is its version: `product.version`, or `product.update_time`.

use accord_wire::{FieldPath, VersionPath, is_integer};
use prost_reflect::MessageDescriptor;

use crate::path::{PathError, compile_path};

/// A path that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// It names no usable field.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Its values have no order.
    #[error(
        "`{0}` is no integer and no `google.protobuf.Timestamp`, so nobody can say which of two of its values is the newer"
    )]
    NoOrder(String),
}

/// Compiles the path to the version in an answer.
pub fn compile_version(text: &str, answer: &MessageDescriptor) -> Result<VersionPath, VersionError> {
    match compile_path(text, answer) {
        Ok(path) if is_integer(path.scalar) => Ok(VersionPath::Number(path)),
        Err(PathError::NotScalar(..)) if is_time(text, answer) => {
            let part = |name: &str| -> Result<FieldPath, PathError> { compile_path(&format!("{text}.{name}"), answer) };
            Ok(VersionPath::Time { seconds: part("seconds")?, nanos: part("nanos")? })
        }
        Ok(_) | Err(PathError::NotScalar(..)) => Err(VersionError::NoOrder(text.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn is_time(text: &str, answer: &MessageDescriptor) -> bool {
    let inner = |message: MessageDescriptor, name| message.get_field_by_name(name)?.kind().as_message().cloned();
    let found = text.split('.').try_fold(answer.clone(), inner);
    found.is_some_and(|message| message.full_name() == "google.protobuf.Timestamp")
}
