//! The members of a JSON object that stands for a message.

use crate::{
    json::{Reader, Token},
    request::{Encoder, require},
    schema::Shape,
    violation::Violation,
};

impl<'s> Encoder<'s> {
    /// Writes each member as the field that it names. A `tagged` object also has an `@type`, read before.
    pub(crate) fn members(&mut self, shape: &'s Shape, reader: &mut Reader<'_>, tagged: bool) -> Result<(), Violation> {
        require(reader, Token::Object, "must be an object")?;
        reader.object()?;
        let (mut fields, mut oneofs) = (Seen::default(), Seen::default());
        let (mut first, mut expected, mut tags) = (true, 0, usize::from(tagged));
        while let Some(key) = reader.key(&mut first)? {
            if tags > 0 && key == "@type" {
                tags -= 1;
                reader.skip()?;
                continue;
            }
            let index =
                shape.by_name(&key, expected).ok_or_else(|| Violation::unknown(&key, "there is no such field"))?;
            expected = index + 1;
            let field = &shape.fields[index];
            if !fields.insert(index) {
                return Err(Violation::malformed("is given twice").within(field.name()));
            }
            if reader.peek()? == Token::Null && !self.takes_null(field) {
                reader.null()?;
                continue;
            }
            if field.oneof.is_some_and(|oneof| !oneofs.insert(oneof)) {
                return Err(Violation::invalid("excludes another field that is given").within(field.name()));
            }
            self.field(field, reader).map_err(|violation| violation.within(field.name()))?;
        }
        Ok(())
    }

    /// A well-known message within `Any`: its own form stands under `value`.
    pub(crate) fn wrapped(&mut self, shape: &'s Shape, reader: &mut Reader<'_>) -> Result<(), Violation> {
        reader.object()?;
        let (mut first, mut tags, mut values) = (true, 0, 0);
        while let Some(key) = reader.key(&mut first)? {
            let seen = match &*key {
                "@type" => {
                    reader.skip()?;
                    &mut tags
                }
                "value" => {
                    self.message(shape, reader).map_err(|violation| violation.within("value"))?;
                    &mut values
                }
                _ => return Err(Violation::unknown(&key, "there is no such field")),
            };
            *seen += 1;
            if *seen > 1 {
                return Err(Violation::malformed("is given twice").within(&key));
            }
        }
        Ok(())
    }
}

/// A set of small numbers that does not allocate for the first 64.
#[derive(Default)]
pub(crate) struct Seen {
    low: u64,
    high: Vec<u64>,
}

impl Seen {
    /// Whether `index` is new.
    pub(crate) fn insert(&mut self, index: usize) -> bool {
        let word = match (index / 64).checked_sub(1) {
            None => &mut self.low,
            Some(word) => {
                if self.high.len() <= word {
                    self.high.resize(word + 1, 0);
                }
                &mut self.high[word]
            }
        };
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}
