//! What is wrong with values that each fit their key.

use std::fmt;

/// A value that can't be served although it fits its key: it contradicts another one, or a file that it names is unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key, as a path: `upstream.0.urls`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Invalid {
    /// A key, what is wrong with it, and what to do.
    pub fn new(key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A key, and an error about it whose text says after its last semicolon what to do.
    pub fn of(key: impl Into<String>, error: impl fmt::Display) -> Self {
        let text = error.to_string();
        let (problem, remedy) = text.rsplit_once("; ").unwrap_or((&text, "correct it"));
        Self::new(key, problem, remedy)
    }

    /// The same in a section: `urls` of `upstream.0` is `upstream.0.urls`, and no key is the section itself.
    #[must_use]
    pub fn under(self, section: impl fmt::Display) -> Self {
        let key = if self.key.is_empty() { section.to_string() } else { format!("{section}.{}", self.key) };
        Self { key, ..self }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}; {}", self.key, self.problem, self.remedy)
    }
}

impl std::error::Error for Invalid {}
