//! Path templates: the parser takes what the grammar makes, writes it back as it was, and a path made of a template leads to it.

use accord_contract::{
    compile_template,
    http::{PathTemplate, Segment},
};
use accord_transcode::{NoMatch, Routes};
use http::Method;

use crate::{Target, schemas::sink};

pub(crate) const TARGET: Target = Target {
    name: "template",
    check,
    tokens: &[
        "/",
        "{",
        "}",
        "=",
        "*",
        "**",
        "{a=**}",
        "{a.b}",
        ":",
        ":verb",
        "%2F",
        "v1",
        ".",
        "..",
        "response.",
        "text",
    ],
};

fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parsed = text.parse::<PathTemplate>();
    assert_eq!(parsed.is_ok(), Grammar::takes(text), "{parsed:?} is not what the grammar says");
    if let Ok(template) = parsed {
        assert_eq!(template.to_string().parse().as_ref(), Ok(&template), "written and read back");
        leads_to_itself(&template);
    }
    let descriptor = sink().descriptor();
    if let Ok(template) = compile_template(text, &descriptor, &descriptor) {
        let tag = template.expand(&[], Some(&[])).expect("an empty message is one");
        let literals = template.beginning();
        assert!(tag.is_some_and(|tag| tag.starts_with(literals)), "the tag begins otherwise");
    }
}

/// A path with `x` for one segment and `y/z` for any number.
fn leads_to_itself(template: &PathTemplate) {
    let piece = |segment: &Segment| match segment {
        Segment::One => "/x".to_owned(),
        Segment::Rest => "/y/z".to_owned(),
        other => format!("/{other}"),
    };
    let mut path = String::new();
    for segment in &template.segments {
        match segment {
            Segment::Variable(variable) => path.extend(variable.segments.iter().map(piece)),
            plain => path.push_str(&piece(plain)),
        }
    }
    if let Some(verb) = &template.verb {
        path.push(':');
        path.push_str(verb);
    }
    let routes = Routes::build([("GET", template, ())]).expect("one template is no clash");
    match routes.find(&Method::GET, &path) {
        Ok(found) => assert_eq!(found.variables.len(), template.variables().count()),
        // What a literal has in escapes may be what no path may have.
        Err(NoMatch::NotCanonical(_)) if path.contains('%') => {}
        Err(problem) => panic!("{path}: {problem}"),
    }
}

/// The grammar of `google.api.http`, read from front to back.
#[derive(Default)]
struct Grammar<'a> {
    rest: &'a str,
    segments: usize,
    double_stars: usize,
    fields: Vec<&'a str>,
}

impl<'a> Grammar<'a> {
    fn takes(text: &'a str) -> bool {
        let mut grammar = Self { rest: text, ..Self::default() };
        while grammar.eat("/") {
            if !(if grammar.rest.starts_with('{') { grammar.variable() } else { grammar.plain() }) {
                return false;
            }
        }
        let has_verb = grammar.eat(":");
        if (has_verb && !grammar.literal()) || !grammar.rest.is_empty() {
            return false;
        }
        let fields = &grammar.fields;
        let is_twice = fields.iter().enumerate().any(|(index, field)| fields[..index].contains(field));
        grammar.segments > 0 && grammar.double_stars < 2 && !is_twice
    }

    fn eat(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn word(&mut self, is_in: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !is_in(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn plain(&mut self) -> bool {
        self.segments += 1;
        if self.eat("**") {
            self.double_stars += 1;
            return true;
        }
        self.eat("*") || self.literal()
    }

    fn literal(&mut self) -> bool {
        let text = self.word(|letter| letter.is_ascii_alphanumeric() || "-._~!$&'()+,;@%".contains(letter));
        let is_escape =
            |escape: &str| escape.len() >= 2 && escape.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
        !["", ".", ".."].contains(&text) && text.split('%').skip(1).all(is_escape)
    }

    fn variable(&mut self) -> bool {
        self.eat("{");
        let field = self.word(|letter| letter.is_ascii_alphanumeric() || "_.".contains(letter));
        self.fields.push(field);
        let is_name = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !field.split('.').all(is_name) {
            return false;
        }
        if self.eat("=") {
            while self.plain() {
                if !self.eat("/") {
                    return self.eat("}");
                }
            }
            return false;
        }
        self.segments += 1;
        self.eat("}")
    }
}
