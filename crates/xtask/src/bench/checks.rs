//! What a server does before it forwards.

/// What is asked of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Checks {
    /// Nothing.
    None,
    /// A token.
    Token,
    /// A token, and that its holder does not call more often than it may.
    Limit,
}
