//! Path variables and query parameters: single values, addressed by a dotted path of fields.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use accord_wire::{close_length, open_length, put_tag};

use crate::{
    json::Reader,
    known,
    request::Encoder,
    scalar,
    schema::{Form, Kind, Known, Schema},
    violation::Violation,
};

/// A field somewhere below a message, whose value can be given as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The message to start from.
    shape: usize,
    /// Positions of fields, each in the message of the one before.
    steps: Box<[usize]>,
    repeated: bool,
    /// Whether what is given several times is joined, as the paths of a field mask are.
    joined: bool,
    /// Of an entry of a map: its key, such as `env` in `labels[env]`.
    key: Option<Box<str>>,
}

impl Target {
    /// Finds the field at `path`, such as `product.id`, or the entry of a map, such as `labels[env]`, by JSON names or proto
    /// names. `depth` bounds its length, which a message that holds itself does not.
    pub(crate) fn resolve(schema: &Schema, shape: usize, path: &str, depth: usize) -> Result<Self, Violation> {
        let (fields, key) = match path.strip_suffix(']').and_then(|path| path.split_once('[')) {
            Some((fields, key)) => (fields, Some(key)),
            None => (path, None),
        };
        let target = Self::field(schema, shape, fields, depth)?;
        let target = Self { key: key.map(Box::from), ..target };
        let fits = target.takes_text(schema);
        fits.then_some(target).ok_or_else(|| Violation::invalid("cannot be given as a parameter").within(path))
    }

    fn field(schema: &Schema, shape: usize, path: &str, depth: usize) -> Result<Self, Violation> {
        let unknown = || Violation::unknown(path, "there is no such field");
        let (mut steps, mut current, mut repeated) = (Vec::new(), Some(shape), false);
        for name in path.split('.') {
            if steps.len() == depth {
                return Err(Violation::malformed("nested too deeply").within(path));
            }
            let shape = schema.shape(current.ok_or_else(unknown)?);
            let index = shape.by_name(name, usize::MAX).ok_or_else(unknown)?;
            let field = &shape.fields[index];
            steps.push(index);
            repeated = !matches!(field.form, Form::Single { .. });
            current = match field.kind {
                Kind::Message(next) if !repeated && schema.shape(next).known.is_none() => Some(next),
                _ => None,
            };
        }
        let mut target = Self { shape, steps: steps.into(), repeated, joined: false, key: None };
        target.joined = target.is_mask(schema);
        Ok(target)
    }

    fn takes_text(&self, schema: &Schema) -> bool {
        let Some((form, kind)) = self.leaf(schema) else { return false };
        match (form, &self.key) {
            (Form::Map, Some(_)) => value_of(schema, kind).is_some_and(|value| takes_text(schema, value)),
            (Form::Map, None) | (_, Some(_)) => false,
            (_, None) => takes_text(schema, kind),
        }
    }

    fn is_mask(&self, schema: &Schema) -> bool {
        let Some((_, Kind::Message(index))) = self.leaf(schema) else { return false };
        schema.shape(index).known == Some(Known::FieldMask)
    }

    fn leaf(&self, schema: &Schema) -> Option<(Form, Kind)> {
        let (mut shape, mut leaf) = (Some(self.shape), None);
        for &step in &self.steps {
            let field = &schema.shape(shape?).fields[step];
            leaf = Some((field.form, field.kind));
            shape = if let Kind::Message(next) = field.kind { Some(next) } else { None };
        }
        leaf
    }

    /// Refuses a field that can hold several values, where there is only one to give.
    pub(crate) fn single(self) -> Result<Self, Violation> {
        if self.repeated { Err(Violation::invalid("is a list")) } else { Ok(self) }
    }

    /// The JSON path, for messages.
    pub(crate) fn name(&self, schema: &Schema) -> String {
        let (mut shape, mut names) = (schema.shape(self.shape), Vec::new());
        for &step in &self.steps {
            names.push(shape.fields[step].name());
            if let Kind::Message(next) = shape.fields[step].kind {
                shape = schema.shape(next);
            }
        }
        names.join(".")
    }

    /// The field at `position` of a message, whatever it holds.
    pub(crate) fn of(shape: usize, position: usize) -> Self {
        Self { shape, steps: Box::new([position]), repeated: false, joined: false, key: None }
    }

    /// Whether the target lies in the field at `position` of the message it starts from.
    pub(crate) fn starts_with(&self, position: usize) -> bool {
        self.steps.first() == Some(&position)
    }
}

impl Encoder<'_> {
    /// Writes `text` to the field at `target`. A reader merges it with what was written before.
    pub(crate) fn parameter(&mut self, target: &Target, text: Cow<'_, str>) -> Result<(), Violation> {
        self.step(target.shape, &target.steps, target.key.as_deref(), text)
    }

    fn step(&mut self, shape: usize, steps: &[usize], key: Option<&str>, text: Cow<'_, str>) -> Result<(), Violation> {
        let Some((&step, deeper)) = steps.split_first() else { return Ok(()) };
        let field = &self.schema.shape(shape).fields[step];
        put_tag(&mut self.out, field.number, field.kind.wire_type());
        let Kind::Message(next) = field.kind else {
            scalar::from_text(self.schema, field.kind, text)?.put(&mut self.out);
            return Ok(());
        };
        let start = open_length(&mut self.out);
        let known = self.schema.shape(next).known;
        match (known, key.filter(|_| deeper.is_empty())) {
            (None, Some(key)) => {
                self.step(next, &[0], None, Cow::Borrowed(key)).map_err(|violation| violation.within("key"))?;
                self.step(next, &[1], None, text)?;
            }
            (None, None) => self.step(next, deeper, key, text)?,
            (Some(Known::Only), _) if !self.schema.shape(next).nests() => self.step(next, &[0], None, text)?,
            (Some(Known::Value | Known::Only), _) => self.json(next, &text)?,
            (Some(known), _) => known::put_text(&mut self.out, known, &text)?,
        }
        close_length(&mut self.out, start);
        Ok(())
    }

    /// A value of any form, which is given as JSON.
    fn json(&mut self, message: usize, text: &str) -> Result<(), Violation> {
        let mut reader = Reader::new(text.as_bytes(), self.limits)?;
        self.message(self.schema.shape(message), &mut reader)?;
        reader.finish()
    }
}

/// What the entries of a map hold.
fn value_of(schema: &Schema, entry: Kind) -> Option<Kind> {
    let Kind::Message(entry) = entry else { return None };
    schema.shape(entry).fields.get(1).map(|value| value.kind)
}

fn takes_text(schema: &Schema, kind: Kind) -> bool {
    match kind {
        Kind::Group(_) => false,
        Kind::Message(index) => match schema.shape(index).known {
            Some(Known::Timestamp | Known::Duration | Known::FieldMask | Known::Value | Known::Only) => true,
            None | Some(Known::Any | Known::Empty | Known::HttpBody) => false,
        },
        _ => true,
    }
}

/// Which fields of a request were given already, so that none is given twice or beside one that excludes it.
#[derive(Default)]
pub(crate) struct Given {
    targets: BTreeSet<(Vec<usize>, Option<Box<str>>)>,
    /// By the message that a oneof stands in (as the steps to it) and the oneof: the field that was given.
    oneofs: BTreeMap<(Vec<usize>, usize), usize>,
}

impl Given {
    /// What these give; an error where one is given twice.
    pub(crate) fn of(schema: &Schema, targets: &[Target]) -> Result<Self, Violation> {
        let mut given = Self::default();
        targets.iter().try_for_each(|target| given.add(schema, target))?;
        Ok(given)
    }

    pub(crate) fn add(&mut self, schema: &Schema, target: &Target) -> Result<(), Violation> {
        let is_one = !target.repeated || target.key.is_some();
        let mut is_new = || self.targets.insert((target.steps.to_vec(), target.key.clone()));
        if is_one && !is_new() && !target.joined {
            return Err(Violation::invalid("is given twice"));
        }
        let mut shape = target.shape;
        for (depth, &step) in target.steps.iter().enumerate() {
            let field = &schema.shape(shape).fields[step];
            if let Some(oneof) = field.oneof {
                let place = (target.steps[..depth].to_vec(), oneof);
                if *self.oneofs.entry(place).or_insert(step) != step {
                    return Err(Violation::invalid("excludes another field that is given"));
                }
            }
            if let Kind::Message(next) = field.kind {
                shape = next;
            }
        }
        Ok(())
    }
}

/// The pairs of a query, decoded: `+` is a space, as in forms.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), Violation>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name).ok_or_else(|| Violation::malformed("a query parameter's name is not UTF-8"))?;
        let value = decoded(value).ok_or_else(|| Violation::malformed("is not UTF-8").within(&name))?;
        Ok((name, value))
    })
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['+', '%']) {
        return Some(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}
