//! Facts as one header: an object of JSON in ASCII, of bounded size.

use http::HeaderValue;
use serde_json::Value;
use std::fmt::Write;

/// Bytes of the header at most: many clients take 8 KiB of headers in all.
const LONGEST: usize = 2048;

/// What is left out first where it does not fit: what is longest, and what can be asked for otherwise.
const CUT_FIRST: [&str; 8] = ["attempts", "limits", "steps", "cache", "access", "principal", "binding", "method"];

/// Facts in the order in which they were first put.
#[derive(Default)]
pub(super) struct Facts(Vec<(&'static str, Value)>);

impl Facts {
    /// Puts a fact, in the place of an earlier one of its name. One that is null is none.
    pub(super) fn put(&mut self, name: &'static str, fact: Value) {
        if fact.is_null() {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, before)) => *before = fact,
            None => self.0.push((name, fact)),
        }
    }

    /// All of them; where that is too long, whole facts are left out, and `cut` has their names.
    pub(super) fn header(mut self) -> Option<HeaderValue> {
        let mut cut = Vec::new();
        let mut text = self.text();
        for name in CUT_FIRST {
            if text.len() <= LONGEST {
                break;
            }
            let before = self.0.len();
            self.0.retain(|(known, _)| *known != name);
            if self.0.len() < before {
                cut.push(Value::from(name));
                self.put("cut", cut.clone().into());
                text = self.text();
            }
        }
        let mut header = HeaderValue::try_from(text).ok().filter(|text| text.len() <= LONGEST)?;
        // It never repeats, so it has no place in HPACK's table.
        header.set_sensitive(true);
        Some(header)
    }

    fn text(&self) -> String {
        let members: Vec<_> = self.0.iter().map(|(name, fact)| format!("\"{name}\":{fact}")).collect();
        ascii(&format!("{{{}}}", members.join(",")))
    }
}

/// JSON without a character that a header can't have.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            ' '..='~' => text.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Formatting into a string can't fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(facts: Facts) -> (usize, Value) {
        let header = facts.header().unwrap();
        (header.len(), serde_json::from_str(header.to_str().unwrap()).unwrap())
    }

    #[test]
    fn explanation_is_one_line_of_ascii_that_reads_back() {
        let subject = "j\u{e9}r\u{f4}me \u{1f680}\n\u{7f}\"";
        let mut facts = Facts::default();
        facts.put("principal", json!({ "subject": subject }));
        assert_eq!(told(facts).1["principal"]["subject"], subject);
    }

    #[test]
    fn explanation_of_any_size_is_bounded_and_names_what_was_cut() {
        for size in [0, 100, 500, 2000, 5000, 100_000] {
            let mut facts = Facts::default();
            facts.put("mode", "call".into());
            for name in CUT_FIRST {
                facts.put(name, "\u{1f680}".repeat(size / 8).into());
            }
            let (length, read) = told(facts);
            let cut = read["cut"].as_array().cloned().unwrap_or_default();
            assert!(length <= LONGEST, "{length} of {size}");
            assert_eq!((read["mode"].as_str(), cut.is_empty()), (Some("call"), size <= 100), "{read}");
            assert!(CUT_FIRST.iter().all(|name| read[name].is_null() == cut.contains(&json!(name))), "{read}");
        }
    }

    #[test]
    fn later_fact_takes_the_place_of_the_one_before() {
        let mut facts = Facts::default();
        facts.put("access", json!({"decision": "denied"}));
        facts.put("next", "cache".into());
        facts.put("access", json!({"decision": "allowed"}));
        facts.put("version", Value::Null);
        assert_eq!(facts.text(), r#"{"access":{"decision":"allowed"},"next":"cache"}"#);
    }
}
