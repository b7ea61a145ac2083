//! The methods of a server's services, read from its descriptors.

use prost::{DecodeError, Message};
use prost_types::FileDescriptorSet;

/// A method as its descriptor shows it.
pub(crate) struct Method {
    /// `pkg.Service`.
    pub service: String,
    /// `pkg.Service/Method`.
    pub name: String,
    /// Whether either side may send more than one message.
    pub streams: bool,
}

/// The methods of an encoded descriptor set.
pub(crate) fn methods(set: &[u8]) -> Result<Vec<Method>, DecodeError> {
    let mut methods = Vec::new();
    for file in FileDescriptorSet::decode(set)?.file {
        for service in &file.service {
            let full = format!("{}.{}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| Method {
                name: format!("{full}/{}", method.name()),
                service: full.clone(),
                streams: method.client_streaming() || method.server_streaming(),
            }));
        }
    }
    Ok(methods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_with_their_service_and_whether_they_stream() {
        let methods = methods(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
        let read: Vec<_> = methods.iter().map(|method| (&*method.service, &*method.name, method.streams)).collect();
        assert!(read.contains(&("grpc.health.v1.Health", "grpc.health.v1.Health/Check", false)), "{read:?}");
        assert!(read.contains(&("grpc.health.v1.Health", "grpc.health.v1.Health/Watch", true)), "{read:?}");
    }
}
