//! `--output`: what commands show, for people or for programs.

use std::fmt::Display;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::output::print;

/// The flag of every command that shows something.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputFlag {
    /// How it is written: `text`, for people, or `json`, for programs.
    // Help of single values would make clap lay out the whole help of this command otherwise than of the others.
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    output: Output,
}

/// How something is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs: an object, or an array of them.
    Json,
}

impl OutputFlag {
    /// Whether it is for programs.
    pub fn is_json(self) -> bool {
        matches!(self.output, Output::Json)
    }

    /// Prints one thing: all of it as text (`{:#}`), or as an object on a line.
    pub fn print(self, shown: &(impl Serialize + Display)) -> anyhow::Result<()> {
        if self.is_json() {
            return print(serde_json::to_string(shown)? + "\n");
        }
        print(format_args!("{shown:#}"))
    }

    /// Begins a list, so long that it is printed page by page.
    pub fn list(self) -> List {
        List { is_json: self.is_json(), is_empty: true }
    }
}

/// A list that is printed page by page: a line each (`{}`), or an array of objects.
#[derive(Debug)]
#[must_use = "an array is closed by `end`"]
pub struct List {
    is_json: bool,
    is_empty: bool,
}

impl List {
    /// Prints one page more.
    pub fn page<S: Serialize + Display>(&mut self, page: impl IntoIterator<Item = S>) -> anyhow::Result<()> {
        print(self.written(page)?)
    }

    /// Ends the list.
    pub fn end(self) -> anyhow::Result<()> {
        print(self.closing())
    }

    fn written<S: Serialize + Display>(&mut self, page: impl IntoIterator<Item = S>) -> serde_json::Result<String> {
        let mut text = String::new();
        for shown in page {
            if self.is_json {
                text.push_str(if self.is_empty { "[\n" } else { ",\n" });
                text.push_str(&serde_json::to_string(&shown)?);
            } else {
                text.push_str(&shown.to_string());
            }
            self.is_empty = false;
        }
        Ok(text)
    }

    fn closing(&self) -> &'static str {
        match (self.is_json, self.is_empty) {
            (false, _) => "",
            (true, true) => "[]\n",
            (true, false) => "\n]\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Serialize)]
    struct Named(&'static str);

    impl Display for Named {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            writeln!(formatter, "{}", self.0)
        }
    }

    fn listed(output: Output, pages: &[&[&'static str]]) -> String {
        let mut list = OutputFlag { output }.list();
        let mut text = String::new();
        for page in pages {
            text += &list.written(page.iter().map(|name| Named(name))).unwrap();
        }
        text + list.closing()
    }

    #[test]
    fn list_for_programs_is_one_array_over_all_of_its_pages() {
        let text = listed(Output::Json, &[&["a", "b"], &["c"]]);
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), ["a", "b", "c"]);
        assert_eq!(listed(Output::Json, &[]), "[]\n");
    }

    #[test]
    fn list_for_people_is_a_line_each() {
        assert_eq!(listed(Output::Text, &[&["a", "b"], &["c"]]), "a\nb\nc\n");
    }
}
