//! The suite against a real PostgreSQL.
