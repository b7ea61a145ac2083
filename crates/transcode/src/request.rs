//! Transcoding of requests: JSON values, written to the wire as they are read.

use std::collections::HashSet;

use accord_wire::{WireType, close_length, open_length, put_bytes, put_tag};

use crate::{
    json::{Reader, Token},
    known,
    options::Limits,
    scalar,
    schema::{Field, Form, Kind, Known, Schema, Shape},
    violation::Violation,
};

/// Writes wire bytes from JSON.
pub(crate) struct Encoder<'s> {
    pub(crate) schema: &'s Schema,
    pub(crate) out: Vec<u8>,
    /// What a value may contain that is given as JSON in a parameter.
    pub(crate) limits: Limits,
}

impl<'s> Encoder<'s> {
    /// The content of a message, without a length.
    pub(crate) fn message(&mut self, shape: &'s Shape, reader: &mut Reader<'_>) -> Result<(), Violation> {
        match shape.known {
            None | Some(Known::Empty | Known::HttpBody) => self.members(shape, reader, false),
            Some(Known::Only) => self.field(&shape.fields[0], reader),
            Some(Known::Value) => self.value(shape, reader),
            Some(Known::Any) => self.any(reader),
            Some(text) => {
                require(reader, Token::String, "must be a string")?;
                known::put_text(&mut self.out, text, &reader.string()?)
            }
        }
    }

    /// A field with its tag, unless it holds what absence means.
    pub(crate) fn field(&mut self, field: &'s Field, reader: &mut Reader<'_>) -> Result<(), Violation> {
        match field.form {
            Form::Single { implicit } => self.single(field, implicit, reader),
            Form::List { packed: true } => self.packed(field, reader),
            Form::List { packed: false } => self.list(field, reader),
            Form::Map => self.map(field, reader),
        }
    }

    /// Whether `null` is a value of the field. Of any other field it means that the field is absent.
    pub(crate) fn takes_null(&self, field: &Field) -> bool {
        match (field.form, field.kind) {
            (Form::Single { .. }, Kind::Message(index)) => self.schema.shape(index).known == Some(Known::Value),
            (Form::Single { .. }, Kind::Enum(index)) => self.schema.names(index).null,
            _ => false,
        }
    }

    fn single(&mut self, field: &'s Field, implicit: bool, reader: &mut Reader<'_>) -> Result<(), Violation> {
        match field.kind {
            Kind::Message(index) => {
                put_tag(&mut self.out, field.number, WireType::Bytes);
                let start = open_length(&mut self.out);
                self.message(self.schema.shape(index), reader)?;
                close_length(&mut self.out, start);
            }
            Kind::Group(index) => {
                put_tag(&mut self.out, field.number, WireType::StartGroup);
                self.message(self.schema.shape(index), reader)?;
                put_tag(&mut self.out, field.number, WireType::EndGroup);
            }
            kind => {
                let scalar = scalar::from_json(self.schema, kind, reader)?;
                if !(implicit && scalar.is_default()) {
                    put_tag(&mut self.out, field.number, kind.wire_type());
                    scalar.put(&mut self.out);
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, field: &'s Field, reader: &mut Reader<'_>) -> Result<(), Violation> {
        each(reader, |reader| self.single(field, false, reader))
    }

    fn packed(&mut self, field: &'s Field, reader: &mut Reader<'_>) -> Result<(), Violation> {
        let before = self.out.len();
        put_tag(&mut self.out, field.number, WireType::Bytes);
        let start = open_length(&mut self.out);
        each(reader, |reader| {
            scalar::from_json(self.schema, field.kind, reader)?.put(&mut self.out);
            Ok(())
        })?;
        self.close_unless_empty(before, start);
        Ok(())
    }

    /// An implicit field without content is left out, its tag included.
    fn close_unless_empty(&mut self, before: usize, start: usize) {
        if self.out.len() == start {
            self.out.truncate(before);
        } else {
            close_length(&mut self.out, start);
        }
    }

    fn map(&mut self, field: &'s Field, reader: &mut Reader<'_>) -> Result<(), Violation> {
        let Kind::Message(entry) = field.kind else { return Ok(()) };
        let [key, value] = &self.schema.shape(entry).fields[..] else { return Ok(()) };
        require(reader, Token::Object, "must be an object")?;
        reader.object()?;
        let (mut first, mut seen) = (true, HashSet::new());
        while let Some(name) = reader.key(&mut first)? {
            put_tag(&mut self.out, field.number, WireType::Bytes);
            let start = open_length(&mut self.out);
            let scalar = scalar::from_text(self.schema, key.kind, name.clone())?;
            put_tag(&mut self.out, key.number, key.kind.wire_type());
            scalar.put(&mut self.out);
            if !seen.insert(scalar) {
                return Err(Violation::malformed("a key is given twice"));
            }
            self.single(value, false, reader).map_err(|violation| violation.within(&name))?;
            close_length(&mut self.out, start);
        }
        Ok(())
    }

    /// `google.protobuf.Value`: its fields stand in the order null, number, string, bool, struct, list.
    fn value(&mut self, shape: &'s Shape, reader: &mut Reader<'_>) -> Result<(), Violation> {
        let position = match reader.peek()? {
            Token::Null => 0,
            Token::Number => 1,
            Token::String => 2,
            Token::Bool => 3,
            Token::Object => 4,
            Token::Array => 5,
        };
        self.single(&shape.fields[position], false, reader)
    }

    /// `google.protobuf.Any`. Its type may be named behind its fields, so that one has to look ahead.
    fn any(&mut self, reader: &mut Reader<'_>) -> Result<(), Violation> {
        require(reader, Token::Object, "must be an object")?;
        let Some(url) = reader.find("@type")? else {
            reader.object()?;
            return match reader.key(&mut true)? {
                None => Ok(()),
                Some(_) => Err(Violation::invalid("must name the type of its message").within("@type")),
            };
        };
        let shape = self.schema.by_type_url(&url);
        let shape = shape.ok_or_else(|| Violation::invalid("names a message that is not known").within("@type"))?;
        put_bytes(&mut self.out, 1, url.as_bytes());
        let before = self.out.len();
        put_tag(&mut self.out, 2, WireType::Bytes);
        let start = open_length(&mut self.out);
        // An `Empty` as well: Go writes it under `value`, against the page on `ProtoJSON`.
        if shape.known.is_some_and(|known| known != Known::HttpBody) {
            self.wrapped(shape, reader)?;
        } else {
            self.members(shape, reader, true)?;
        }
        self.close_unless_empty(before, start);
        Ok(())
    }
}

pub(crate) fn require(reader: &mut Reader<'_>, token: Token, problem: &str) -> Result<(), Violation> {
    if reader.peek()? == token { Ok(()) } else { Err(Violation::invalid(problem)) }
}

fn each<'a>(
    reader: &mut Reader<'a>,
    mut put: impl FnMut(&mut Reader<'a>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    require(reader, Token::Array, "must be an array")?;
    reader.array()?;
    let (mut first, mut index) = (true, 0);
    while reader.element(&mut first)? {
        put(reader).map_err(|violation| violation.at(index))?;
        index += 1;
    }
    Ok(())
}
