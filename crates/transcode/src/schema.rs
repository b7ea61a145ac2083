//! Descriptors, compiled into the tables that transcoding needs.

mod declaration;

use std::{collections::HashMap, fmt};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as Declared, MessageDescriptor};

use accord_wire::WireType;

use self::declaration::Declaration;
use crate::{enumeration::Names, member_name::MemberName};

/// Every message and enum of a descriptor pool, compiled. Made once per pool and shared by its plans.
pub struct Schema {
    shapes: Vec<Shape>,
    enums: Vec<Names>,
    by_name: HashMap<Box<str>, usize>,
}

impl Schema {
    /// Compiles all messages of `pool`, which is also where the types of `google.protobuf.Any` are looked up.
    pub fn compile(pool: &DescriptorPool) -> Self {
        let mut compiler = Compiler::default();
        for (index, message) in pool.all_messages().enumerate() {
            compiler.messages.insert(message.full_name().into(), index);
        }
        let shapes = pool.all_messages().map(|message| compiler.shape(&message)).collect();
        Self { shapes, enums: compiler.enums, by_name: compiler.messages }
    }

    pub(crate) fn shape(&self, index: usize) -> &Shape {
        &self.shapes[index]
    }

    pub(crate) fn names(&self, index: usize) -> &Names {
        &self.enums[index]
    }

    /// Whether a message is a body as it stands.
    pub(crate) fn is_raw(&self, index: usize) -> bool {
        self.shape(index).known == Some(Known::HttpBody)
    }

    /// Whether a field holds a body as it stands.
    pub(crate) fn holds_raw(&self, field: &Field) -> bool {
        matches!((field.form, field.kind), (Form::Single { .. }, Kind::Message(index)) if self.is_raw(index))
    }

    pub(crate) fn index_of(&self, full_name: &str) -> Option<usize> {
        self.by_name.get(full_name).copied()
    }

    /// The message that the URL in a `google.protobuf.Any` names behind its last slash.
    pub(crate) fn by_type_url(&self, url: &str) -> Option<&Shape> {
        let (_, name) = url.rsplit_once('/')?;
        Some(self.shape(self.index_of(name)?))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Schema").field("messages", &self.shapes.len()).finish_non_exhaustive()
    }
}

/// A message type.
pub(crate) struct Shape {
    pub(crate) known: Option<Known>,
    /// By ascending number.
    pub(crate) fields: Box<[Field]>,
    /// JSON names and proto names, sorted.
    by_name: Box<[ByName]>,
}

/// A name of a field: where the field stands, and which of its names it is.
#[derive(Clone, Copy)]
struct ByName {
    index: u32,
    is_proto: bool,
}

impl Shape {
    /// Whether its JSON form is an object or an array, and so a level of nesting.
    pub(crate) fn nests(&self) -> bool {
        match self.known {
            None | Some(Known::Any | Known::Empty | Known::HttpBody) => true,
            Some(Known::Only) => !matches!(self.fields[0].form, Form::Single { .. }),
            Some(Known::Timestamp | Known::Duration | Known::FieldMask | Known::Value) => false,
        }
    }

    /// The proto name of a field as it stands in an object; that of an extension is its JSON name.
    pub(crate) fn proto_key(&self, index: usize) -> &[u8] {
        let field = &self.fields[index];
        field.proto_name.as_ref().unwrap_or(&field.name).key()
    }

    /// `expected` is tried first: most JSON comes in the order of declaration.
    #[inline]
    pub(crate) fn by_name(&self, name: &str, expected: usize) -> Option<usize> {
        if self.fields.get(expected).is_some_and(|field| field.name() == name) {
            return Some(expected);
        }
        let found = self.by_name.binary_search_by(|known| known.of(&self.fields).cmp(name)).ok()?;
        Some(self.by_name[found].index as usize)
    }

    /// `expected` is tried first: encoders write fields in order.
    #[inline]
    pub(crate) fn by_number(&self, number: u32, expected: usize) -> Option<usize> {
        if self.fields.get(expected).is_some_and(|field| field.number == number) {
            return Some(expected);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

/// A field of a message.
pub(crate) struct Field {
    pub(crate) number: u32,
    /// The JSON name.
    name: MemberName,
    /// The proto name, where it is another one.
    proto_name: Option<MemberName>,
    pub(crate) form: Form,
    /// The kind of the value, of each element of a list, of each entry of a map.
    pub(crate) kind: Kind,
    /// Position of the oneof (synthetic ones excepted) in its message.
    pub(crate) oneof: Option<usize>,
}

impl ByName {
    fn of(self, fields: &[Field]) -> &str {
        let field = &fields[self.index as usize];
        match &field.proto_name {
            Some(name) if self.is_proto => name.text(),
            _ => field.name(),
        }
    }
}

impl Field {
    /// The JSON name.
    #[inline]
    pub(crate) fn name(&self) -> &str {
        self.name.text()
    }

    /// The JSON name as it stands in an object, `"name":`.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        self.name.key()
    }

    /// Whether its absence is told from its default value. An extension is never there unless it was set.
    pub(crate) fn has_presence(&self) -> bool {
        matches!(self.form, Form::Single { implicit: false }) || self.name().starts_with('[')
    }
}

/// How many values a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// At most one. An implicit field at its default is as good as absent.
    Single { implicit: bool },
    /// Any number in order.
    List { packed: bool },
    /// By key. `kind` is the message of one entry.
    Map,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Sint32,
    Sfixed32,
    Uint32,
    Fixed32,
    Int64,
    Sint64,
    Sfixed64,
    Uint64,
    Fixed64,
    Float,
    Double,
    String,
    Bytes,
    /// By position in the schema, like the two that follow.
    Enum(usize),
    Message(usize),
    Group(usize),
}

impl Kind {
    pub(crate) fn wire_type(self) -> WireType {
        match self {
            Self::Sfixed32 | Self::Fixed32 | Self::Float => WireType::Fixed32,
            Self::Sfixed64 | Self::Fixed64 | Self::Double => WireType::Fixed64,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Bytes,
            Self::Group(_) => WireType::StartGroup,
            _ => WireType::Varint,
        }
    }

    pub(crate) fn is_message(self) -> bool {
        matches!(self, Self::Message(_) | Self::Group(_))
    }

    /// Whether a list may come as one run of bytes. Both forms have to be read, whichever is declared.
    pub(crate) fn is_packable(self) -> bool {
        !matches!(self.wire_type(), WireType::Bytes | WireType::StartGroup)
    }
}

/// A message with a JSON form of its own: <https://protobuf.dev/programming-guides/json/>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A time of RFC 3339.
    Timestamp,
    /// Seconds and an `s`.
    Duration,
    /// Paths, separated by commas.
    FieldMask,
    /// A message with its type in `@type`.
    Any,
    /// Any JSON value.
    Value,
    /// Wrappers, `Struct` and `ListValue`: the form of their only field.
    Only,
    /// Looks like any message. Within `Any` it may come wrapped like a known one.
    Empty,
    /// A body as it stands, where it is the whole body.
    HttpBody,
}

impl Known {
    /// The form of a message, where it has one of its own.
    pub fn of(message: &MessageDescriptor) -> Option<Self> {
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        Self::named(message.full_name()).filter(|known| known.fits(&fields))
    }

    fn named(full_name: &str) -> Option<Self> {
        match full_name.strip_prefix("google.protobuf.") {
            Some("Timestamp") => Some(Self::Timestamp),
            Some("Duration") => Some(Self::Duration),
            Some("FieldMask") => Some(Self::FieldMask),
            Some("Any") => Some(Self::Any),
            Some("Value") => Some(Self::Value),
            Some(
                "Struct" | "ListValue" | "BoolValue" | "StringValue" | "BytesValue" | "FloatValue" | "DoubleValue"
                | "Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value",
            ) => Some(Self::Only),
            Some("Empty") => Some(Self::Empty),
            _ => (full_name == "google.api.HttpBody").then_some(Self::HttpBody),
        }
    }

    /// Descriptors come from others, so that a name alone does not prove the fields that transcoding counts on. Above all
    /// no form may be that of a message within, which could be the same again without an end.
    fn fits(self, fields: &[FieldDescriptor]) -> bool {
        let plain = |field: &FieldDescriptor| field.kind().as_message().is_none();
        let is = |field: &FieldDescriptor, name: &str| {
            field.kind().as_message().is_some_and(|message| message.full_name() == name)
        };
        match (self, fields) {
            (Self::Value, [scalars @ .., object, array]) if scalars.len() == 4 => {
                let nested = is(object, "google.protobuf.Struct") && is(array, "google.protobuf.ListValue");
                nested && scalars.iter().all(plain)
            }
            (Self::Only, [only]) => plain(only) || only.is_list() || only.is_map(),
            (Self::Value | Self::Only, _) => false,
            _ => true,
        }
    }

    /// Whether `Any` holds this message under `value` rather than with its fields beside `@type`.
    pub(crate) fn wrapped_in_any(self) -> bool {
        !matches!(self, Self::Empty | Self::HttpBody)
    }
}

/// Finds messages and enums that refer to each other, while the tables grow.
#[derive(Default)]
struct Compiler {
    messages: HashMap<Box<str>, usize>,
    enums: Vec<Names>,
    enums_by_name: HashMap<Box<str>, usize>,
}

impl Compiler {
    fn shape(&mut self, message: &MessageDescriptor) -> Shape {
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        let known = Known::of(message);
        let mut declared: Vec<_> = fields.iter().map(|field| Declaration::field(message, field)).collect();
        if known.is_none() {
            declared.extend(message.extensions().map(|extension| Declaration::extension(&extension)));
            declared.sort_by_key(|field| field.number);
        }
        let fields: Box<[_]> = declared.into_iter().map(|field| self.field(field)).collect();
        Shape { known, by_name: by_name(&fields), fields }
    }

    fn field(&mut self, declared: Declaration) -> Field {
        let proto_name = declared.name.filter(|name| *name != declared.json_name);
        Field {
            number: declared.number,
            kind: self.kind(&declared.kind, declared.is_group),
            name: MemberName::new(&declared.json_name),
            proto_name: proto_name.map(|name| MemberName::new(&name)),
            form: declared.form,
            oneof: declared.oneof,
        }
    }

    fn kind(&mut self, declared: &Declared, is_group: bool) -> Kind {
        match declared {
            Declared::Bool => Kind::Bool,
            Declared::Int32 => Kind::Int32,
            Declared::Sint32 => Kind::Sint32,
            Declared::Sfixed32 => Kind::Sfixed32,
            Declared::Uint32 => Kind::Uint32,
            Declared::Fixed32 => Kind::Fixed32,
            Declared::Int64 => Kind::Int64,
            Declared::Sint64 => Kind::Sint64,
            Declared::Sfixed64 => Kind::Sfixed64,
            Declared::Uint64 => Kind::Uint64,
            Declared::Fixed64 => Kind::Fixed64,
            Declared::Float => Kind::Float,
            Declared::Double => Kind::Double,
            Declared::String => Kind::String,
            Declared::Bytes => Kind::Bytes,
            Declared::Enum(declared) => Kind::Enum(self.names(declared)),
            Declared::Message(message) if is_group => Kind::Group(self.messages[message.full_name()]),
            Declared::Message(message) => Kind::Message(self.messages[message.full_name()]),
        }
    }

    fn names(&mut self, declared: &EnumDescriptor) -> usize {
        if let Some(&index) = self.enums_by_name.get(declared.full_name()) {
            return index;
        }
        self.enums.push(Names::compile(declared));
        self.enums_by_name.insert(declared.full_name().into(), self.enums.len() - 1);
        self.enums.len() - 1
    }
}

/// All names of fields, sorted. A JSON name goes before an equal proto name of another field.
fn by_name(fields: &[Field]) -> Box<[ByName]> {
    let indexes = || (0..).zip(fields);
    let json = indexes().map(|(index, _)| ByName { index, is_proto: false });
    let has_proto_name = |(_, field): &(u32, &Field)| field.proto_name.is_some();
    let proto = indexes().filter(has_proto_name).map(|(index, _)| ByName { index, is_proto: true });
    let mut names: Vec<_> = json.chain(proto).collect();
    names.sort_by(|left, right| left.of(fields).cmp(right.of(fields)));
    names.dedup_by(|left, right| left.of(fields) == right.of(fields));
    names.into()
}
