//! The table and the statements.

use accord_store::Migrations;

pub(super) const MIGRATIONS: Migrations = Migrations {
    table: "idempotency_schema_steps",
    lock: 4_702_111_234_474_983_746,
    // The first step finds its table where a build made it that did not count steps.
    steps: &[&[TABLE, INDEX], &[METADATA]],
};

pub(super) const CLAIM: &str = "
    INSERT INTO idempotency_records
        (method, owner, key, digest, claim, lease_until, expires_at, window_ms, answered, code, message, details, response)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, '', $9, $9)
    ON CONFLICT (method, owner, key) DO UPDATE SET
        digest = excluded.digest, claim = excluded.claim, lease_until = excluded.lease_until,
        expires_at = excluded.expires_at, window_ms = excluded.window_ms, answered = 0, code = 0, message = '',
        details = excluded.details, response = excluded.response, metadata = NULL
    WHERE idempotency_records.expires_at <= $10
        OR (idempotency_records.answered = 0 AND idempotency_records.lease_until <= $10
            AND idempotency_records.digest = excluded.digest)
    RETURNING claim";

pub(super) const FIND: &str = "
    SELECT digest, claim, lease_until, answered, code, message, details, response, metadata
    FROM idempotency_records WHERE method = $1 AND owner = $2 AND key = $3";

pub(super) const COMPLETE: &str = "
    UPDATE idempotency_records
    SET answered = 1, code = $1, message = $2, details = $3, response = $4, metadata = $5, expires_at = $6 + window_ms
    WHERE claim = $7 AND answered = 0";

pub(super) const IS_CLAIM: &str = "SELECT claim FROM idempotency_records WHERE claim = $1";

pub(super) const ABANDON: &str = "DELETE FROM idempotency_records WHERE claim = $1 AND answered = 0";

pub(super) const SWEEP: &str = "
    DELETE FROM idempotency_records WHERE claim IN
        (SELECT claim FROM idempotency_records WHERE expires_at <= $1 LIMIT 1000)
    AND expires_at <= $1";

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS idempotency_records (
        method TEXT NOT NULL,
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        digest BINARY_TYPE NOT NULL,
        claim TEXT NOT NULL UNIQUE,
        lease_until BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        window_ms BIGINT NOT NULL,
        answered BIGINT NOT NULL,
        code BIGINT NOT NULL,
        message TEXT NOT NULL,
        details BINARY_TYPE NOT NULL,
        response BINARY_TYPE NOT NULL,
        PRIMARY KEY (method, owner, key)
    )";

const INDEX: &str = "CREATE INDEX IF NOT EXISTS idempotency_records_expiry ON idempotency_records (expires_at)";

const METADATA: &str = "ALTER TABLE idempotency_records ADD COLUMN metadata BINARY_TYPE";
