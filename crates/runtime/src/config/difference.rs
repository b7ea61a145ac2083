//! The keys in which two configurations differ.

use super::tree::{Content, Node};

/// Where each value of a configuration comes from, and what was written there.
#[derive(Clone, Debug)]
pub(crate) struct Places(pub(super) Node);

impl Places {
    /// The keys whose values were written otherwise in the other one. Values are compared and never told: there are secrets among them.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare(Some(&self.0), Some(&other.0), "", &mut found);
        found
    }
}

fn compare(before: Option<&Node>, after: Option<&Node>, path: &str, found: &mut Vec<String>) {
    let (before, after) = (before.map(|node| &node.content), after.map(|node| &node.content));
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (before, after) {
        (Some(Content::Table(before)), Some(Content::Table(after))) => {
            let added = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let (before, after) = (before.get(name), after.get(name));
                compare(before.map(|entry| &entry.value), after.map(|entry| &entry.value), &below(name), found);
            }
        }
        (Some(Content::Array(before)), Some(Content::Array(after))) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(Some(before), Some(after), &below(&index.to_string()), found);
            }
        }
        (Some(Content::Scalar(before)), Some(Content::Scalar(after))) if before == after => {}
        (Some(Content::Text(before)), Some(Content::Text(after))) if before == after => {}
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::tree::parse, *};

    fn places(text: &str) -> Places {
        Places(parse(Path::new("a.toml"), text).unwrap())
    }

    #[test]
    fn keys_that_differ_are_named_by_their_paths() {
        let before =
            places("grace = \"30s\"\n[[upstream]]\nname = \"a\"\nurls = [\"b\"]\n[listen]\naddress = \":1\"\n");
        let after = places("[[upstream]]\nname = \"a\"\nurls = [\"c\"]\n[listen]\naddress = \":1\"\nmax = 1\n");
        assert_eq!(before.differences(&after), ["grace", "listen.max", "upstream.0.urls.0"]);
        assert_eq!(before.differences(&before), <[String; 0]>::default());
    }

    #[test]
    fn list_of_another_length_is_one_difference() {
        let (before, after) = (places("urls = [\"a\"]\n"), places("urls = [\"a\", \"b\"]\n"));
        assert_eq!(before.differences(&after), ["urls"]);
    }
}
