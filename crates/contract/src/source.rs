//! Where the descriptors of an upstream come from.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use accord_wire::{Occurrence, Value, occurrences, put_bytes};
use prost_reflect::{DescriptorError, DescriptorPool};

/// The descriptors of one upstream. Each upstream has a pool of its own: two may carry different versions of a file.
#[derive(Clone)]
pub struct Source {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Its descriptors, custom options included.
    pub pool: DescriptorPool,
    /// Where they come from, for messages: a path, or `reflection`.
    pub origin: String,
    /// The services that the upstream serves, `pkg.Service`. None: all in the pool.
    pub services: Option<Vec<String>>,
}

/// Descriptors that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file can't be read.
    #[error(
        "{path}: {reason}; build a descriptor set there (`buf build -o`, or `protoc --include_imports --descriptor_set_out`)",
        path = path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The descriptors are not a consistent set.
    #[error(
        "{origin}: not a usable descriptor set: {reason}; build it with its imports (`buf build -o`, or `protoc --include_imports --descriptor_set_out`)"
    )]
    Invalid {
        /// Where they come from.
        origin: String,
        /// Why.
        reason: Box<DescriptorError>,
    },
}

impl Source {
    /// From the encoded `google.protobuf.FileDescriptorSet` in a file.
    pub fn file(upstream: impl Into<Arc<str>>, path: &Path) -> Result<Self, SourceError> {
        let unreadable = |reason| SourceError::Unreadable { path: path.into(), reason };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        Self::descriptor_set(upstream, path.display().to_string(), &bytes)
    }

    /// From an encoded `google.protobuf.FileDescriptorSet`.
    pub fn descriptor_set(
        upstream: impl Into<Arc<str>>,
        origin: impl Into<String>,
        bytes: &[u8],
    ) -> Result<Self, SourceError> {
        let (upstream, origin) = (upstream.into(), origin.into());
        // Decoded by the pool: going through prost-types would lose the options that the policies are.
        match DescriptorPool::decode(bytes) {
            Ok(pool) => Ok(Self { upstream, pool, origin, services: None }),
            Err(reason) => Err(SourceError::Invalid { origin, reason: Box::new(reason) }),
        }
    }

    /// From encoded `google.protobuf.FileDescriptorProto`s in any order, as server reflection gives them: a
    /// file that several others import may come several times, and counts once.
    pub fn reflected<F: AsRef<[u8]>>(
        upstream: impl Into<Arc<str>>,
        files: impl IntoIterator<Item = F>,
    ) -> Result<Self, SourceError> {
        let (mut set, mut known) = (Vec::new(), HashSet::new());
        for file in files {
            if !known.insert(name(file.as_ref())) {
                continue;
            }
            put_bytes(&mut set, 1, file.as_ref());
        }
        Self::descriptor_set(upstream, "reflection", &set)
    }

    /// Only these services of it.
    #[must_use]
    pub fn only(self, services: impl IntoIterator<Item = String>) -> Self {
        Self { services: Some(services.into_iter().collect()), ..self }
    }
}

/// `google.protobuf.FileDescriptorProto.name`, where the file has one.
fn name(file: &[u8]) -> Option<Vec<u8>> {
    occurrences(file).find_map(|occurrence| match occurrence {
        Ok(Occurrence { number: 1, value: Value::Bytes(name), .. }) => Some(name.to_vec()),
        _ => None,
    })
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Source");
        debug.field("upstream", &self.upstream).field("origin", &self.origin).finish_non_exhaustive()
    }
}
