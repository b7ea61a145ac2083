//! Where the descriptors of an upstream come from.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use accord_wire::{Occurrence, Value, occurrences, put_bytes};
use flate2::read::MultiGzDecoder;
use prost_reflect::DescriptorPool;

use crate::editions::{LowerError, lowered};
use crate::encoded::EncodedSet;
use crate::{options, pool};

/// The descriptors of one upstream. Each upstream has a pool of its own: two may carry different versions of a file.
#[derive(Clone)]
pub struct Source {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Its descriptors, custom options included. Files of an edition are lowered to proto2 or proto3.
    pub pool: DescriptorPool,
    /// The set as it came, for whoever asks for the descriptors.
    pub encoded: EncodedSet,
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
    /// The set is written as text.
    #[error("{path}: this is text, not an encoded descriptor set; write it with a name that ends in .binpb or .binpb.gz (`buf build -o`)", path = path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// The descriptors are not a consistent set.
    #[error(
        "{origin}: not a usable descriptor set: {reason}; build it with its imports (`buf build -o`, or `protoc --include_imports --descriptor_set_out`)"
    )]
    Invalid {
        /// Where they come from.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A file is of an edition that came later than this binary.
    #[error(
        "{origin}: {file} is of edition {edition}, which is not known here; write it in edition 2023 or 2024, or update the binary"
    )]
    Edition {
        /// Where the descriptors come from.
        origin: String,
        /// The file.
        file: String,
        /// The edition's number.
        edition: u64,
    },
}

impl Source {
    /// From the encoded `google.protobuf.FileDescriptorSet` in a file.
    pub fn file(upstream: impl Into<Arc<str>>, path: &Path) -> Result<Self, SourceError> {
        let unreadable = |reason| SourceError::Unreadable { path: path.into(), reason };
        let bytes = decompressed(std::fs::read(path).map_err(unreadable)?).map_err(unreadable)?;
        if is_text(&bytes) {
            return Err(SourceError::Text { path: path.into() });
        }
        Self::descriptor_set(upstream, path.display().to_string(), &bytes)
    }

    /// From an encoded `google.protobuf.FileDescriptorSet`.
    pub fn descriptor_set(
        upstream: impl Into<Arc<str>>,
        origin: impl Into<String>,
        bytes: &[u8],
    ) -> Result<Self, SourceError> {
        let (upstream, origin) = (upstream.into(), origin.into());
        let plain = match lowered(bytes) {
            Ok(plain) => plain,
            Err(LowerError::Unknown { file, edition }) => return Err(SourceError::Edition { origin, file, edition }),
            Err(LowerError::Malformed(error)) => {
                return Err(SourceError::Invalid { origin, reason: error.to_string() });
            }
        };
        match pool::decode(&plain) {
            Ok(pool) => Ok(Self { upstream, pool, encoded: EncodedSet::new(bytes), origin, services: None }),
            Err(reason) => Err(SourceError::Invalid { origin, reason }),
        }
    }

    /// From a set of this binary itself. That of the vocabulary is decoded once.
    pub(crate) fn own(set: &[u8]) -> Result<Self, SourceError> {
        let (upstream, origin) = ("own", "this binary");
        match options::own(set) {
            Some((pool, encoded)) => {
                Ok(Self { upstream: upstream.into(), pool, encoded, origin: origin.to_owned(), services: None })
            }
            None => Self::descriptor_set(upstream, origin, set),
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

/// Most bytes of a compressed set once it is decompressed: a small file must not take the memory of the process.
const LARGEST: u64 = 256 << 20;

/// The bytes of a file that may be compressed as `buf build -o set.binpb.gz` does it.
fn decompressed(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut decompressed = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).take(LARGEST + 1).read_to_end(&mut decompressed)?;
    let fits = decompressed.len() as u64 <= LARGEST;
    fits.then_some(decompressed).ok_or_else(|| io::Error::other(format!("it holds more than {} MiB", LARGEST >> 20)))
}

/// Whether a set was written as JSON or in protobuf's text format. An encoded one begins with the tag of its first file.
fn is_text(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first != 0x0a) && std::str::from_utf8(bytes).is_ok()
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use prost::Message;

    use super::*;

    fn file(bytes: &[u8]) -> Result<Source, SourceError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("set");
        std::fs::write(&path, bytes).unwrap();
        Source::file("shop", &path)
    }

    fn set() -> Vec<u8> {
        let file = prost_types::FileDescriptorProto { name: Some("a.proto".to_owned()), ..Default::default() };
        prost_types::FileDescriptorSet { file: vec![file] }.encode_to_vec()
    }

    #[test]
    fn compressed_set_is_read() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&set()).unwrap();
        assert_eq!(file(&encoder.finish().unwrap()).unwrap().pool.files().len(), 1);
        assert_eq!(file(&set()).unwrap().pool.files().len(), 1);
    }

    #[test]
    fn set_that_makes_the_decoder_panic_is_refused() {
        let file = prost_types::FileDescriptorProto { syntax: Some("proto9".to_owned()), ..Default::default() };
        let set = prost_types::FileDescriptorSet { file: vec![file] }.encode_to_vec();
        assert!(matches!(self::file(&set), Err(SourceError::Invalid { .. })));
    }

    #[test]
    fn set_that_is_text_is_refused_with_the_form_that_is_read() {
        for text in ["{\"file\":[]}", "file {\n  name: \"a.proto\"\n}\n", "# proto-file: descriptor.proto\n"] {
            let error = file(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(".binpb.gz"), "{text}: {error}");
        }
    }
}
