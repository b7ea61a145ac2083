//! Scope: the permissions to which a token is narrowed (RFC 6749, section 3.3). It never adds a right, so that nobody has to be
//! asked whether somebody may have one.

use std::collections::BTreeSet;

use super::denial::Denial;

/// The longest scope in bytes: a quarter of a token, beside half of one for roles.
const LONGEST: usize = 1024;

/// Names of permissions, each once, with a space between them; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// The scope that was asked for; None where nothing was, which narrows nothing.
    pub fn parse(text: &str) -> Result<Option<Self>, Denial> {
        if text.len() > LONGEST {
            return Err(Denial::Field("scope", "must have at most 1024 bytes"));
        }
        // What may stand in a name (RFC 6749, appendix A.4).
        let is_good = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        if !text.bytes().all(is_good) {
            return Err(Denial::Field("scope", "must be names of permissions with a space between them"));
        }
        let names: BTreeSet<_> = text.split(' ').filter(|name| !name.is_empty()).collect();
        let text = names.into_iter().collect::<Vec<_>>().join(" ");
        Ok((!text.is_empty()).then_some(Self(text)))
    }

    /// As claims and answers name it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, given away.
    pub fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Scope::parse(text).unwrap().map(Scope::into_text)
    }

    #[test]
    fn scope_has_each_name_once() {
        assert_eq!(parsed("b.read a.read b.read"), Some("a.read b.read".to_owned()));
    }

    #[test]
    fn scope_without_a_name_is_none() {
        assert_eq!((parsed(""), parsed("  ")), (None, None));
    }

    #[test]
    fn scope_that_is_too_long_or_has_other_characters_is_refused() {
        for text in ["a\tb", "a\nb", "\"a\"", "a\\b", "\u{e4}", &"a".repeat(LONGEST + 1)] {
            assert!(Scope::parse(text).is_err(), "{text:?}");
        }
    }
}
