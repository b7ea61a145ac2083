//! A method of an upstream, by its configured name.

use accord_upstream::TimedMethod;
use http::uri::PathAndQuery;

use crate::plan::method_path;

/// A method that is called.
#[derive(Debug)]
pub(super) struct Method {
    /// `pkg.Service/Method`.
    pub(super) name: Box<str>,
    /// The same as a path.
    pub(super) path: PathAndQuery,
    /// As what the upstream knows how long it takes.
    pub(super) timed: TimedMethod,
}

impl Method {
    /// Nothing where it is none, which is refused before.
    pub(super) fn new(name: &str) -> Option<Self> {
        Some(Self { path: method_path(name)?, name: name.into(), timed: TimedMethod::new(name) })
    }
}
