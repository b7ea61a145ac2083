//! A strict pull parser for JSON (RFC 8259), over text that is known to be UTF-8.

use std::borrow::Cow;

use crate::{options::Limits, violation::Violation};

/// Reads a JSON text from front to back. A copy of it looks ahead.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// How many elements and members may still come.
    elements: usize,
    /// How many bytes may still be looked at ahead.
    ahead: usize,
}

/// How often the whole text may be looked at ahead. Objects within objects are looked at again and again.
const MOST_LOOKS: usize = 16;

/// What a value is, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl<'a> Reader<'a> {
    /// A text within these limits.
    pub(crate) fn new(text: &'a [u8], limits: Limits) -> Result<Self, Violation> {
        let Limits { depth, elements } = limits;
        let text = std::str::from_utf8(text)
            .map_err(|error| Violation::malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        Ok(Self { text, at: 0, depth, elements, ahead: text.len().saturating_mul(MOST_LOOKS) })
    }

    /// The value that comes next, without reading it.
    pub(crate) fn peek(&mut self) -> Result<Token, Violation> {
        match self.next_byte() {
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b'"') => Ok(Token::String),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number),
            Some(b't' | b'f') => Ok(Token::Bool),
            Some(b'n') => Ok(Token::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Enters the object that comes next.
    pub(crate) fn object(&mut self) -> Result<(), Violation> {
        self.enter(b'{', "an object")
    }

    /// Enters the array that comes next.
    pub(crate) fn array(&mut self) -> Result<(), Violation> {
        self.enter(b'[', "an array")
    }

    /// The next key of an object, with its colon; none leaves the object. `first` is true before the first key.
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, Violation> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        if self.next_byte() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        let key = self.quoted()?;
        self.expect(b':', "a colon")?;
        Ok(Some(key))
    }

    /// Whether an array has another element; if not, leaves it.
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool, Violation> {
        self.more(b']', first)
    }

    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Violation> {
        if self.next_byte() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.quoted()
    }

    /// A number as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a str, Violation> {
        self.next_byte();
        let length = number_length(self.rest()).ok_or_else(|| self.expected("a number"))?;
        let number = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(number)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Violation> {
        if self.next_byte() == Some(b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    pub(crate) fn null(&mut self) -> Result<(), Violation> {
        self.next_byte();
        self.word("null")
    }

    /// Reads past the next value, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<(), Violation> {
        let mut first = true;
        match self.peek()? {
            Token::Object => {
                self.object()?;
                while self.key(&mut first)?.is_some() {
                    self.skip()?;
                }
            }
            Token::Array => {
                self.array()?;
                while self.element(&mut first)? {
                    self.skip()?;
                }
            }
            Token::String => drop(self.string()?),
            Token::Number => drop(self.number()?),
            Token::Bool => drop(self.bool()?),
            Token::Null => self.null()?,
        }
        Ok(())
    }

    /// The string under `name` in the object that comes next, which is left unread. How much is looked at ahead is
    /// bounded by the length of the text.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Violation> {
        let mut ahead = self.clone();
        let found = ahead.find_here(name)?;
        let left = self.ahead.checked_sub(ahead.at - self.at);
        self.ahead =
            left.ok_or_else(|| Violation::malformed("must stand first, where it is nested so deeply").within(name))?;
        Ok(found)
    }

    fn find_here(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Violation> {
        self.object()?;
        let mut first = true;
        while let Some(key) = self.key(&mut first)? {
            if key == name {
                return self.string().map(Some).map_err(|violation| violation.within(name));
            }
            self.skip()?;
        }
        Ok(None)
    }

    /// After the last value only white space may follow.
    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    fn enter(&mut self, bracket: u8, what: &str) -> Result<(), Violation> {
        self.expect(bracket, what)?;
        self.depth = self.depth.checked_sub(1).ok_or_else(|| Violation::malformed("nested too deeply"))?;
        Ok(())
    }

    fn more(&mut self, end: u8, first: &mut bool) -> Result<bool, Violation> {
        if self.next_byte() == Some(end) {
            self.at += 1;
            self.depth += 1;
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',', "a comma")?;
        }
        let left = self.elements.checked_sub(1);
        self.elements =
            left.ok_or_else(|| Violation::malformed("has too many elements; send them in several requests"))?;
        Ok(true)
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Violation> {
        if self.next_byte() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Violation> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(())
    }

    /// The first byte behind white space.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn expected(&self, what: &str) -> Violation {
        Violation::malformed(format!("expected {what} at byte {}", self.at))
    }

    /// The text of a string that starts here; borrowed where nothing in it is escaped.
    fn quoted(&mut self) -> Result<Cow<'a, str>, Violation> {
        self.at += 1;
        let plain = self.plain()?;
        if self.text.as_bytes()[self.at] == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            self.at += 1;
            if self.text.as_bytes()[self.at - 1] == b'"' {
                return Ok(Cow::Owned(text));
            }
            text.push(self.escape()?);
            text.push_str(self.plain()?);
        }
    }

    /// The text up to the next quote or backslash, which exists.
    fn plain(&mut self) -> Result<&'a str, Violation> {
        let stop = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        let start = self.at;
        let length = self.rest().iter().position(stop);
        self.at += length.ok_or_else(|| Violation::malformed("a string does not end"))?;
        if self.text.as_bytes()[self.at] < 0x20 {
            return Err(self.expected("an escape for a control character"));
        }
        Ok(&self.text[start..self.at])
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char, Violation> {
        let kind = self.rest().first().copied();
        self.at += 1;
        Ok(match kind {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.expected("an escape")),
        })
    }

    fn unicode(&mut self) -> Result<char, Violation> {
        let mut units = [self.hex()?, 0];
        let mut length = 1;
        if (0xd800..0xdc00).contains(&units[0]) && self.rest().starts_with(b"\\u") {
            self.at += 2;
            units[1] = self.hex()?;
            length = 2;
        }
        let mut decoded = char::decode_utf16(units[..length].iter().copied());
        match (decoded.next(), decoded.next()) {
            (Some(Ok(character)), None) => Ok(character),
            _ => Err(self.expected("a pair of surrogates")),
        }
    }

    fn hex(&mut self) -> Result<u16, Violation> {
        let digits = self.rest().first_chunk::<4>().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 4;
        Ok(digits.iter().fold(0, |value, digit| value << 4 | hex_value(*digit)))
    }
}

fn hex_value(digit: u8) -> u16 {
    char::from(digit).to_digit(16).and_then(|value| u16::try_from(value).ok()).unwrap_or_default()
}

/// The length of the number that `text` starts with, by the grammar of RFC 8259.
pub(crate) fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let at_least_one = |from: usize| Some(digits(from)).filter(|count| *count > 0);
    let mut at = usize::from(text.first() == Some(&b'-'));
    at += if text.get(at) == Some(&b'0') { 1 } else { at_least_one(at)? };
    if text.get(at) == Some(&b'.') {
        at += 1 + at_least_one(at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at += at_least_one(at)?;
    }
    Some(at)
}
