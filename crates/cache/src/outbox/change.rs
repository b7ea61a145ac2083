//! What a row of the outbox says.

use accord_readthrough::Tag;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::template;

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// Its number.
    pub number: i64,
    /// Everything is invalidated.
    pub is_flush: bool,
    /// What is.
    pub tags: Vec<Tag>,
    /// Seconds since it was written.
    pub age: f64,
}

/// A key of a namespace: its tenant, if one is named, and the key.
type Key = (String, Option<String>, String);

impl Change {
    /// Reads a row. One that can't be read invalidates everything.
    pub(super) fn read(row: &PgRow) -> Result<Option<Self>, sqlx::Error> {
        let Some(number) = row.try_get("number")? else { return Ok(None) };
        let tags = row.try_get::<String, _>("tags")?;
        let keys = row.try_get::<String, _>("keys")?;
        let tags = invalidated(&tags, &keys);
        let is_flush = row.try_get("flush")? || tags.is_none();
        Ok(Some(Self { number, is_flush, tags: tags.unwrap_or_default(), age: row.try_get("age")? }))
    }
}

fn invalidated(tags: &str, keys: &str) -> Option<Vec<Tag>> {
    let tags = serde_json::from_str::<Vec<Vec<String>>>(tags).ok()?;
    let keys = serde_json::from_str::<Vec<Key>>(keys).ok()?;
    let tags = tags.iter().map(|pieces| Tag::named(&template::tag(pieces)));
    let keys = keys.iter().map(|(namespace, tenant, key)| Tag::row(namespace, tenant.as_deref(), key));
    Some(tags.chain(keys).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_keys_are_read() {
        let read =
            invalidated(r#"[["product/","4/2"],["products"]]"#, r#"[["prices",null,"42"],["carts","north","ada"]]"#);
        let tags = ["product/4%2F2", "products"].map(Tag::named);
        let keys = [Tag::row("prices", None, "42"), Tag::row("carts", Some("north"), "ada")];
        assert_eq!(read.unwrap(), [tags, keys].concat());
    }

    #[test]
    fn what_is_none_of_ours_is_not_read() {
        for (tags, keys) in [("", "[]"), ("[[1]]", "[]"), ("[]", "[[]]"), ("{}", "[]")] {
            assert_eq!(invalidated(tags, keys), None);
        }
    }
}
