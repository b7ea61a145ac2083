//! The texts that policies come from, and the places in them.

use std::{collections::BTreeMap, path::Path};

use cedar_policy::{ParseErrors, Policy, PolicyId, PolicySet};
use miette::Diagnostic;

use super::PolicyError;

/// A text with policies.
pub(super) struct PolicyFile {
    /// The file it comes from.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) policies: Vec<Policy>,
}

impl PolicyFile {
    pub(super) fn new(name: String, text: String) -> Result<Self, PolicyError> {
        let mut source = Self { name, text, policies: Vec::new() };
        source.policies = source.parsed()?;
        Ok(source)
    }

    /// Of a file.
    pub(super) fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::Unreadable { path: path.to_owned(), source })?;
        Self::new(path.display().to_string(), text)
    }

    /// Each policy with a name: its `@id`, or its file and place.
    fn parsed(&self) -> Result<Vec<Policy>, PolicyError> {
        let malformed = |place, reason| PolicyError::Malformed { place, reason };
        let parsed: PolicySet =
            self.text.parse().map_err(|errors: ParseErrors| malformed(self.place_of(&errors), errors.to_string()))?;
        if parsed.templates().next().is_some() {
            return Err(malformed(self.name.clone(), "templates have nothing to fill them in here".to_owned()));
        }
        // By the parser's own numbering, so that the places follow the text.
        let ordered: BTreeMap<String, &Policy> =
            parsed.policies().map(|policy| (format!("{:0>24}", policy.id().to_string()), policy)).collect();
        let name = |(number, policy): (usize, &&Policy)| {
            let id = policy.annotation("id").map_or_else(|| format!("{}#{number}", self.name), ToOwned::to_owned);
            policy.new_id(PolicyId::new(id))
        };
        Ok((1..).zip(ordered.values()).map(name).collect())
    }

    /// Where that was found wrong, as `file:line:column`; the file alone where it does not say.
    pub(super) fn place_of(&self, error: &dyn Diagnostic) -> String {
        self.place_at(offset_of(error))
    }

    /// Where this is first written in quotation marks.
    pub(super) fn place_of_word(&self, word: &str) -> String {
        self.place_at(self.text.find(&format!("\"{word}\"")))
    }

    fn place_at(&self, offset: Option<usize>) -> String {
        let before = offset.and_then(|offset| self.text.get(..offset));
        let Some(before) = before else { return self.name.clone() };
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        format!("{}:{}:{}", self.name, before.matches('\n').count() + 1, column + 1)
    }
}

/// How many bytes of its text stand before what was found wrong.
pub(super) fn offset_of(error: &dyn Diagnostic) -> Option<usize> {
    error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset())
}
