//! Codes of the device authorization grant, from the moment that a client asks for one until its tokens are given.

use sqlx::{AssertSqlSafe, Row, any::AnyRow};

use super::{Store, StoreError, Transaction, signed, unsigned};

/// What became of a code, as the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing yet.
    Pending,
    /// Its person lets the client act for them.
    Approved,
    /// They don't.
    Denied,
}

impl Decision {
    fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Approved => 1,
            Self::Denied => 2,
        }
    }

    fn of(code: i64) -> Self {
        match code {
            0 => Self::Pending,
            1 => Self::Approved,
            _ => Self::Denied,
        }
    }
}

/// A code that a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct DeviceCode {
    /// The hash of the device's own code.
    pub hash: String,
    /// What its person types, without what stands between its halves.
    pub user_code: String,
    /// Who asked.
    pub client: String,
    /// From where.
    pub network: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// What became of it.
    pub decision: Decision,
    /// Who decided, or is about to; empty where nobody is.
    pub subject: String,
    /// Their epoch when they proved who they are: a raised one ends the code.
    pub epoch: u64,
    /// The global epoch at that moment.
    pub global_epoch: u64,
}

const COLUMNS: &str = "hash, user_code, client, network, expires_at, decision, subject, epoch, global_epoch";

impl Store {
    /// The code of a device.
    pub(crate) async fn device_code(&self, hash: &str) -> Result<Option<DeviceCode>, StoreError> {
        self.found("hash = $1", hash, 0).await
    }

    /// The code that somebody types, where it has brought no tokens and was not denied.
    pub(crate) async fn open_code(&self, user_code: &str, now: i64) -> Result<Option<DeviceCode>, StoreError> {
        self.found("user_code = $1 AND decision <> 2", user_code, now).await
    }

    /// The first of such codes after this one, in their order; those that somebody has claimed or approved, or all.
    pub(crate) async fn open_codes_after(
        &self,
        last: &str,
        subject: Option<&str>,
        now: i64,
    ) -> Result<Vec<DeviceCode>, StoreError> {
        let read = format!(
            "SELECT {COLUMNS} FROM device_codes WHERE user_code > $1 AND decision <> 2 AND expires_at > $2
             AND ($3 = '' OR subject = $3) ORDER BY user_code LIMIT 500"
        );
        let read = sqlx::query(AssertSqlSafe(read)).bind(last).bind(now).bind(subject.unwrap_or_default());
        read.fetch_all(self.connections()).await?.iter().map(device_code).collect()
    }

    /// Whether a code waits for the decision of whoever has the ticket with this hash.
    pub(crate) async fn has_ticket(&self, ticket: &str, now: i64) -> Result<bool, StoreError> {
        Ok(self.found("ticket = $1 AND decision = 0", ticket, now).await?.is_some())
    }

    async fn found(&self, condition: &str, value: &str, now: i64) -> Result<Option<DeviceCode>, StoreError> {
        let found = format!("SELECT {COLUMNS} FROM device_codes WHERE {condition} AND expires_at > $2");
        let row = sqlx::query(AssertSqlSafe(found)).bind(value).bind(now).fetch_optional(self.connections()).await?;
        row.as_ref().map(device_code).transpose()
    }

    /// Codes that wait: all, and those of a network.
    pub(crate) async fn pending_codes(&self, network: &str, now: i64) -> Result<(u64, u64), StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*), COUNT(CASE WHEN network = $1 THEN 1 END) FROM device_codes
             WHERE expires_at > $2 AND decision = 0",
        )
        .bind(network)
        .bind(now)
        .fetch_one(self.connections())
        .await?;
        Ok((unsigned(row.try_get(0)?), unsigned(row.try_get(1)?)))
    }

    /// Notes that a device asks; false where it asked less than its interval before. All in milliseconds.
    pub(crate) async fn poll_device_code(&self, hash: &str, now: i64, slack: i64) -> Result<bool, StoreError> {
        let polled = sqlx::query(
            "UPDATE device_codes SET polled_at = $2 WHERE hash = $1 AND polled_at <= $2 - poll_interval + $3",
        )
        .bind(hash)
        .bind(now)
        .bind(slack)
        .execute(self.connections())
        .await?;
        Ok(polled.rows_affected() == 1)
    }

    /// Makes the interval of a device longer by that, up to the longest.
    pub(crate) async fn slow_device_down(&self, hash: &str, by: i64, longest: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE device_codes SET poll_interval = poll_interval + $2 WHERE hash = $1 AND poll_interval + $2 <= $3",
        )
        .bind(hash)
        .bind(by)
        .bind(longest)
        .execute(self.connections())
        .await?;
        Ok(())
    }

    /// Forgets codes that ended before this moment.
    pub async fn purge_device_codes(&self, before: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM device_codes WHERE expires_at < $1").bind(before).execute(self.connections()).await?;
        Ok(())
    }
}

fn device_code(row: &AnyRow) -> Result<DeviceCode, StoreError> {
    Ok(DeviceCode {
        hash: row.try_get(0)?,
        user_code: row.try_get(1)?,
        client: row.try_get(2)?,
        network: row.try_get(3)?,
        expires_at: row.try_get(4)?,
        decision: Decision::of(row.try_get(5)?),
        subject: row.try_get(6)?,
        epoch: unsigned(row.try_get(7)?),
        global_epoch: unsigned(row.try_get(8)?),
    })
}

impl Transaction {
    /// Adds a code, of which its device may ask every `interval` milliseconds; false where another has one of its texts.
    pub(crate) async fn add_device_code(&mut self, code: &DeviceCode, interval: i64) -> Result<bool, StoreError> {
        let added = sqlx::query(
            "INSERT INTO device_codes (hash, user_code, client, network, expires_at, poll_interval, polled_at, decision,
                ticket, subject, epoch, global_epoch)
             VALUES ($1, $2, $3, $4, $5, $6, 0, 0, '', '', 0, 0) ON CONFLICT DO NOTHING",
        )
        .bind(&code.hash)
        .bind(&code.user_code)
        .bind(&code.client)
        .bind(&code.network)
        .bind(code.expires_at)
        .bind(interval)
        .execute(&mut *self.inner)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    /// Notes who is about to decide about a code that waits, and the hash of what they decide with.
    pub(crate) async fn claim_device_code(&mut self, code: &DeviceCode, ticket: &str) -> Result<bool, StoreError> {
        let claimed = sqlx::query(
            "UPDATE device_codes SET subject = $2, epoch = $3, global_epoch = $4, ticket = $5
             WHERE hash = $1 AND decision = 0",
        )
        .bind(&code.hash)
        .bind(&code.subject)
        .bind(signed(code.epoch))
        .bind(signed(code.global_epoch))
        .bind(ticket)
        .execute(&mut *self.inner)
        .await?;
        Ok(claimed.rows_affected() == 1)
    }

    /// Decides about a code, once, with the ticket of who claimed it. Brings them and the client; None where nobody has that ticket any
    /// more.
    pub(crate) async fn decide_device_code(
        &mut self,
        ticket: &str,
        decision: Decision,
        now: i64,
    ) -> Result<Option<(String, String)>, StoreError> {
        let decided = sqlx::query(
            "UPDATE device_codes SET decision = $2, ticket = '' WHERE ticket = $1 AND decision = 0 AND expires_at > $3
             RETURNING subject, client",
        )
        .bind(ticket)
        .bind(decision.code())
        .bind(now)
        .fetch_optional(&mut *self.inner)
        .await?;
        decided.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
    }

    /// Gives the device with this code nothing: one that waits, or that this person has approved; whoever it was, where nobody is named.
    /// Brings the client; None where there is no such code.
    pub(crate) async fn close_device_code(
        &mut self,
        user_code: &str,
        person: Option<&str>,
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        let closed = sqlx::query(
            "UPDATE device_codes SET decision = 2, ticket = '' WHERE user_code = $1 AND expires_at > $3
             AND (decision = 0 OR decision = 1 AND ($2 = '' OR subject = $2)) RETURNING client",
        )
        .bind(user_code)
        .bind(person.unwrap_or_default())
        .bind(now)
        .fetch_optional(&mut *self.inner)
        .await?;
        closed.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// Takes an approved code away, for tokens in its place; false where somebody was faster.
    pub(crate) async fn take_device_code(&mut self, hash: &str) -> Result<bool, StoreError> {
        let taken = sqlx::query("DELETE FROM device_codes WHERE hash = $1 AND decision = 1")
            .bind(hash)
            .execute(&mut *self.inner)
            .await?;
        Ok(taken.rows_affected() == 1)
    }
}
