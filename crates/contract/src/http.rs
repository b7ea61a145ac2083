//! HTTP bindings: `google.api.http` with its whole path template grammar, parsed and resolved.
//!
//! ```text
//! Template = "/" Segments [ ":" Verb ]        Segment  = "*" | "**" | LITERAL | Variable
//! Segments = Segment { "/" Segment }          Variable = "{" FieldPath [ "=" Segments ] "}"
//! ```

use std::fmt::{self, Write};
use std::str::FromStr;

use prost_reflect::FieldDescriptor;

/// One way in which a method is reached over HTTP.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The HTTP method, such as `GET`; `*` is any.
    pub method: String,
    /// The path.
    pub template: PathTemplate,
    /// What the HTTP body is.
    pub body: Body,
    /// The field of the answer that makes the HTTP body; the whole answer where there is none.
    pub response_body: Option<FieldDescriptor>,
}

/// What an HTTP request body is mapped to. What neither path nor body sets comes from the query.
#[derive(Clone, Debug)]
pub enum Body {
    /// There is no body: everything else comes from the query.
    None,
    /// Everything that the path doesn't set; there is no query.
    Whole,
    /// One field of the request.
    Field(FieldDescriptor),
}

/// A parsed path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// Its segments; never empty.
    pub segments: Vec<Segment>,
    /// What follows the last colon.
    pub verb: Option<String>,
}

/// A segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `*`: one segment.
    One,
    /// `**`: any number of segments. Stands once at most.
    Rest,
    /// Segments whose text sets a field.
    Variable(Variable),
}

/// A variable in a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The field it sets, such as `product.id`.
    pub field: String,
    /// What it matches: `*` where the template doesn't say. Holds no variable.
    pub segments: Vec<Segment>,
}

/// A path template outside the grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    /// It is relative.
    #[error("a path template starts with `/`")]
    NotAbsolute,
    /// Two slashes without anything between, or a slash at the end.
    #[error("a segment is empty")]
    EmptySegment,
    /// A brace without its other half.
    #[error("a brace is not closed or not opened")]
    Brace,
    /// A variable in a variable.
    #[error("a variable holds another variable")]
    NestedVariable,
    /// Not a dotted name.
    #[error("`{0}` is not a field path")]
    FieldPath(String),
    /// A field that is set twice.
    #[error("the field `{0}` is set twice")]
    Twice(String),
    /// `**` more than once: which of them a segment belongs to could not be told.
    #[error("`**` stands twice")]
    RestTwice,
    /// A colon within what follows a colon.
    #[error("`{0}` is not a verb: it holds another colon")]
    Verb(String),
    /// A character with a meaning, or one that no path has.
    #[error(
        "`{0}` is not a literal: write what is not a letter, a digit or one of `-._~!$&'()+,;@` as `%` and two digits"
    )]
    Literal(String),
}

impl PathTemplate {
    /// The variables in the order of their appearance.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(variable) => Some(variable),
            _ => None,
        })
    }

    /// The paths it matches, without the names of variables: two templates with the same shape match the same paths.
    pub fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Variable(variable) => variable.segments.iter().for_each(|inner| push(&mut shape, inner)),
                plain => push(&mut shape, plain),
            }
        }
        if let Some(verb) = &self.verb {
            shape.push(':');
            shape.push_str(verb);
        }
        shape
    }

    /// How many segments stand before `**`, and how many there are in all, itself counted as one; none where it has none.
    pub fn rest(&self) -> Option<(usize, usize)> {
        let place = self.flat().position(|segment| *segment == Segment::Rest)?;
        Some((place, self.flat().count()))
    }

    /// The segments without the braces around some of them.
    fn flat(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().flat_map(|segment| match segment {
            Segment::Variable(variable) => variable.segments.as_slice(),
            plain => std::slice::from_ref(plain),
        })
    }

    fn check(self) -> Result<Self, PathTemplateError> {
        if self.flat().filter(|segment| **segment == Segment::Rest).count() > 1 {
            return Err(PathTemplateError::RestTwice);
        }
        for (index, variable) in self.variables().enumerate() {
            if self.variables().take(index).any(|other| other.field == variable.field) {
                return Err(PathTemplateError::Twice(variable.field.clone()));
            }
        }
        Ok(self)
    }
}

impl FromStr for PathTemplate {
    type Err = PathTemplateError;

    fn from_str(text: &str) -> Result<Self, PathTemplateError> {
        let path = text.strip_prefix('/').ok_or(PathTemplateError::NotAbsolute)?;
        let last = path.rfind(['/', '}']).unwrap_or_default();
        let (path, verb) = match path[last..].split_once(':') {
            Some((_, verb)) if verb.contains(':') => return Err(PathTemplateError::Verb(verb.to_owned())),
            Some((before, verb)) => (&path[..last + before.len()], Some(literal(verb)?)),
            None => (path, None),
        };
        let segments = split(path)?.into_iter().map(segment).collect::<Result<_, _>>()?;
        Self { segments, verb }.check()
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            write!(formatter, "/{segment}")?;
        }
        match &self.verb {
            Some(verb) => write!(formatter, ":{verb}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => formatter.write_str(literal),
            Self::One => formatter.write_char('*'),
            Self::Rest => formatter.write_str("**"),
            Self::Variable(variable) => {
                write!(formatter, "{{{}", variable.field)?;
                if variable.segments != [Segment::One] {
                    let segments: Vec<_> = variable.segments.iter().map(ToString::to_string).collect();
                    write!(formatter, "={}", segments.join("/"))?;
                }
                formatter.write_char('}')
            }
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.template)
    }
}

fn push(shape: &mut String, segment: &Segment) {
    shape.push('/');
    shape.push_str(&segment.to_string());
}

/// Splits at the slashes outside braces.
fn split(path: &str) -> Result<Vec<&str>, PathTemplateError> {
    let (mut pieces, mut start, mut inside) = (Vec::new(), 0, false);
    for (index, character) in path.char_indices() {
        match character {
            '{' if inside => return Err(PathTemplateError::NestedVariable),
            '{' => inside = true,
            '}' if !inside => return Err(PathTemplateError::Brace),
            '}' => inside = false,
            '/' if !inside => {
                pieces.push(&path[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(PathTemplateError::Brace);
    }
    pieces.push(&path[start..]);
    Ok(pieces)
}

fn segment(text: &str) -> Result<Segment, PathTemplateError> {
    let Some(inner) = text.strip_prefix('{') else {
        return plain(text);
    };
    let inner = inner.strip_suffix('}').ok_or(PathTemplateError::Brace)?;
    let (field, segments) = match inner.split_once('=') {
        Some((field, segments)) => (field, segments.split('/').map(plain).collect::<Result<_, _>>()?),
        None => (inner, vec![Segment::One]),
    };
    if !field.split('.').all(is_identifier) {
        return Err(PathTemplateError::FieldPath(field.to_owned()));
    }
    Ok(Segment::Variable(Variable { field: field.to_owned(), segments }))
}

fn plain(text: &str) -> Result<Segment, PathTemplateError> {
    match text {
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Rest),
        text => literal(text).map(Segment::Literal),
    }
}

fn literal(text: &str) -> Result<String, PathTemplateError> {
    match text {
        "" => Err(PathTemplateError::EmptySegment),
        // A segment of dots is folded away by clients and proxies before it could match.
        "." | ".." => Err(PathTemplateError::Literal(text.to_owned())),
        text if text.bytes().all(is_plain) && text.split('%').skip(1).all(is_escape) => Ok(text.to_owned()),
        text => Err(PathTemplateError::Literal(text.to_owned())),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;@%".contains(&byte)
}

/// Whether what follows a `%` makes an escape: without one, no path could ever match.
fn is_escape(text: &str) -> bool {
    text.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

fn is_identifier(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PathTemplate, PathTemplateError> {
        text.parse()
    }

    #[test]
    fn path_template_is_written_back_as_it_was_read() {
        for text in [
            "/v1/products%2Fa",
            "/v1/{id}",
            "/v1/{a=x/**}/{b}/c",
            "/v1/{a.b=shelves/*/books/**}:move",
            "/v1/*/{x}/**",
            "/v1/products:watch",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let template = parse("/v1/{name=shelves/*}:read").unwrap();
        assert_eq!(template.verb.as_deref(), Some("read"));
        let variable = template.variables().next().unwrap();
        assert_eq!(variable.field, "name");
        assert_eq!(variable.segments, [Segment::Literal("shelves".into()), Segment::One]);
    }

    #[test]
    fn path_template_shape_forgets_names_only() {
        let shape = |text| parse(text).unwrap().shape();
        assert_eq!(shape("/v1/{id}"), shape("/v1/{other.id=*}"));
        assert_eq!(shape("/v1/{name=shelves/*}"), shape("/v1/shelves/{id}"));
        assert_ne!(shape("/v1/{id}"), shape("/v1/{id}:watch"));
        assert_ne!(shape("/v1/{id}"), shape("/v1/{id=**}"));
    }

    #[test]
    fn path_template_outside_the_grammar_is_refused() {
        use PathTemplateError as E;
        let cases = [
            ("v1", E::NotAbsolute),
            ("", E::NotAbsolute),
            ("/", E::EmptySegment),
            ("/v1//x", E::EmptySegment),
            ("/v1/", E::EmptySegment),
            ("/v1/x:", E::EmptySegment),
            ("/v1/{id", E::Brace),
            ("/v1/id}", E::Brace),
            ("/v1/{id}x", E::Brace),
            ("/v1/{a={b}}", E::NestedVariable),
            ("/v1/{}", E::FieldPath(String::new())),
            ("/v1/{a..b}", E::FieldPath("a..b".into())),
            ("/v1/{a}/{a}", E::Twice("a".into())),
            ("/v1/**/x/**", E::RestTwice),
            ("/v1/{a=**}/{b=x/**}", E::RestTwice),
            ("/v1/{x}:d:e", E::Verb("d:e".into())),
            ("/v1/x:d:e", E::Verb("d:e".into())),
            ("/v1/a b", E::Literal("a b".into())),
            ("/v1/..", E::Literal("..".into())),
            ("/v1/100%", E::Literal("100%".into())),
            ("/v1/%zz", E::Literal("%zz".into())),
            ("/v1/x*", E::Literal("x*".into())),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
