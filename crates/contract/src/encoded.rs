//! A descriptor set as it came, kept small: whoever asks for the descriptors themselves, such as server reflection, asks rarely.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// An encoded `google.protobuf.FileDescriptorSet`, compressed.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedSet {
    compressed: Arc<[u8]>,
    length: usize,
}

impl EncodedSet {
    pub(crate) fn new(set: &[u8]) -> Self {
        // Descriptors repeat themselves so much that a better level gains little. Memory takes whatever is written to it.
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let compressed = encoder.write_all(set).and_then(|()| encoder.finish()).unwrap_or_default();
        Self { compressed: compressed.into(), length: set.len() }
    }

    /// The set as it came. It was compressed here, so that it can be decompressed.
    pub fn bytes(&self) -> Vec<u8> {
        let mut set = Vec::with_capacity(self.length);
        let read = ZlibDecoder::new(&*self.compressed).read_to_end(&mut set);
        read.map(|_| set).unwrap_or_default()
    }
}

impl fmt::Debug for EncodedSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EncodedSet").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_comes_back_as_it_was() {
        for set in [b"".as_slice(), accord_api::FILE_DESCRIPTOR_SET] {
            assert_eq!(EncodedSet::new(set).bytes(), set);
        }
    }

    #[test]
    fn set_is_kept_in_a_fraction_of_its_bytes() {
        let set = accord_api::FILE_DESCRIPTOR_SET;
        assert!(EncodedSet::new(set).compressed.len() < set.len() / 2);
    }
}
