//! What a compressed message comes to, counted as it passes. Nothing of it is kept but the window of its decoder.

use accord_upstream::grpc::Encoding;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use std::io::{self, Write};

/// Counts one message.
pub(super) enum Inflater {
    Gzip(MultiGzDecoder<Room>),
    Deflate(ZlibDecoder<Room>),
}

/// How many bytes the message may still come to.
pub(super) struct Room(u64);

impl Inflater {
    /// For a message of at most `limit` bytes.
    pub(super) fn new(encoding: Encoding, limit: u64) -> Self {
        match encoding {
            Encoding::Gzip => Self::Gzip(MultiGzDecoder::new(Room(limit))),
            Encoding::Deflate => Self::Deflate(ZlibDecoder::new(Room(limit))),
        }
    }

    /// The next bytes of the message. What can't be inflated can't be measured.
    pub(super) fn push(&mut self, compressed: &[u8]) -> Result<(), &'static str> {
        let written = match self {
            Self::Gzip(decoder) => decoder.write_all(compressed).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => decoder.write_all(compressed).and_then(|()| decoder.flush()),
        };
        written.map_err(|_| "a message is larger inflated than its method allows, or not compressed as it says")
    }
}

impl Write for Room {
    fn write(&mut self, inflated: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(inflated.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(inflated.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
