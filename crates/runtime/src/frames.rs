//! HTTP/2 frame headers, read as the bytes pass in whatever pieces. Payloads are skipped, so that a frame costs the same whatever
//! its length.

/// Length, type, flags and stream (RFC 9113, 4.1).
const HEADER: usize = 9;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Its type.
    pub kind: u8,
    /// Bytes of its payload.
    pub length: u32,
    /// Its stream; 0 for the connection.
    pub stream: u32,
}

/// Reads one direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    header: [u8; HEADER],
    /// How many bytes of the header are there.
    filled: usize,
    /// How many bytes of the payload are still to come.
    payload: usize,
}

impl FrameReader {
    /// Reads on, and tells of each frame whose header is complete.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut begun: impl FnMut(FrameHeader)) {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                let [high, middle, low, kind, _, stream @ ..] = self.header;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.filled = 0;
                self.payload = length as usize;
                // The first bit is reserved.
                begun(FrameHeader { kind, length, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) });
            }
        }
    }

    /// Whether the last frame is complete and the next one has not begun.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.filled == 0 && self.payload == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_their_bytes_are_split() {
        let bytes = [&[0, 0, 3, DATA, 1, 0x80, 0, 0, 5][..], b"abc", &[0, 0, 0, GOAWAY, 0, 0, 0, 0, 0]].concat();
        let expected =
            [FrameHeader { kind: DATA, length: 3, stream: 5 }, FrameHeader { kind: GOAWAY, length: 0, stream: 0 }];
        for size in 1..=bytes.len() {
            let (mut reader, mut seen) = (FrameReader::default(), Vec::new());
            bytes.chunks(size).for_each(|part| reader.read(part, |frame| seen.push(frame)));
            assert_eq!(seen, expected, "in pieces of {size}");
            assert!(reader.is_between_frames());
        }
    }

    #[test]
    fn frame_without_its_whole_payload_is_not_complete() {
        let mut reader = FrameReader::default();
        reader.read(&[0, 0, 1, DATA, 0, 0, 0, 0, 1], |_| {});
        assert!(!reader.is_between_frames());
    }
}
