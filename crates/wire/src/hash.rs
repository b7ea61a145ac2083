//! A hash that is the same in every build, for what several processes have to agree about: tags, and who owns a key.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// No text holds this byte.
const SEPARATOR: u8 = 0xff;

/// The hash of these bytes: FNV-1a, mixed.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    mix(fnv(OFFSET, bytes))
}

/// The hash of several texts, of which none reaches into the next one.
#[must_use]
pub fn hash_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    mix(parts.into_iter().fold(OFFSET, |hash, part| fnv(fnv(hash, part), &[SEPARATOR])))
}

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Spreads what FNV leaves alike in the low bits, of which shards are chosen (the finalizer of `MurmurHash3`).
#[must_use]
pub const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_same_in_every_build() {
        // FNV-1a of "a" is af63dc4c8601ec8c: what is mixed from it must never change.
        assert_eq!(fnv(OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
    }

    #[test]
    fn hash_differs_when_part_boundary_moves() {
        assert_ne!(hash_parts([&b"ab"[..], b"c"]), hash_parts([&b"a"[..], b"bc"]));
    }
}
