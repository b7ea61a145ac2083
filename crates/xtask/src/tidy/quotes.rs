//! What a page quotes from a file is what stands in it, so that nobody copies what was never run.
//!
//! A line that is nothing but a link with a colon, `[name](path):`, is followed by the whole file in a fence; a line
//! `From [name](path):` by consecutive lines of it, which may stand further in.

use anyhow::Result;

use super::{Finding, links};
use crate::workspace;

/// Compares every quotation of every page with its file.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for page in workspace::files()? {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for quotation in quotations(&workspace::read(&page)?) {
            let file = links::resolve(&page, &quotation.target);
            if !quotation.is_in(&workspace::read(&file)?) {
                let (page, file) = (page.display(), file.display());
                findings.push(format!("{page}:{} does not quote {file} as it is", quotation.line));
            }
        }
    }
    Ok(findings)
}

/// A fence under the name of a file.
#[derive(Debug, PartialEq)]
struct Quotation {
    line: usize,
    target: String,
    is_whole: bool,
    text: String,
}

impl Quotation {
    fn is_in(&self, file: &str) -> bool {
        if self.is_whole {
            return self.text.trim_end() == file.trim_end();
        }
        let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        let (quoted, lines) = (lines(&self.text), lines(file));
        !quoted.is_empty() && lines.windows(quoted.len()).any(|window| window == quoted)
    }
}

/// The quotations of a page. One without a fence quotes nothing.
fn quotations(page: &str) -> Vec<Quotation> {
    let lines: Vec<&str> = page.lines().collect();
    let named = lines.iter().enumerate().filter_map(|(at, line)| Some((at, name(line)?)));
    let quotation = |(at, (target, is_whole)): (usize, (String, bool))| {
        let mut rest = lines[at + 1..].iter().skip_while(|line| line.is_empty());
        let begins = rest.next().is_some_and(|line| line.starts_with("```"));
        let text =
            if begins { rest.take_while(|line| !line.starts_with("```")).copied().collect() } else { Vec::new() };
        Quotation { line: at + 1, target, is_whole, text: text.join("\n") }
    };
    named.map(quotation).collect()
}

/// The target of a line that names what is quoted next, and whether it is quoted as a whole.
fn name(line: &str) -> Option<(String, bool)> {
    let (line, is_whole) = line.strip_prefix("From ").map_or((line, true), |rest| (rest, false));
    let target = line.strip_prefix('[')?.strip_suffix("):")?;
    (target.matches("](").count() == 1).then(|| links::targets(line).next().map(|target| (target, is_whole)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "See [b](c.rs):\n\n[a.rs](x/a.rs):\n\n```rust\nfn a() {\n}\n```\nFrom [`b`](b.py):\n```\none()\n```\n";

    #[test]
    fn quotations_are_found_under_the_names_of_their_files() {
        let whole = Quotation { line: 3, target: "x/a.rs".to_owned(), is_whole: true, text: "fn a() {\n}".to_owned() };
        let part = Quotation { line: 9, target: "b.py".to_owned(), is_whole: false, text: "one()".to_owned() };
        assert_eq!(quotations(PAGE), [whole, part]);
    }

    #[test]
    fn whole_quotation_that_lacks_a_line_is_not_the_file() {
        let quotation = &quotations(PAGE)[0];
        assert!(quotation.is_in("fn a() {\n}\n"));
        assert!(!quotation.is_in("//! A.\nfn a() {\n}\n"));
    }

    #[test]
    fn lines_are_quoted_wherever_they_stand_in_the_file() {
        let quotation = &quotations(PAGE)[1];
        assert!(quotation.is_in("def f():\n    one()\n    two()\n"));
        assert!(!quotation.is_in("def f():\n    one(1)\n"));
    }

    #[test]
    fn name_without_a_fence_quotes_nothing() {
        assert!(!quotations("From [b](b.py):\nand so on")[0].is_in("one()\n"));
    }
}
