//! Frames (RFC 6455, 5). What a client sends is taken apart as it comes: a message is never waited for here, so that whoever reads
//! it counts and bounds what is kept of it.

use bytes::{Buf, Bytes, BytesMut};

/// Kinds of frames (RFC 6455, 11.8).
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;

/// The last frame of its message.
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The most that a ping, a pong or a close holds (RFC 6455, 5.5).
const CONTROL_BYTES: usize = 125;

/// Why a WebSocket is closed (RFC 6455, 7.4.1).
pub(super) const NORMAL: u16 = 1000;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const PROTOCOL_ERROR: u16 = 1002;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Event {
    /// Of a message.
    Piece(Piece),
    /// To be answered with the same bytes.
    Ping(Bytes),
    Pong,
    /// To be answered with this code, if any.
    Close(Option<u16>),
}

/// A part of a message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Piece {
    pub is_text: bool,
    /// Whether the message is whole with it.
    pub is_last: bool,
    pub bytes: Bytes,
}

/// Takes the frames of a client apart.
#[derive(Default)]
pub(in crate::protocol) struct Decoder {
    /// The frame that is being read.
    frame: Option<Frame>,
    /// The message that is being read, and whether it is text.
    message: Option<bool>,
}

#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    is_final: bool,
    /// How much of it is still to come.
    left: u64,
    /// Turned so that its first byte is for the next byte.
    mask: [u8; 4],
}

impl Decoder {
    /// What stands at the beginning of `buffer`, which is taken out of it; none where more has to come first. An error says why it is no
    /// WebSocket; nothing comes after it.
    pub(in crate::protocol) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, &'static str> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match Frame::read(buffer)? {
                    Some(frame) => self.begin(frame)?,
                    None => return Ok(None),
                },
            };
            // Parts of a message are handed on as they come, control frames are whole.
            let is_wanting = frame.left > buffer.len() as u64 && (frame.is_control() || buffer.is_empty());
            if is_wanting {
                self.frame = Some(frame);
                return Ok(None);
            }
            let bytes = frame.take_payload(buffer);
            if frame.is_control() {
                return control(frame.kind, bytes).map(Some);
            }
            let (is_text, is_last) = (self.message == Some(true), frame.left == 0 && frame.is_final);
            if is_last {
                self.message = None;
            }
            self.frame = Some(frame).filter(|frame| frame.left > 0);
            if is_last || !bytes.is_empty() {
                return Ok(Some(Event::Piece(Piece { is_text, is_last, bytes })));
            }
        }
    }

    /// A frame of the message that is being read, the first one of the next, or one between.
    fn begin(&mut self, frame: Frame) -> Result<Frame, &'static str> {
        match (frame.kind, self.message) {
            (CONTINUATION, None) => return Err("a frame continues no message"),
            (TEXT | BINARY, Some(_)) => return Err("a message begins before the one before it has ended"),
            (TEXT | BINARY, None) => self.message = Some(frame.kind == TEXT),
            _ => {}
        }
        Ok(frame)
    }
}

impl Frame {
    /// The head of a frame, where all of it is there.
    fn read(buffer: &mut BytesMut) -> Result<Option<Self>, &'static str> {
        let Some(&[first, second]) = buffer.first_chunk() else { return Ok(None) };
        let (kind, is_final) = (first & 0x0f, first & FIN != 0);
        if first & 0x70 != 0 {
            return Err("a frame uses an extension, and none was agreed on");
        }
        if !matches!(kind, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err("there is no frame of this kind");
        }
        if second & MASKED == 0 {
            return Err("a frame of a client is masked");
        }
        let length_bytes = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let head = 2 + length_bytes + 4;
        if buffer.len() < head {
            return Ok(None);
        }
        buffer.advance(2);
        let left = match length_bytes {
            2 => buffer.get_u16().into(),
            8 => buffer.get_u64(),
            _ => u64::from(second & !MASKED),
        };
        if kind >= CLOSE && (!is_final || left > CONTROL_BYTES as u64) {
            return Err("a ping, a pong or a close is one frame of at most 125 bytes");
        }
        Ok(Some(Self { kind, is_final, left, mask: buffer.get_u32().to_be_bytes() }))
    }

    fn is_control(&self) -> bool {
        self.kind >= CLOSE
    }

    /// What there is of it, without its mask.
    fn take_payload(&mut self, buffer: &mut BytesMut) -> Bytes {
        let there = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let mut bytes = buffer.split_to(there);
        self.left -= there as u64;
        for part in bytes.chunks_mut(4) {
            part.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        self.mask.rotate_left(there % 4);
        bytes.freeze()
    }
}

fn control(kind: u8, bytes: Bytes) -> Result<Event, &'static str> {
    match (kind, &*bytes) {
        (PING, _) => Ok(Event::Ping(bytes)),
        (PONG, _) => Ok(Event::Pong),
        (_, []) => Ok(Event::Close(None)),
        (_, [a, b, reason @ ..]) if std::str::from_utf8(reason).is_ok() => {
            let code = u16::from_be_bytes([*a, *b]);
            let is_code = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if is_code { Ok(Event::Close(Some(code))) } else { Err("a close has a code that nobody may send") }
        }
        _ => Err("a close holds a code, and a reason in UTF-8"),
    }
}

/// A frame of the server's, all of its message.
pub(super) fn put(made: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    made.push(FIN | kind);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => made.push(length),
        (_, Ok(length)) => {
            made.push(126);
            made.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            made.push(127);
            made.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    made.extend_from_slice(payload);
}

/// A close, with as much of the reason as it may hold.
pub(super) fn put_close(made: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(CONTROL_BYTES - 2)];
    put(made, CLOSE, &[&code.to_be_bytes(), reason].concat());
}

/// The answer to a client's close.
pub(super) fn put_close_again(made: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => put_close(made, code, ""),
        None => put(made, CLOSE, &[]),
    }
}

#[cfg(test)]
mod tests;
