//! The protocol of Redis and Valkey (RESP2), as far as a script needs it.

/// The most bytes of a line or of a text.
const LONGEST: usize = 4096;

/// The most elements of an array.
const MOST_ELEMENTS: i64 = 1024;

/// What a server answers to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    Integer(i64),
    Array(Vec<Reply>),
    Nothing,
    /// What begins with a word such as `NOAUTH`.
    Error(String),
}

/// What is no reply, or larger than any that is asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it answers is not the protocol of Redis")]
pub(super) struct Malformed;

/// A command, as an array of texts.
pub(super) fn command(parts: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
    }
    bytes
}

/// The reply with which these bytes begin, and its length; nothing as long as it is not whole.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut reader = Reader { bytes, read: 0 };
    Ok(reader.reply(true)?.map(|reply| (reply, reader.read)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    read: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, may_be_array: bool) -> Result<Option<Reply>, Malformed> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, rest) = line.split_first().ok_or(Malformed)?;
        match kind {
            b'+' => Ok(Some(Reply::Text(text(rest)?))),
            b'-' => Ok(Some(Reply::Error(text(rest)?))),
            b':' => Ok(Some(Reply::Integer(number(rest)?))),
            b'$' => self.bulk(number(rest)?),
            b'*' if may_be_array => self.array(number(rest)?),
            _ => Err(Malformed),
        }
    }

    fn bulk(&mut self, length: i64) -> Result<Option<Reply>, Malformed> {
        if length == -1 {
            return Ok(Some(Reply::Nothing));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST).ok_or(Malformed)?;
        let Some(bytes) = self.bytes.get(self.read..self.read + length + 2) else { return Ok(None) };
        self.read += bytes.len();
        let text = text(bytes.strip_suffix(b"\r\n").ok_or(Malformed)?)?;
        Ok(Some(Reply::Text(text)))
    }

    fn array(&mut self, length: i64) -> Result<Option<Reply>, Malformed> {
        match length {
            -1 => Ok(Some(Reply::Nothing)),
            0..=MOST_ELEMENTS => {
                let elements: Option<Vec<_>> =
                    (0..length).map(|_| self.reply(false).transpose()).collect::<Option<Result<_, _>>>().transpose()?;
                Ok(elements.map(Reply::Array))
            }
            _ => Err(Malformed),
        }
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

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

fn number(bytes: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_read_once_it_is_whole() {
        let whole = b"*3\r\n:-7\r\n$2\r\nok\r\n$-1\r\n+next";
        let reply = Reply::Array(vec![Reply::Integer(-7), Reply::Text("ok".into()), Reply::Nothing]);
        let length = whole.len() - b"+next".len();
        for end in 0..length {
            assert_eq!(decode(&whole[..end]), Ok(None), "{end}");
        }
        assert_eq!(decode(whole), Ok(Some((reply, length))));
        assert_eq!(decode(b"-NOAUTH first\r\n"), Ok(Some((Reply::Error("NOAUTH first".into()), 15))));
    }

    #[test]
    fn what_is_no_reply_or_too_large_for_one_is_refused() {
        for wrong in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            ":seven\r\n",
            "$-2\r\n",
            "$5000\r\n",
            "*2000\r\n",
            "*1\r\n*1\r\n:1\r\n",
            "$1\r\nabc",
        ] {
            assert_eq!(decode(wrong.as_bytes()), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(decode(&[b'+'; LONGEST + 1]), Err(Malformed));
    }

    #[test]
    fn command_is_an_array_of_texts() {
        assert_eq!(command(&["GET", "a key"]), b"*2\r\n$3\r\nGET\r\n$5\r\na key\r\n");
    }
}
