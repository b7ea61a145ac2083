//! The protocol of Redis and Valkey (RESP2).

use bytes::Bytes;

/// The most bytes of a line.
const LONGEST: usize = 4096;

/// The most elements of a reply: a Cluster tells of 16384 slots, and of the nodes of each.
const MOST_ELEMENTS: usize = 262_144;

/// How deep arrays may lie in each other: what a Cluster says of its slots lies four deep.
const DEEPEST: u32 = 5;

/// What a server answers to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A text, or the bytes of a value.
    Text(Bytes),
    /// A number.
    Integer(i64),
    /// Several.
    Array(Vec<Reply>),
    /// There is nothing.
    Nothing,
    /// What begins with a word such as `NOAUTH`.
    Error(String),
}

/// What is no reply, or larger than any that is asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it answers is not the protocol of Redis, or longer than anything that was asked for")]
pub(crate) struct Malformed;

/// A command, as an array of texts.
pub fn command<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The reply with which these bytes begin, and its length; nothing as long as it is not whole. `largest` bytes has a text.
pub(crate) fn decode(bytes: &[u8], largest: usize) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut reader = Reader { bytes, read: 0, largest: largest.max(LONGEST), elements: 0 };
    Ok(reader.reply(DEEPEST)?.map(|reply| (reply, reader.read)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    read: usize,
    largest: usize,
    elements: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, deeper: u32) -> Result<Option<Reply>, Malformed> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, rest) = line.split_first().ok_or(Malformed)?;
        match kind {
            b'+' => Ok(Some(Reply::Text(Bytes::copy_from_slice(rest)))),
            b'-' => Ok(Some(Reply::Error(String::from_utf8_lossy(rest).into_owned()))),
            b':' => Ok(Some(Reply::Integer(number(rest)?))),
            b'$' => self.bulk(number(rest)?),
            b'*' if deeper > 0 => self.array(number(rest)?, deeper - 1),
            _ => Err(Malformed),
        }
    }

    fn bulk(&mut self, length: i64) -> Result<Option<Reply>, Malformed> {
        if length == -1 {
            return Ok(Some(Reply::Nothing));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= self.largest).ok_or(Malformed)?;
        let Some(bytes) = self.bytes.get(self.read..self.read + length + 2) else { return Ok(None) };
        self.read += bytes.len();
        let text = bytes.strip_suffix(b"\r\n").ok_or(Malformed)?;
        Ok(Some(Reply::Text(Bytes::copy_from_slice(text))))
    }

    fn array(&mut self, length: i64, deeper: u32) -> Result<Option<Reply>, Malformed> {
        if length == -1 {
            return Ok(Some(Reply::Nothing));
        }
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        self.elements = self.elements.saturating_add(length);
        if self.elements > MOST_ELEMENTS {
            return Err(Malformed);
        }
        let elements: Option<Vec<_>> =
            (0..length).map(|_| self.reply(deeper).transpose()).collect::<Option<Result<_, _>>>().transpose()?;
        Ok(elements.map(Reply::Array))
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.bytes[self.read..];
        let Some(length) = rest.windows(2).take(LONGEST).position(|end| end == b"\r\n") else {
            return if rest.len() > LONGEST { Err(Malformed) } else { Ok(None) };
        };
        self.read += length + 2;
        Ok(Some(&rest[..length]))
    }
}

fn number(bytes: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 5_000;

    fn text(text: &'static str) -> Reply {
        Reply::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn reply_is_read_once_it_is_whole() {
        let whole = b"*4\r\n:-7\r\n$2\r\nok\r\n$-1\r\n*1\r\n+in\r\n+next";
        let inner = Reply::Array(vec![text("in")]);
        let reply = Reply::Array(vec![Reply::Integer(-7), text("ok"), Reply::Nothing, inner]);
        let length = whole.len() - b"+next".len();
        for end in 0..length {
            assert_eq!(decode(&whole[..end], LARGEST), Ok(None), "{end}");
        }
        assert_eq!(decode(whole, LARGEST), Ok(Some((reply, length))));
        assert_eq!(decode(b"-NOAUTH first\r\n", LARGEST), Ok(Some((Reply::Error("NOAUTH first".into()), 15))));
    }

    #[test]
    fn what_is_no_reply_or_too_large_for_one_is_refused() {
        let deep = "*1\r\n".repeat(6);
        for wrong in
            ["HTTP/1.1 400\r\n", "\r\n", ":seven\r\n", "$-2\r\n", "$5001\r\n", "*300000\r\n", &deep, "$1\r\nabc"]
        {
            assert_eq!(decode(wrong.as_bytes(), LARGEST), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(decode(&[b'+'; LONGEST + 1], LARGEST), Err(Malformed));
    }

    #[test]
    fn command_is_an_array_of_texts() {
        assert_eq!(command(&["GET", "a key"]), b"*2\r\n$3\r\nGET\r\n$5\r\na key\r\n");
    }
}
