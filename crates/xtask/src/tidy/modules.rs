//! Within a crate, files import in one direction: none takes from one that takes from it in turn, directly or through others,
//! by an import or by a path in its code. A module below another is part of it, so what it takes from there does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::{
    Finding,
    graph::{self, Graph},
};
use crate::workspace;

/// Reads the imports of every crate.
pub(super) fn check() -> Result<Vec<Finding>> {
    let mut crates: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in workspace::files()? {
        let Some((owner, module)) = place(&file) else { continue };
        crates.entry(owner).or_default().insert(module, workspace::read(&file)?);
    }
    Ok(crates.iter().flat_map(|(owner, modules)| findings(owner, &imports(modules))).collect())
}

/// The crate and the module of a file under `crates/NAME/src`; tests may look at everything.
fn place(file: &Path) -> Option<(String, String)> {
    let parts: Vec<_> = file.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    let ["crates", owner, "src", modules @ .., last] = &parts[..] else { return None };
    let last = last.strip_suffix(".rs")?;
    if modules.iter().chain([&last]).any(|module| *module == "tests") {
        return None;
    }
    let last = Some(last).filter(|last| !["lib", "main"].contains(last));
    let modules: Vec<_> = modules.iter().copied().chain(last).collect();
    Some(((*owner).to_owned(), modules.join("::")))
}

/// What each module of a crate imports. The root has the empty name.
fn imports(modules: &BTreeMap<String, String>) -> Graph {
    let known =
        |path: &[&str]| (1..=path.len()).rev().map(|end| path[..end].join("::")).find(|it| modules.contains_key(it));
    let of = |module: &String, text: &String| {
        let own: Vec<_> = module.split("::").filter(|part| !part.is_empty()).collect();
        let paths = statements(text).flat_map(|statement| expand(&statement)).chain(inline(text));
        let targets =
            paths.filter_map(|path| known(&absolute(&own, &path)?.iter().map(|it| &**it).collect::<Vec<_>>()));
        targets.filter(|target| !is_above(target, module)).collect()
    };
    modules.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

/// Whether a module is another's room, or the root that all are in.
fn is_above(target: &str, module: &str) -> bool {
    target.is_empty() || target == module || module.starts_with(&format!("{target}::"))
}

/// What stands between `use` and its semicolon, at the top level of a file.
fn statements(text: &str) -> impl Iterator<Item = String> {
    let begins = |line: &str| {
        ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .find_map(|it| line.strip_prefix(it).map(str::len))
    };
    text.match_indices('\n').map(|(at, _)| at + 1).chain([0]).filter_map(move |at| {
        let line = &text[at..];
        let rest = &line[line.len() - begins(line)?..];
        Some(rest.split(';').next().unwrap_or_default().split_whitespace().collect())
    })
}

/// The paths that code names without importing them. What is in a module of tests may look at everything.
fn inline(text: &str) -> impl Iterator<Item = String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split(|letter: char| !(letter.is_alphanumeric() || "_:".contains(letter))));
    paths.filter(|path| ["crate::", "super::", "self::"].iter().any(|it| path.starts_with(it))).map(str::to_owned)
}

/// The single paths of `a::{b, c::{d, e}}`.
fn expand(statement: &str) -> Vec<String> {
    let Some((prefix, rest)) = statement.split_once('{') else { return vec![statement.to_owned()] };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inner.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match (letter, parts.last_mut()) {
            (',', _) if depth == 0 => parts.push(String::new()),
            (_, Some(part)) => part.push(letter),
            (_, None) => {}
        }
    }
    parts.iter().flat_map(|part| expand(part)).map(|part| format!("{prefix}{part}")).collect()
}

/// A path from the root of its crate; none where it leads to another crate.
fn absolute(own: &[&str], path: &str) -> Option<Vec<String>> {
    let mut parts = path.split("::").peekable();
    let mut from = match *parts.peek()? {
        "crate" => Vec::new(),
        "self" | "super" => own.to_vec(),
        _ => return None,
    };
    while let Some(part) = parts.next_if(|part| ["crate", "self", "super"].contains(part)) {
        if part == "super" {
            from.pop();
        }
    }
    Some(from.into_iter().chain(parts).map(str::to_owned).collect())
}

/// A finding for each set of modules that reach each other.
fn findings(owner: &str, imports: &Graph) -> Vec<Finding> {
    let name = |circle: &BTreeSet<String>| circle.iter().cloned().collect::<Vec<_>>().join(", ");
    graph::circles(imports)
        .iter()
        .map(|circle| format!("crates/{owner}: these modules import each other in a circle: {}", name(circle)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Finding> {
        let modules = files.iter().map(|(module, text)| ((*module).to_owned(), (*text).to_owned())).collect();
        findings("shop", &imports(&modules))
    }

    #[test]
    fn circle_of_imports_is_found_through_braces_and_other_modules() {
        let files = [
            ("", "use crate::a::A;\n"),
            ("a", "//! A.\nuse std::fmt;\nuse crate::{\n    b::{B, C},\n    d,\n};\n"),
            ("b", "use super::c::inner::I;\n"),
            ("c", ""),
            ("c::inner", "pub(crate) use crate::a::A;\n"),
            ("d", ""),
        ];
        let circle = "crates/shop: these modules import each other in a circle: a, b, c::inner";
        assert_eq!(found(&files), [circle]);
        assert!(found(&files[..4]).is_empty());
    }

    #[test]
    fn circle_through_a_path_in_code_is_found_and_one_through_tests_is_not() {
        let path = "fn a() {\n    crate::b::f();\n}\n";
        let back = ("b", "use crate::a::A;\n");
        assert_eq!(found(&[("a", path), back]).len(), 1);
        assert!(found(&[("a", &format!("// crate::b\n#[cfg(test)]\nmod tests {{\n{path}}}\n")), back]).is_empty());
    }

    #[test]
    fn import_from_a_parent_module_is_no_circle() {
        assert!(found(&[("a", "use self::b::B;\n"), ("a::b", "use super::A;\nuse crate::a;\n")]).is_empty());
    }

    #[test]
    fn tests_may_look_at_everything() {
        assert_eq!(place(Path::new("crates/shop/src/a/tests.rs")), None);
        assert_eq!(place(Path::new("crates/shop/src/a/b.rs")), Some(("shop".to_owned(), "a::b".to_owned())));
        assert_eq!(place(Path::new("crates/shop/src/lib.rs")), Some(("shop".to_owned(), String::new())));
    }
}
