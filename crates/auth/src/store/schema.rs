//! The tables, and the steps that lead to them.

use sqlx::{Executor, Row};

use super::{Engine, Store, StoreError};

/// Each step runs once, in order. A released step never changes; another one is added.
const STEPS: &[&[&str]] = &[
    FIRST,
    &["INSERT INTO meta (name, value) SELECT 'audit', COUNT(*) FROM audit"],
    &[
        "CREATE INDEX revoked_by_revision ON revoked (revision)",
        "CREATE INDEX principals_by_epoch_revision ON principals (epoch_revision)",
    ],
];

const FIRST: &[&str] = &[
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO meta (name, value) VALUES ('revision', 1), ('global_epoch', 0)",
    "CREATE TABLE principals (
        subject TEXT PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, password TEXT NOT NULL,
        epoch BIGINT NOT NULL, epoch_at BIGINT NOT NULL, epoch_revision BIGINT NOT NULL)",
    "CREATE TABLE roles (
        subject TEXT NOT NULL REFERENCES principals (subject), role TEXT NOT NULL, PRIMARY KEY (subject, role))",
    "CREATE TABLE clients (
        id TEXT PRIMARY KEY, subject TEXT NOT NULL REFERENCES principals (subject), secret_hash TEXT NOT NULL)",
    "CREATE TABLE families (
        id TEXT PRIMARY KEY, subject TEXT NOT NULL REFERENCES principals (subject), epoch BIGINT NOT NULL,
        global_epoch BIGINT NOT NULL, generation BIGINT NOT NULL, rotated_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL, dead BIGINT NOT NULL)",
    "CREATE TABLE family_tokens (
        jti TEXT PRIMARY KEY, family TEXT NOT NULL REFERENCES families (id), expires_at BIGINT NOT NULL)",
    "CREATE INDEX family_tokens_by_family ON family_tokens (family)",
    "CREATE TABLE revoked (jti TEXT PRIMARY KEY, expires_at BIGINT NOT NULL, revision BIGINT NOT NULL)",
    "CREATE TABLE keys (
        kid TEXT PRIMARY KEY, algorithm TEXT NOT NULL, public TEXT NOT NULL, private TEXT NOT NULL,
        signs_from BIGINT NOT NULL, signs_until BIGINT NOT NULL, gone_at BIGINT NOT NULL)",
    "CREATE TABLE audit (
        seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,
        previous TEXT NOT NULL, hash TEXT NOT NULL)",
];

/// Serves as the name of the lock under which PostgreSQL's tables change.
const LOCK: &str = "SELECT pg_advisory_xact_lock(4702111234474983745)";

pub(super) async fn migrate(store: &Store) -> Result<(), StoreError> {
    let mut transaction = match store.engine {
        Engine::Sqlite => store.pool.begin_with("BEGIN IMMEDIATE").await?,
        Engine::Postgres => {
            let mut transaction = store.pool.begin().await?;
            transaction.execute(LOCK).await?;
            transaction
        }
    };
    transaction.execute("CREATE TABLE IF NOT EXISTS schema_steps (done BIGINT PRIMARY KEY)").await?;
    let row = sqlx::query("SELECT COUNT(*) FROM schema_steps").fetch_one(&mut *transaction).await?;
    let done = row.try_get::<i64, _>(0)?;
    for (index, step) in (0_i64..).zip(STEPS).filter(|(index, _)| *index >= done) {
        for statement in *step {
            transaction.execute(*statement).await?;
        }
        sqlx::query("INSERT INTO schema_steps (done) VALUES ($1)").bind(index).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}
