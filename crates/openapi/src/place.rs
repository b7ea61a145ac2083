//! Paths of `google.api.http` as OpenAPI writes them.
//!
//! OpenAPI knows variables of one segment alone. A variable that matches one segment, `{id}`, keeps its field's path as its name.
//! Of one that matches more, `{name=shops/*/items/*}`, the literals stand as they are and each `*` or `**` is a parameter: named
//! by the field where it is the only one, `{name}`, else with its number, `/shops/{name.1}/items/{name.2}`. Wildcards without a
//! variable are `{*1}`, `{*2}`. Paths that differ in these names alone are one path in OpenAPI: the first gives the names.

use std::collections::HashMap;
use std::fmt::Write;

use accord_contract::http::{PathTemplate, Segment};

/// Where an operation stands.
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) parameters: Vec<PathParameter>,
}

/// A parameter in a path.
pub(crate) struct PathParameter {
    /// Its name in the path.
    pub(crate) name: String,
    /// The field that it sets, or a part of whose value it is.
    pub(crate) field: Option<String>,
    /// What the field's whole value looks like, where that is not the parameter.
    pub(crate) template: Option<String>,
    /// Whether it stands for any number of segments.
    pub(crate) is_rest: bool,
}

/// The names of the parameters of each path, by what the path looks like without them.
#[derive(Default)]
pub(crate) struct Places(HashMap<String, Vec<String>>);

impl Places {
    /// The place of a template, with the names that the first one of this look gave.
    pub(crate) fn of(&mut self, template: &PathTemplate) -> Place {
        let (literals, mut parameters) = parts(template);
        let verb = template.verb.as_ref().map(|verb| format!(":{verb}")).unwrap_or_default();
        let look = literals.join("/{}") + &verb;
        let own = || parameters.iter().map(|parameter| parameter.name.clone()).collect::<Vec<_>>();
        let names = self.0.entry(look).or_insert_with(own);
        let mut path = literals.first().cloned().unwrap_or_default();
        for ((parameter, name), literal) in parameters.iter_mut().zip(names).zip(literals.iter().skip(1)) {
            parameter.name.clone_from(name);
            write!(path, "/{{{name}}}{literal}").unwrap_or_default();
        }
        Place { path: path + &verb, parameters }
    }
}

/// The literals around the parameters, each with the slashes before its segments, and the parameters.
fn parts(template: &PathTemplate) -> (Vec<String>, Vec<PathParameter>) {
    let (mut literals, mut parameters, mut unnamed) = (vec![String::new()], Vec::new(), 0);
    for segment in &template.segments {
        let (field, segments) = match segment {
            Segment::Variable(variable) => (Some(&variable.field), &variable.segments[..]),
            plain => (None, std::slice::from_ref(plain)),
        };
        let wildcards = segments.iter().filter(|segment| !matches!(segment, Segment::Literal(_))).count();
        let whole = segments.iter().map(ToString::to_string).collect::<Vec<_>>().join("/");
        let mut number = 0;
        for segment in segments {
            if let Segment::Literal(text) = segment {
                literals.last_mut().into_iter().for_each(|literal| literal.extend(["/", text]));
                continue;
            }
            number += 1;
            unnamed += usize::from(field.is_none());
            let name = match field {
                Some(field) if wildcards == 1 => field.clone(),
                Some(field) => format!("{field}.{number}"),
                None => format!("*{unnamed}"),
            };
            let template = field.filter(|_| segments.len() > 1).map(|_| whole.clone());
            parameters.push(PathParameter {
                name,
                field: field.cloned(),
                template,
                is_rest: *segment == Segment::Rest,
            });
            literals.push(String::new());
        }
    }
    (literals, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(places: &mut Places, template: &str) -> String {
        places.of(&template.parse().unwrap()).path
    }

    #[test]
    fn template_is_written_with_a_parameter_for_each_wildcard() {
        for (template, expected) in [
            ("/v1/products", "/v1/products"),
            ("/v1/products/{product.id}:read", "/v1/products/{product.id}:read"),
            ("/v1/{name=shops/*/items/*}/x", "/v1/shops/{name.1}/items/{name.2}/x"),
            ("/v1/{name=shops/*}", "/v1/shops/{name}"),
            ("/v1/{a}/{path=**}", "/v1/{a}/{path}"),
            ("/v1/*/a/**", "/v1/{*1}/a/{*2}"),
            ("/v1/{name=shops/default}", "/v1/shops/default"),
        ] {
            assert_eq!(path(&mut Places::default(), template), expected);
        }
    }

    #[test]
    fn paths_that_differ_in_names_alone_are_one_path() {
        let mut places = Places::default();
        assert_eq!(path(&mut places, "/v1/products/{id}"), "/v1/products/{id}");
        let place = places.of(&"/v1/products/{product.id}".parse().unwrap());
        assert_eq!((&*place.path, place.parameters[0].field.as_deref()), ("/v1/products/{id}", Some("product.id")));
        assert_eq!(path(&mut places, "/v1/products/{id}:read"), "/v1/products/{id}:read");
    }
}
