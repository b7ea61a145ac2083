//! In which slot of a Cluster a key is.

/// How many slots there are.
pub(crate) const SLOTS: usize = 16_384;

/// The slot of a key: of what stands in its first braces, where that is anything, so that keys with the same are in one slot.
pub(crate) fn slot(key: &[u8]) -> usize {
    usize::from(crc(tag(key).unwrap_or(key))) % SLOTS
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let rest = &key[key.iter().position(|byte| *byte == b'{')? + 1..];
    let length = rest.iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &rest[..length])
}

/// CRC-16/XMODEM, as the specification of Cluster asks.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `CLUSTER KEYSLOT` of a server says.
    #[test]
    fn slot_is_that_of_the_specification() {
        assert_eq!(crc(b"123456789"), 0x31c3);
        assert_eq!(slot(b"123456789"), 12_739);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn keys_with_the_same_in_their_first_braces_are_in_one_slot() {
        assert_eq!(slot(b"accord:{catalog.Get}:principal:ada"), slot(b"accord:{catalog.Get}:tenant:north"));
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"), "empty braces say nothing");
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }
}
