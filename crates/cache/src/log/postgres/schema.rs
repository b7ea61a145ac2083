//! The tables and the statements.

use accord_store::Migrations;

pub(super) const MIGRATIONS: Migrations = Migrations {
    table: "invalidation_log_schema_steps",
    lock: 4_702_111_234_474_983_749,
    steps: &[&[HEAD, RECORDS, MEMBERS], &[MARK_OF_HEAD, MARK_OF_RECORD], &[CHANGE_OF_RECORD]],
};

/// Where replicas listen.
pub(super) const CHANNEL: &str = "accord_invalidation_log";

/// A batch was appended: all read it.
pub(super) const APPENDED: &str = "NOTIFY accord_invalidation_log";

/// A replica has confirmed: whoever waits for that reads the register.
pub(super) const CONFIRMED: &str = "NOTIFY accord_invalidation_log, 'confirmed'";

/// All transactions begin with it.
pub(super) const LOCK: &str = "SELECT number FROM invalidation_log_head WHERE id = 1 FOR UPDATE";

/// A replica that hangs in a transaction holds up all others: the server ends it in this time.
pub(super) const SHORT_IDLE: &str = "SET LOCAL idle_in_transaction_session_timeout = '250ms'";

pub(super) const MAKE_HEAD: &str = "
    INSERT INTO invalidation_log_head (id, incarnation, number, senders) VALUES (1, $1, 0, '') ON CONFLICT (id) DO NOTHING";

pub(super) const FIND_HEAD: &str = "
    SELECT incarnation, number, mark, senders, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)
    FROM invalidation_log_head WHERE id = 1";

pub(super) const SET_HEAD: &str = "UPDATE invalidation_log_head SET number = $1, mark = $2, senders = $3 WHERE id = 1";

pub(super) const ADD: &str = "INSERT INTO invalidation_log_records (number, is_flush, tags, writer, mark, change) VALUES ($1, $2, $3, $4, $5, $6)";

pub(super) const TRIM: &str = "DELETE FROM invalidation_log_records WHERE number <= $1";

pub(super) const FIND_OLDEST: &str = "SELECT MIN(number) FROM invalidation_log_records";

pub(super) const FIND_RECORDS: &str = "
    SELECT number, is_flush, tags, writer, mark, change FROM invalidation_log_records WHERE number >= $1
    ORDER BY number LIMIT $2";

pub(super) const FIND_MEMBERS: &str = "SELECT replica, counter, confirmed FROM invalidation_log_replicas";

/// Of two verifications of one replica the one with the higher counter stays.
pub(super) const SET_MEMBER: &str = "
    INSERT INTO invalidation_log_replicas (replica, counter, confirmed) VALUES ($1, $2, $3)
    ON CONFLICT (replica) DO UPDATE SET counter = excluded.counter, confirmed = excluded.confirmed
    WHERE invalidation_log_replicas.counter < excluded.counter";

pub(super) const STRIKE: &str = "DELETE FROM invalidation_log_replicas WHERE replica = $1 AND counter = $2";

pub(super) const DELETE_MEMBER: &str = "DELETE FROM invalidation_log_replicas WHERE replica = $1";

const HEAD: &str = "
    CREATE TABLE invalidation_log_head (
        id BIGINT PRIMARY KEY,
        incarnation BINARY_TYPE NOT NULL,
        number BIGINT NOT NULL,
        senders BINARY_TYPE NOT NULL
    )";

const RECORDS: &str = "
    CREATE TABLE invalidation_log_records (
        number BIGINT PRIMARY KEY,
        is_flush BIGINT NOT NULL,
        tags BINARY_TYPE NOT NULL,
        writer BINARY_TYPE NOT NULL
    )";

const MEMBERS: &str = "
    CREATE TABLE invalidation_log_replicas (
        replica BINARY_TYPE PRIMARY KEY,
        counter BIGINT NOT NULL,
        confirmed BIGINT NOT NULL
    )";

/// Tells a record from another one of its number, after the database lost it.
const MARK_OF_RECORD: &str = "ALTER TABLE invalidation_log_records ADD COLUMN mark BIGINT NOT NULL DEFAULT 0";

/// What was done to keys of a namespace, encoded; of most records nothing.
const CHANGE_OF_RECORD: &str = "ALTER TABLE invalidation_log_records ADD COLUMN change BINARY_TYPE";

/// The same of the newest record.
const MARK_OF_HEAD: &str = "ALTER TABLE invalidation_log_head ADD COLUMN mark BIGINT NOT NULL DEFAULT 0";
