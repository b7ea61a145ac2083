//! Positions in an invalidation log.

/// A place in the order of an invalidation log. Numbers of two logs can't be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The incarnation of the log.
    pub log: u128,
    /// What starts here has seen all that was invalidated by this number and those before it.
    pub number: u64,
    /// That of the record with this number: a log that has lost it may give the number again.
    pub mark: u64,
}
