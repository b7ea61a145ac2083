//! Modules in request order. The tables of `crates/README.md` under "The way of a request" name the files that a request
//! meets, in order, each as a link; the root of each crate declares those modules in the same order.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, ensure};

use super::{Finding, links};
use crate::workspace;

/// Where the order is declared.
const PAGE: &str = "crates/README.md";
const SECTION: &str = "## The way of a request";

/// Compares the declarations of modules with the tables.
pub(super) fn check() -> Result<Vec<Finding>> {
    let declared = declared(&workspace::read(Path::new(PAGE))?);
    ensure!(!declared.is_empty(), "{PAGE} has no section `{SECTION}` with links to files");
    let mut findings = Vec::new();
    for (owner, order) in declared {
        let root = format!("crates/{owner}/src/lib.rs");
        let stand = modules(&workspace::read(Path::new(&root))?, &order);
        findings.extend(finding(&root, &order, &stand));
    }
    Ok(findings)
}

/// The modules of each crate in the order in which the section first names them.
fn declared(page: &str) -> BTreeMap<String, Vec<String>> {
    let section = page.split(SECTION).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let mut orders: BTreeMap<_, Vec<String>> = BTreeMap::new();
    // Prose around the tables may name files in any order.
    for row in section.lines().filter(|line| line.starts_with('|')) {
        for target in links::targets(row) {
            let [owner, "src", module, ..] = &target.split('/').collect::<Vec<_>>()[..] else { continue };
            let order = orders.entry((*owner).to_owned()).or_default();
            let module = module.trim_end_matches(".rs").to_owned();
            if !order.contains(&module) {
                order.push(module);
            }
        }
    }
    orders
}

/// Those of the modules that a crate's root declares, as they stand there.
fn modules(root: &str, wanted: &[String]) -> Vec<String> {
    let declarations = root.lines().filter_map(|line| line.strip_suffix(';')?.rsplit_once("mod "));
    let names = declarations.filter(|(before, _)| before.is_empty() || before.starts_with("pub")).map(|(_, name)| name);
    names.filter(|name| wanted.iter().any(|it| it == name)).map(str::to_owned).collect()
}

fn finding(root: &str, order: &[String], stand: &[String]) -> Option<Finding> {
    let order: Vec<_> = order.iter().filter(|module| stand.contains(module)).cloned().collect();
    let wrong = order.iter().zip(stand).find(|(wanted, found)| wanted != found)?;
    let order = order.join(", ");
    Some(format!("{root} declares `{}` where {PAGE} has `{}`: a request meets {order}", wrong.1, wrong.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "## The house\n\n| [x](shop/src/x.rs) |\n\n## The way of a request\n\nSee [c](shop/src/c.rs).\n\n\
                          | admit | [`b.rs`](shop/src/b.rs), [`a/x.rs`](shop/src/a/x.rs) |\n| answer | [c](shop/src/c.rs), \
                          [b](shop/src/b.rs) |\n\n## Then\n\n| [`d.rs`](shop/src/d.rs) |\n";

    #[test]
    fn order_is_that_of_the_first_mention_in_a_row_of_the_section() {
        assert_eq!(declared(README)["shop"], ["b", "a", "c"]);
    }

    #[test]
    fn modules_in_another_order_are_found() {
        let order = &declared(README)["shop"];
        let found = |root: &str| finding("lib.rs", order, &modules(root, order));
        assert_eq!(found("mod z;\nmod b;\npub mod a;\npub(crate) mod c;\n"), None);
        let expected = "lib.rs declares `c` where crates/README.md has `a`: a request meets b, a, c";
        assert_eq!(found("mod b;\nmod c;\nmod a;\n").as_deref(), Some(expected));
    }
}
