//! Layers of one configuration: defaults, files, variables, flags. The later is the stronger, and lists of sections are joined.
//! An empty list takes the place of whatever was in it.

use std::collections::BTreeMap;

use toml::Value;

use super::{
    ConfigError,
    origin::Origin,
    tree::{Content, Entry, Node, refused},
};

impl Node {
    /// Takes over a variable's text as the key with this path.
    pub(super) fn put_text(&mut self, path: &[String], origin: &Origin, text: &str) -> Result<(), ConfigError> {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        self.put(&keys, Self { origin: origin.clone(), content: Content::Text(text.to_owned()) })
    }

    /// Takes over what was given with a flag.
    pub(super) fn overlay_flag(&mut self, key: &str, flag: &'static str, value: &Value) -> Result<(), ConfigError> {
        let keys: Vec<&str> = key.split('.').collect();
        self.put(&keys, Self::from_value(value, &Origin::Flag(flag)))
    }

    fn put(&mut self, keys: &[&str], node: Self) -> Result<(), ConfigError> {
        let Some((first, rest)) = keys.split_first() else {
            return self.replace(node);
        };
        let Content::Table(entries) = &mut self.content else {
            let problem =
                format!("it sets {first:?} in what is no section, or is given as one value ({})", self.origin);
            return Err(refused(node.origin, problem, "give a section in one place, or key by key"));
        };
        let key = node.origin.clone();
        let empty = || Self { origin: key.clone(), content: Content::Table(BTreeMap::new()) };
        let entry = entries.entry((*first).to_owned()).or_insert_with(|| Entry { key: key.clone(), value: empty() });
        entry.value.put(rest, node)
    }

    /// A section that is given as one value lies over what is known of it; anything else takes its place.
    fn replace(&mut self, node: Self) -> Result<(), ConfigError> {
        let section = node.typed().filter(|typed| matches!(typed.content, Content::Table(_)));
        if let (Content::Table(_), Some(section)) = (&self.content, section) {
            return self.overlay_file(section);
        }
        *self = node;
        Ok(())
    }

    /// Takes over what a further file says. The root stays at no place of its own, since it has several.
    pub(super) fn overlay_root(&mut self, file: Self) -> Result<(), ConfigError> {
        self.overlay_file(file)?;
        self.origin = Origin::Default;
        Ok(())
    }

    /// Takes over what a further file says of a section.
    fn overlay_file(&mut self, file: Self) -> Result<(), ConfigError> {
        match (&mut self.content, file.content) {
            (Content::Table(known), Content::Table(further)) => {
                for (key, entry) in further {
                    match known.get_mut(&key) {
                        Some(before) => {
                            before.value.overlay_file(entry.value)?;
                            before.key = entry.key;
                        }
                        None => drop(known.insert(key, entry)),
                    }
                }
                self.origin = file.origin;
            }
            (Content::Array(known), Content::Array(further))
                if are_sections(known) && are_sections(&further) && !further.is_empty() =>
            {
                further.iter().try_for_each(|section| is_new(section, known))?;
                known.extend(further);
                self.origin = file.origin;
            }
            (known, further) => {
                *known = further;
                self.origin = file.origin;
            }
        }
        Ok(())
    }

    fn name(&self) -> Option<&Self> {
        match &self.content {
            Content::Table(entries) => entries.get("name").map(|entry| &entry.value),
            _ => None,
        }
    }
}

fn are_sections(items: &[Node]) -> bool {
    items.iter().all(|item| matches!(item.content, Content::Table(_)))
}

/// Two sections of one name would be one thing described in two places, of which neither is the stronger.
fn is_new(section: &Node, known: &[Node]) -> Result<(), ConfigError> {
    let Some((name, text)) = section.name().and_then(|name| Some((name, name.text()?))) else { return Ok(()) };
    let same = known.iter().filter_map(Node::name).find(|other| other.text() == Some(text));
    same.map_or(Ok(()), |other| {
        let problem = format!("the name {text:?} is taken already at {}", other.origin);
        Err(refused(name.origin.clone(), problem, "describe it in one of the files only"))
    })
}
