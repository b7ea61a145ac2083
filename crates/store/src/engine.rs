//! What differs between the database engines: SQLite and PostgreSQL.

/// Who runs the SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    /// Or anything that speaks its protocol.
    Postgres,
}

impl Engine {
    /// What each new connection is told first.
    pub(crate) fn settings(self) -> &'static [&'static str] {
        match self {
            // The wait for locks comes first, since changing the journal needs one. FULL: a commit is on disk before it is
            // acknowledged, also in the write-ahead log.
            Self::Sqlite => &[
                "PRAGMA busy_timeout = 2000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
            ],
            // The last one ends transactions whose client went away without a word: their locks would stop everybody else
            // until the kernel gives the connection up, hours later.
            Self::Postgres => &[
                "SET statement_timeout = '5s'",
                "SET lock_timeout = '2s'",
                "SET idle_in_transaction_session_timeout = '10s'",
            ],
        }
    }

    /// What the connection is told that migrates: an index over many rows takes its time, and replicas wait for it.
    pub(crate) fn migration_settings(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["PRAGMA busy_timeout = 300000"],
            Self::Postgres => &["SET statement_timeout = '5min'", "SET lock_timeout = '5min'"],
        }
    }

    /// How a transaction begins that reads as of one moment, and what it is told: it may take as long as there are rows.
    pub(crate) fn snapshot(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Sqlite => ("BEGIN", &[]),
            Self::Postgres => (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                &["SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = '5min'"],
            ),
        }
    }

    /// The column type of bytes.
    pub(crate) fn binary_type(self) -> &'static str {
        match self {
            Self::Sqlite => "BLOB",
            Self::Postgres => "BYTEA",
        }
    }
}
