//! The tables and the statements. These have no parameters, since they are sent together: what is written into them are numbers
//! and bytes.

use accord_readthrough::{Member, Record};
use accord_store::{Migrations, literal};

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

/// All transactions begin with it. A replica that hangs in one holds up all others: the server ends it in this time.
pub(super) const BEGIN: &str = "
    BEGIN;
    SET LOCAL idle_in_transaction_session_timeout = '250ms';
    SELECT number FROM invalidation_log_head WHERE id = 1 FOR UPDATE";

pub(super) const MAKE_HEAD: &str = "
    INSERT INTO invalidation_log_head (id, incarnation, number, senders) VALUES (1, $1, 0, '') ON CONFLICT (id) DO NOTHING";

pub(super) const FIND_HEAD: &str = "
    SELECT incarnation, number, mark, senders, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)
    FROM invalidation_log_head WHERE id = 1";

pub(super) fn set_head(number: u64, mark: u64, senders: &[u8]) -> String {
    let senders = literal(senders);
    format!("UPDATE invalidation_log_head SET number = {number}, mark = {mark}, senders = {senders} WHERE id = 1")
}

/// A record, with what of it is encoded.
pub(super) fn add(record: &Record, tags: &[u8], writer: &[u8], change: Option<Vec<u8>>) -> String {
    let Record { number, mark, .. } = record;
    let (is_flush, tags, writer) = (i64::from(record.is_flush), literal(tags), literal(writer));
    let change = change.map_or_else(|| "NULL".to_owned(), |change| literal(change).to_string());
    format!(
        "INSERT INTO invalidation_log_records (number, is_flush, tags, writer, mark, change)
         VALUES ({number}, {is_flush}, {tags}, {writer}, {mark}, {change})"
    )
}

/// Drops the records up to a number.
pub(super) fn trim(number: u64) -> String {
    format!("DELETE FROM invalidation_log_records WHERE number <= {number}")
}

pub(super) const FIND_OLDEST: &str = "SELECT MIN(number) FROM invalidation_log_records";

/// The record that was seen last, and those after it.
pub(super) fn find_records(seen: u64, most: u64) -> String {
    format!(
        "SELECT number, is_flush, tags, writer, mark, change FROM invalidation_log_records WHERE number >= {seen}
         ORDER BY number LIMIT {most}"
    )
}

pub(super) const FIND_MEMBERS: &str = "SELECT replica, counter, confirmed FROM invalidation_log_replicas";

/// Of two verifications of one replica the one with the higher counter stays. Of what the database has lost, nothing counts as
/// confirmed.
pub(super) fn set_member(member: &Member, seen: u64, seen_mark: u64) -> String {
    let Member { replica, counter, confirmed } = member;
    let replica = literal(replica.to_be_bytes());
    format!(
        "INSERT INTO invalidation_log_replicas (replica, counter, confirmed)
         VALUES ({replica}, {counter}, CASE
            WHEN {seen} = 0 OR EXISTS (SELECT 1 FROM invalidation_log_records WHERE number = {seen} AND mark = {seen_mark})
            THEN {confirmed} ELSE 0 END)
         ON CONFLICT (replica) DO UPDATE SET counter = excluded.counter, confirmed = excluded.confirmed
         WHERE invalidation_log_replicas.counter < excluded.counter"
    )
}

/// Drops a replica whose counter is still this one.
pub(super) fn strike(replica: u128, counter: u64) -> String {
    let replica = literal(replica.to_be_bytes());
    format!("DELETE FROM invalidation_log_replicas WHERE replica = {replica} AND counter = {counter}")
}

pub(super) fn delete_member(replica: u128) -> String {
    let replica = literal(replica.to_be_bytes());
    format!("DELETE FROM invalidation_log_replicas WHERE replica = {replica}")
}

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
