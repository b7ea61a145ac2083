//! Transcoding plan: how one method is transcoded by one HTTP binding.

use std::{borrow::Cow, sync::Arc};

use accord_contract::http::{Binding, Body, Variable};
use bytes::Bytes;
use http::HeaderValue;
use prost_reflect::{FieldDescriptor, MessageDescriptor, MethodDescriptor};

use accord_wire::{WireType, close_length, open_length, put_tag};

use crate::{
    json::{Reader, Token},
    options::{Limits, Output},
    parameter::{Given, Target, pairs},
    raw,
    request::Encoder,
    response::Decoder,
    room::Room,
    schema::{Field, Schema},
    violation::{Malformed, Violation},
};

/// Why a binding does not fit its method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A message of the method is missing from the schema.
    #[error("message {0} is not part of the schema")]
    Message(String),
    /// `body` or `response_body` is a field of another message.
    #[error("field {0} is not one of the method's message")]
    Field(String),
    /// A path variable names a field that does not exist or cannot be given in a path.
    #[error(
        "path variable {variable} of {message}: {problem}; name a field that holds one value and has no \
         form of its own around it"
    )]
    Variable {
        /// The variable.
        variable: String,
        /// The message it was looked for in.
        message: String,
        /// What is wrong.
        problem: String,
    },
    /// The path gives what the body gives, or what excludes it.
    #[error("body {field}: {problem} in the path; give each field, and each oneof, in one place")]
    Body {
        /// The field that the body stands for.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

/// A method's transcoding by one binding, compiled.
#[derive(Debug, Clone)]
pub struct Plan {
    schema: Arc<Schema>,
    limits: Limits,
    input: usize,
    output: usize,
    body: BodySource,
    /// The position of the field of the answer that is sent instead of the whole.
    response: Option<usize>,
    /// What the path gives.
    variables: Box<[Target]>,
    output_form: Output,
    /// Query parameters that are of no consequence: names, or their beginnings before a `*`.
    ignored: Arc<[Box<str>]>,
    /// The binding, as its rule has it.
    binding: Option<Box<str>>,
}

/// What the body of a request stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodySource {
    Whole,
    /// By position in the message.
    Field(usize),
    Nothing,
}

impl Plan {
    /// Resolves the names in `binding`; without one, the body is the request message, as in a plain
    /// `POST /package.Service/Method`. The `schema` must come from the pool of `method`.
    pub fn compile(
        schema: &Arc<Schema>,
        method: &MethodDescriptor,
        binding: Option<&Binding>,
        limits: Limits,
    ) -> Result<Self, PlanError> {
        let index = |message: &MessageDescriptor| {
            let name = message.full_name();
            schema.index_of(name).ok_or_else(|| PlanError::Message(name.to_owned()))
        };
        let (input, output) = (index(&method.input())?, index(&method.output())?);
        let position = |message: usize, field: &FieldDescriptor| {
            let found = schema.shape(message).by_number(field.number(), 0);
            found.ok_or_else(|| PlanError::Field(field.full_name().to_owned()))
        };
        let body = match binding.map(|binding| &binding.body) {
            None | Some(Body::Whole) => BodySource::Whole,
            Some(Body::Field(field)) => BodySource::Field(position(input, field)?),
            Some(Body::None) => BodySource::Nothing,
        };
        let response = binding.and_then(|binding| binding.response_body.as_ref());
        let names = binding.into_iter().flat_map(|binding| binding.template.variables());
        let variables = path(schema, input, &method.input(), names, limits.depth)?;
        if let BodySource::Field(position) = body {
            bound_once(schema, &variables, input, position)?;
        }
        Ok(Self {
            schema: Arc::clone(schema),
            limits,
            input,
            output,
            body,
            response: response.map(|field| position(output, field)).transpose()?,
            variables,
            output_form: Output::default(),
            ignored: Arc::default(),
            binding: binding.map(|binding| binding.to_string().into()),
        })
    }

    /// The same plan, with answers written like this.
    #[must_use]
    pub fn written(self, output: Output) -> Self {
        Self { output_form: output, ..self }
    }

    /// The same plan, with query parameters of these names ignored; a name that ends with `*` stands for all that begin like it.
    #[must_use]
    pub fn ignoring(self, parameters: Arc<[Box<str>]>) -> Self {
        Self { ignored: parameters, ..self }
    }

    fn is_ignored(&self, parameter: &str) -> bool {
        self.ignored.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(begin) => parameter.starts_with(begin),
            None => **ignored == *parameter,
        })
    }

    /// The wire bytes of the request message. `variables` are those of the path, decoded, in the template's order.
    pub fn request(
        &self,
        variables: &[Cow<'_, str>],
        query: Option<&str>,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Bytes, Violation> {
        let out = Vec::with_capacity(body.len() + 16);
        let mut encoder = Encoder { schema: &self.schema, out, limits: self.limits };
        self.put_body(&mut encoder, content_type, body)?;
        if let Some(query) = query {
            self.put_query(&mut encoder, query)?;
        }
        // Last, because on the wire the last value counts: what was routed by is what the upstream sees.
        for (target, text) in self.variables.iter().zip(variables) {
            let written = encoder.parameter(target, Cow::Borrowed(text));
            written.map_err(|violation| violation.within(&target.name(&self.schema)))?;
        }
        Ok(encoder.out.into())
    }

    /// The wire bytes of the request message that a JSON text is as a whole, whatever the binding says.
    pub fn whole_request(&self, text: &[u8]) -> Result<Bytes, Violation> {
        let out = Vec::with_capacity(text.len() + 16);
        let mut encoder = Encoder { schema: &self.schema, out, limits: self.limits };
        // No text at all is what a client without arguments sends.
        if !text.is_empty() {
            let mut reader = Reader::new(text, self.limits)?;
            encoder.message(self.schema.shape(self.input), &mut reader)?;
            reader.finish()?;
        }
        Ok(encoder.out.into())
    }

    /// Writes an answer as JSON as a whole, whatever the binding says: an `HttpBody` is a message like any other.
    pub fn whole_response(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.whole_response_within(message, out, &mut |_| true)
    }

    /// The same, as long as `may_take` says yes: it is asked whether the text may take so many bytes of memory whenever it has
    /// outgrown what it was asked for last, 16 KiB at first.
    pub fn whole_response_within(
        &self,
        message: &[u8],
        out: &mut Vec<u8>,
        may_take: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(), Malformed> {
        self.decoder(out, Output::default(), may_take).message(self.schema.shape(self.output), message)
    }

    fn decoder<'a>(
        &'a self,
        out: &'a mut Vec<u8>,
        output: Output,
        may_take: &'a mut dyn FnMut(usize) -> bool,
    ) -> Decoder<'a, 'a> {
        let room = Room::new(out, may_take);
        Decoder { schema: &self.schema, out, depth: self.limits.depth, output, room }
    }

    /// The binding that it was compiled for, such as `GET /v1/products/{id}`; none for a method's own path.
    pub fn binding(&self) -> Option<&str> {
        self.binding.as_deref()
    }

    /// Whether the body goes into an `HttpBody`, which holds content of any type.
    pub fn takes_any_content(&self) -> bool {
        match self.body {
            BodySource::Whole => self.schema.is_raw(self.input),
            BodySource::Field(position) => self.schema.holds_raw(&self.schema.shape(self.input).fields[position]),
            BodySource::Nothing => false,
        }
    }

    /// Whether the answer is an `HttpBody`, which holds content of any type.
    pub fn gives_any_content(&self) -> bool {
        let shape = self.schema.shape(self.output);
        let holds = |position: usize| self.schema.holds_raw(&shape.fields[position]);
        self.schema.is_raw(self.output) || self.response.is_some_and(holds)
    }

    /// Writes an answer as JSON, or as it stands if it is an `HttpBody`; then its content type is returned.
    pub fn response(&self, message: &[u8], out: &mut Vec<u8>) -> Result<Option<HeaderValue>, Malformed> {
        self.response_within(message, out, &mut |_| true)
    }

    /// The same, as long as `may_take` says yes, which is asked as for [`Plan::whole_response_within`].
    pub fn response_within(
        &self,
        message: &[u8],
        out: &mut Vec<u8>,
        may_take: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<HeaderValue>, Malformed> {
        if self.schema.is_raw(self.output) {
            return raw::put_body(out, message).map(Some);
        }
        let shape = self.schema.shape(self.output);
        let mut decoder = self.decoder(out, self.output_form, may_take);
        let Some(position) = self.response else {
            decoder.message(shape, message)?;
            return Ok(None);
        };
        if self.schema.holds_raw(&shape.fields[position]) {
            let message = decoder.ordered(shape, message)?;
            let body = raw::field(&message, shape.fields[position].number)?;
            return raw::put_body(decoder.out, body).map(Some);
        }
        decoder.only(shape, position, message)?;
        Ok(None)
    }

    fn put_body<'s>(
        &'s self,
        encoder: &mut Encoder<'s>,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<(), Violation> {
        let shape = self.schema.shape(self.input);
        match self.body {
            BodySource::Whole if self.schema.is_raw(self.input) => {
                raw::put_message(&mut encoder.out, content_type, body);
            }
            BodySource::Field(position) if self.schema.holds_raw(&shape.fields[position]) => {
                put_tag(&mut encoder.out, shape.fields[position].number, WireType::Bytes);
                let start = open_length(&mut encoder.out);
                raw::put_message(&mut encoder.out, content_type, body);
                close_length(&mut encoder.out, start);
            }
            // No text at all is what a client without arguments sends.
            _ if body.is_empty() => {}
            BodySource::Nothing => no_body(body)?,
            BodySource::Whole => {
                let mut reader = Reader::new(body, self.limits)?;
                encoder.message(shape, &mut reader)?;
                reader.finish()?;
            }
            BodySource::Field(position) => self.put_field(encoder, &shape.fields[position], body)?,
        }
        Ok(())
    }

    /// A body that is one field of the message.
    fn put_field<'s>(&'s self, encoder: &mut Encoder<'s>, field: &'s Field, body: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(body, self.limits)?;
        if reader.peek()? == Token::Null && !encoder.takes_null(field) {
            reader.null()?;
        } else {
            encoder.field(field, &mut reader).map_err(|violation| violation.within(field.name()))?;
        }
        reader.finish()
    }

    fn put_query(&self, encoder: &mut Encoder<'_>, query: &str) -> Result<(), Violation> {
        let mut given = Given::of(&self.schema, &self.variables)?;
        if let BodySource::Field(position) = self.body
            && !encoder.out.is_empty()
        {
            given.add(&self.schema, &Target::of(self.input, position))?;
        }
        for pair in pairs(query) {
            let (name, value) = pair?;
            if self.is_ignored(&name) {
                continue;
            }
            if self.body == BodySource::Whole {
                return Err(Violation::unknown(&name, "the method takes no query parameters"));
            }
            let target = Target::resolve(&self.schema, self.input, &name, self.limits.depth)?;
            let bound = matches!(self.body, BodySource::Field(position) if target.starts_with(position));
            if bound || self.variables.contains(&target) {
                return Err(Violation::unknown(&name, "is given by the path or the body"));
            }
            let written = given.add(&self.schema, &target).and_then(|()| encoder.parameter(&target, value));
            written.map_err(|violation| violation.within(&name))?;
        }
        Ok(())
    }
}

/// Where all is given by path and query. Many libraries send an empty object all the same.
fn no_body(body: &[u8]) -> Result<(), Violation> {
    let is_empty = |mut reader: Reader<'_>| {
        reader.object()?;
        let is_empty = reader.key(&mut true)?.is_none();
        reader.finish().map(|()| is_empty)
    };
    match Reader::new(body, Limits { depth: 1, ..Limits::default() }).and_then(is_empty) {
        Ok(true) => Ok(()),
        _ => Err(Violation::malformed("the method takes no body: send none, or `{}`")),
    }
}

/// The field of the body must not be one that the path gives.
fn bound_once(schema: &Schema, variables: &[Target], input: usize, position: usize) -> Result<(), PlanError> {
    let given = Given::of(schema, variables);
    given.and_then(|mut given| given.add(schema, &Target::of(input, position))).map_err(|violation| PlanError::Body {
        field: schema.shape(input).fields[position].name().to_owned(),
        problem: violation.problem,
    })
}

/// The fields that the variables of a path set, none of them twice.
fn path<'b>(
    schema: &Schema,
    input: usize,
    message: &MessageDescriptor,
    variables: impl Iterator<Item = &'b Variable>,
    depth: usize,
) -> Result<Box<[Target]>, PlanError> {
    let (mut targets, mut given) = (Vec::new(), Given::default());
    for variable in variables {
        let target = Target::resolve(schema, input, &variable.field, depth).and_then(Target::single);
        let target = target.and_then(|target| given.add(schema, &target).map(|()| target));
        targets.push(target.map_err(|violation| PlanError::Variable {
            variable: variable.field.clone(),
            message: message.full_name().to_owned(),
            problem: violation.problem,
        })?);
    }
    Ok(targets.into())
}
