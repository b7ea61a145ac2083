//! Tables whose keys are hashes already, such as those of callers under a key of this process: they are not hashed again.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds the hasher of such a table.
pub type BuildPrehashed = BuildHasherDefault<Prehashed>;

/// Takes a number as its own hash. Nobody may be able to choose it.
#[derive(Debug, Default)]
pub struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.rotate_left(32) ^ number;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn number_is_its_own_hash() {
        assert_eq!([0, 7, u64::MAX].map(|number: u64| BuildPrehashed::default().hash_one(number)), [0, 7, u64::MAX]);
    }
}
