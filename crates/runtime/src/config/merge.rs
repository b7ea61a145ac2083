//! Several files of one configuration: the later is the stronger, and lists of sections are joined.

use super::ConfigError;
use super::tree::{Content, Node, refused};

impl Node {
    /// Takes over what a further file says.
    pub(super) fn overlay_file(&mut self, file: Self) -> Result<(), ConfigError> {
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
            }
            (Content::Array(known), Content::Array(further)) if are_sections(known) && are_sections(&further) => {
                further.iter().try_for_each(|section| is_new(section, known))?;
                known.extend(further);
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
