//! Templates over the columns of a row: `product/{id}`.

/// Longest name in PostgreSQL, in bytes.
const LONGEST_NAME: usize = 63;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Taken as it is.
    Literal(String),
    /// A column.
    Column(String),
}

impl Template {
    /// Reads a template; why it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
            if literal.contains('}') {
                return Err("a brace is closed that was not opened");
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            if literal.len() == rest.len() {
                break;
            }
            let (column, after) = after.split_once('}').ok_or("a brace is not closed")?;
            if !is_name(column) {
                return Err("what stands in braces is no column");
            }
            parts.push(Part::Column(column.to_owned()));
            rest = after;
        }
        if parts.is_empty() { Err("it is empty") } else { Ok(Self(parts)) }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.0
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Column(column) => Some(&**column),
            Part::Literal(_) => None,
        })
    }
}

/// Whether it can be quoted as a name in SQL.
pub(super) fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && !text.contains(['"', '.', '{', '}', '$', '\\', '\'', '%', '\0'])
}

/// The tag of these pieces, literals and values by turns, the first of them a literal. Values are escaped as a contract's are.
pub(super) fn tag(pieces: &[String]) -> String {
    let piece = |(index, piece): (usize, &String)| {
        if index % 2 == 0 { piece.clone() } else { accord_wire::escape(piece).to_string() }
    };
    pieces.iter().enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_read_into_literals_and_columns() {
        let (literal, column) = (|it: &str| Part::Literal(it.to_owned()), |it: &str| Part::Column(it.to_owned()));
        let parsed = |text| Template::parse(text).map(|template| template.0);
        assert_eq!(parsed("product/{id}"), Ok(vec![literal("product/"), column("id")]));
        assert_eq!(parsed("{a}{b} x"), Ok(vec![column("a"), column("b"), literal(" x")]));
        assert_eq!(parsed("products"), Ok(vec![literal("products")]));
        for wrong in ["", "{", "a}", "{}", "{a", "{a\"b}", "a{b}}"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_of_a_tag_are_escaped_as_those_of_a_contract_and_literals_are_not() {
        let pieces = ["p/", "a/b%{c}\n", "/", "ü"].map(str::to_owned);
        assert_eq!(tag(&pieces), "p/a%2Fb%25%7Bc%7D%0A/%C3%BC");
    }
}
