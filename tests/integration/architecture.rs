//! The modules of `src`: each imports only what the table in CONTRIBUTING.md allows, the table has
//! no import that the code does not need, and there is no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Spacing, TokenStream, TokenTree};
use support::repository;

/// From each module to those it imports, with the path in the code. A module is its file without
/// `.rs`, `/mod.rs` or `/main.rs`, relative to `src`; the library's root is empty. `mod x;` counts
/// as an import of `self::x`, so a child that imports its parent closes a circle.
type Arrows<M> = BTreeMap<(M, M), String>;

/// Returns the paths (`a::b::c`) in a piece of code, each with `prefix` before it, but not those
/// in `#[cfg(test)]` items. The tokens have no comments, and a doc comment is a string.
fn paths(code: TokenStream, prefix: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let is_colons = |token: &TokenTree| match token {
        TokenTree::Punct(p) => p.as_char() == ':' && p.spacing() == Spacing::Joint,
        _ => false,
    };
    let is_cfg_test = |token: &TokenTree| token.to_string().replace(' ', "") == "[cfg(test)]";
    let ends_item = |token: &TokenTree| token.to_string().ends_with([';', '}']);
    let mut path = prefix.to_vec();
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            token if is_cfg_test(&token) => drop(tokens.by_ref().find(ends_item)),
            TokenTree::Group(group) => {
                found.extend(paths(group.stream(), &path));
                path = prefix.to_vec();
            }
            TokenTree::Ident(name) if name == "mod" => path.push("self".to_owned()),
            token if is_colons(&token) => drop(tokens.next()),
            token if matches!(token, TokenTree::Ident(_)) || token.to_string() == "*" => {
                path.push(token.to_string());
                if !tokens.peek().is_some_and(is_colons) {
                    found.push(std::mem::replace(&mut path, prefix.to_vec()));
                }
            }
            _ => path = prefix.to_vec(),
        }
    }
    found
}

/// The module that a path in the code of `module` names, or whose item it names. `None` if it is
/// `module` itself or not of this package. The root of a program is `bin/NAME`.
fn target(module: &Path, path: &[String], modules: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let (base, names) = match path[0].as_str() {
        "crate" if module.starts_with("bin") => (module.iter().take(2).collect(), &path[1..]),
        "crate" | "wallclock" => (PathBuf::new(), &path[1..]),
        "self" | "super" => (
            module.ancestors().nth(supers)?.into(),
            &path[supers.max(1)..],
        ),
        _ => return None,
    };
    let item = base.join(names.iter().collect::<PathBuf>());
    let target = item.ancestors().find_map(|m| modules.get(m))?;
    (target != module && !names.is_empty()).then(|| target.clone())
}

/// Reads the imports of all modules.
fn read_imports(src: &Path) -> Arrows<PathBuf> {
    let is_code = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    let mut code = BTreeMap::new();
    for file in crate::line_width::files_under(src)
        .into_iter()
        .filter(is_code)
    {
        let text = fs::read_to_string(&file).expect("a readable file");
        let file = file.strip_prefix(src).expect("a file under src");
        let module = file.with_extension("");
        let module = match module.file_name().and_then(OsStr::to_str) {
            Some("mod" | "main" | "lib") => file.parent().expect("a directory").to_owned(),
            _ => module,
        };
        code.insert(module, text.parse().expect("Rust"));
    }
    let modules = code.keys().cloned().collect();
    let mut imports = Arrows::new();
    for (module, code) in code {
        for path in paths(code, &[]) {
            if let Some(target) = target(&module, &path, &modules) {
                let import = format!("{} in {}", path.join("::"), module.display());
                imports.insert((module.clone(), target), import);
            }
        }
    }
    imports
}

/// The imports that are part of a circle, without `mod x;`.
fn circles<M: Ord>(imports: &Arrows<M>) -> impl Iterator<Item = &String> {
    let leads_back = |(from, to): &(M, M)| {
        let (mut reached, mut open) = (BTreeSet::from([to]), vec![to]);
        while let Some(module) = open.pop() {
            let next = imports.keys().filter(|(from, _)| from == module);
            open.extend(next.map(|(_, to)| to).filter(|to| reached.insert(to)));
        }
        reached.contains(from)
    };
    let circles = imports.iter().filter(move |(arrow, _)| leads_back(arrow));
    let circles = circles.map(|(_, import)| import);
    circles.filter(|import| !import.starts_with("self::"))
}

/// Reads the table in CONTRIBUTING.md: each import of each module, and `(module, "")`.
fn read_table() -> BTreeSet<(String, String)> {
    let (_, table) = include_str!("../../CONTRIBUTING.md")
        .split_once("\n| module | imports |\n|---|---|\n")
        .expect("a table");
    let mut rows = BTreeSet::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let row = row.trim_matches(['|', ' ']);
        let (module, imports) = row.split_once(" | ").expect("two columns");
        let imports = imports.split(", ").filter(|name| *name != "-").chain([""]);
        rows.extend(imports.map(|name| (module.to_owned(), name.to_owned())));
    }
    rows
}

#[test]
fn imports_match_the_table_without_circles() {
    let top = |module: &PathBuf| {
        let name = module.iter().next().unwrap_or("lib".as_ref());
        name.to_string_lossy().into_owned()
    };
    let imports = read_imports(&repository().join("src"));
    let mut top_imports = Arrows::new();
    let mut expected = BTreeSet::from([("bin".to_owned(), String::new())]);
    for ((from, to), import) in &imports {
        expected.insert((top(to), String::new()));
        if top(from) != top(to) && top(from) != "lib" {
            expected.insert((top(from), top(to)));
            top_imports.insert((top(from), top(to)), import.clone());
        }
    }
    let circles = circles(&imports).chain(circles(&top_imports));
    let mut violations: Vec<_> = circles.map(|import| format!("circle: {import}")).collect();
    let table = read_table();
    for arrow @ (from, to) in expected.difference(&table) {
        let import = top_imports.get(arrow).map_or("no row", String::as_str);
        violations.push(format!("not in the table: {from} -> {to} ({import})"));
    }
    for (from, to) in table.difference(&expected) {
        violations.push(format!("only in the table: {from} -> {to}"));
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}
