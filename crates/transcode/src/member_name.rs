//! The name of a member of an object, ready to be compared and to be written.

use crate::text::put_string;

/// A name, as it is and as it stands in an object: one text, since the latter nearly always holds the former.
pub(crate) struct MemberName {
    /// The name as it stands in an object, `"name":`, then the name itself where JSON writes it in another way.
    text: Box<str>,
    /// How much of the text is the former.
    key: u32,
}

impl MemberName {
    pub(crate) fn new(name: &str) -> Self {
        let mut written = Vec::with_capacity(name.len() + 3);
        put_string(&mut written, name);
        written.push(b':');
        let mut text = String::from_utf8_lossy(&written).into_owned();
        let key = text.len();
        if text[1..key - 2] != *name {
            text.push_str(name);
        }
        // A descriptor that held a longer name would be larger than any that is read.
        Self { text: text.into(), key: u32::try_from(key).unwrap_or(u32::MAX) }
    }

    /// The name.
    #[inline]
    pub(crate) fn text(&self) -> &str {
        let key = self.key as usize;
        if self.text.len() == key { &self.text[1..key - 2] } else { &self.text[key..] }
    }

    /// The name as it stands in an object, `"name":`.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.text.as_bytes()[..self.key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_read_as_it_is_and_written_as_json_has_it() {
        for (name, key) in
            [("price", "\"price\":"), ("", "\"\":"), ("a\"b\n", "\"a\\\"b\\n\":"), ("größe", "\"größe\":")]
        {
            let made = MemberName::new(name);
            assert_eq!((made.text(), made.key()), (name, key.as_bytes()));
        }
    }
}
