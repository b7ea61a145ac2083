//! A descriptor set as it came, kept small: whoever asks for the descriptors themselves, such as server reflection, asks rarely.

use std::fmt;
use std::sync::Arc;

/// The fastest level of zstd: descriptors repeat themselves so much that a better one gains little.
const LEVEL: i32 = 1;

/// An encoded `google.protobuf.FileDescriptorSet`, compressed.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedSet {
    compressed: Arc<[u8]>,
    length: usize,
}

impl EncodedSet {
    pub(crate) fn new(set: &[u8]) -> Self {
        let compressed =
            zstd::bulk::compress(set, LEVEL).expect("the buffer for what is compressed is as large as needed");
        Self { compressed: compressed.into(), length: set.len() }
    }

    /// The set as it came. It was compressed here, so that it can be decompressed.
    pub fn bytes(&self) -> Vec<u8> {
        zstd::bulk::decompress(&self.compressed, self.length).unwrap_or_default()
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
