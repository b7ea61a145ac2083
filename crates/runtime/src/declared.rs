//! What the contracts of a server's own methods declare about time, read from its descriptors.

use std::time::Duration;

use accord_api::accord::policy::v1::{Deadline, MethodPolicy};
use prost::{DecodeError, Message};

use crate::enforce::Bounds;

/// A method as its descriptor shows it.
pub(crate) struct Method {
    /// `pkg.Service`.
    pub service: String,
    /// `pkg.Service/Method`.
    pub name: String,
    /// Whether either side may send more than one message.
    pub streams: bool,
    /// The deadline that it, its service or its file declares.
    pub bounds: Bounds,
}

/// The methods of an encoded descriptor set.
pub(crate) fn methods(set: &[u8]) -> Result<Vec<Method>, DecodeError> {
    let mut methods = Vec::new();
    for file in FileSet::decode(set)?.file {
        for service in &file.service {
            let full = format!("{}.{}", file.package, service.name);
            methods.extend(service.method.iter().map(|method| Method {
                name: format!("{full}/{}", method.name),
                service: full.clone(),
                streams: method.client_streaming || method.server_streaming,
                bounds: bounds(&[&method.options, &service.options, &file.options]),
            }));
        }
    }
    Ok(methods)
}

/// Member by member, as contracts are merged: the first layer that says something counts.
fn bounds(layers: &[&Option<Options>]) -> Bounds {
    let declared = || layers.iter().filter_map(|options| options.as_ref()?.policy.as_ref()?.deadline.as_ref());
    let first = |member: fn(&Deadline) -> Option<prost_types::Duration>| {
        declared().find_map(member).and_then(|duration| Duration::try_from(duration).ok())
    };
    Bounds { default: first(|deadline| deadline.default), max: first(|deadline| deadline.max) }
}

/// The parts of `google.protobuf.FileDescriptorSet` that are read here. Its generated form drops the options of others,
/// and policies are such options.
#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
    #[prost(message, optional, tag = "8")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<MethodDeclaration>,
    #[prost(message, optional, tag = "3")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct MethodDeclaration {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
    #[prost(bool, tag = "5")]
    client_streaming: bool,
    #[prost(bool, tag = "6")]
    server_streaming: bool,
}

/// The options of a file, a service or a method: the policy has the same number in all three.
#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(message, optional, tag = "50601")]
    policy: Option<MethodPolicy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> (bool, Option<u64>, Option<u64>) {
        let methods = methods(accord_api::FILE_DESCRIPTOR_SET).unwrap();
        let method = methods.into_iter().find(|method| method.name == name).unwrap();
        let seconds = |bound: Option<Duration>| bound.map(|bound| bound.as_secs());
        (method.streams, seconds(method.bounds.default), seconds(method.bounds.max))
    }

    #[test]
    fn the_nearest_layer_that_declares_a_deadline_counts() {
        assert_eq!(declared("catalog.v1.ProductService/GetProduct"), (false, Some(2), Some(10)), "of the file");
        assert_eq!(declared("catalog.v1.ProductService/WatchProducts"), (true, Some(60), Some(3600)), "of the method");
        assert_eq!(declared("accord.auth.v1.TokenService/Issue"), (false, Some(5), Some(10)), "of the service");
        assert_eq!(declared("accord.gateway.v1.ExplainService/Explain"), (false, None, None));
    }
}
