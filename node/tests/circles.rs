//! Proves that the files of a crate use each other in one direction only.
//!
//! A file uses another file of its crate if its code names an item that is defined there. The path of the name counts
//! (`crate::a::Item`, `super::Item`, `a::Item` where `a` is a module of this file), and so does a name that a `use`
//! brought in. What a `use` or a path names is followed through re-exports to the file that defines it: `crate::Item`
//! is a use of `a.rs` if `lib.rs` has `pub use a::Item`.
//!
//! These do not count:
//!
//! - `mod a;` and `pub use a::Item` in a parent, unless the parent's own code uses `Item`;
//! - whatever is under `#[cfg(test)]`;
//! - comments, methods that are called on a value, and macros: none of them has a path.
//!
//! An `impl` block may be continued in a sibling file (a file in the same folder, or in the folder that is named after
//! the file): a file with an `impl Type` for a type of its sibling counts as the same file as this sibling. The whole
//! must still not use a file that uses it.
//!
//! Circles that remain have a line in `KNOWN`, with the reason. A line that is no longer true fails the test.

use source::{Kind, Token, generics, path};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod source;

/// Circles that remain: the crate, all files of the circle below its `src`, and the reason. One line each.
#[rustfmt::skip]
const KNOWN: [(&str, &str, &str); 6] = [
    ("node", "metrics.rs metrics/collect.rs metrics/process.rs network.rs verify_pool.rs verify_pool/submit.rs", "penalties tie the network to the verify pool"),
    ("node", "rpc/methods/blocks.rs rpc/methods/evidence.rs rpc/methods/mod.rs rpc/methods/node.rs rpc/methods/search.rs rpc/methods/state.rs rpc/methods/table.rs rpc/methods/txs.rs rpc/methods/validators.rs", "the table of methods and the types of their answers share a file"),
    ("node", "rpc/server.rs rpc/websocket.rs", "both answer requests with the server's types"),
    ("node", "signals.rs start.rs", "the type that stops a node is defined beside the start"),
    ("node", "cli/bench/figures.rs cli/bench/mod.rs", "the settings of a benchmark are defined beside its command"),
    ("node", "cli/client.rs cli/failure.rs", "the client returns the failure that is made from its error"),
];

#[test]
fn files_use_each_other_in_one_direction() {
    let mut found = Vec::new();
    for member in source::members() {
        let prefix = format!("{member}/src/");
        let files = source::files(&prefix);
        let files = files.iter().map(|(path, text)| (path.strip_prefix(&prefix).expect("the folder").to_owned(), text));
        let circles = circles(&files.map(|(path, text)| (path, text.as_str())).collect());
        found.extend(circles.into_iter().map(|circle| (member.clone(), circle)));
    }
    let complaints = complaints(&found, &KNOWN);
    assert!(complaints.is_empty(), "circles between files:\n{}", complaints.join("\n"));
}

/// Returns a sentence for each circle that is not known, and for each known one that was not found.
fn complaints(found: &[(String, Circle)], known: &[(&str, &str, &str)]) -> Vec<String> {
    let is = |(name, files, _): &(&str, &str, &str), (member, circle): &(String, Circle)| {
        member == name && circle.files == *files
    };
    let new = found.iter().filter(|one| !known.iter().any(|line| is(line, one)));
    let new = new.map(|(member, circle)| format!("new: (\"{member}\", \"{}\", \"…\")\n{}", circle.files, circle.uses));
    let gone = known.iter().filter(|line| !found.iter().any(|one| is(line, one)));
    let gone =
        gone.map(|(member, files, _)| format!("gone, remove its line from KNOWN: (\"{member}\", \"{files}\", …)"));
    new.chain(gone).collect()
}

/// The text of each file of a crate, by its path below `src`.
type Files<'a> = BTreeMap<String, &'a str>;

/// Files that use each other in a circle.
#[derive(Debug)]
struct Circle {
    /// All files of the circle, in order, with a blank between two.
    files: String,
    /// A shortest circle among them: one line for each use, with the names that are used.
    uses: String,
}

/// Path of a module from the root of its crate.
type Place = Vec<String>;

/// What one module says.
#[derive(Default)]
struct Module<'a> {
    file: String,
    children: BTreeSet<&'a str>,
    items: BTreeSet<&'a str>,
    imports: Vec<Import>,
    /// Paths of the code, outside of `use` declarations. A single word is a path of one segment.
    paths: BTreeSet<Vec<&'a str>>,
    /// Types of `impl Type` blocks.
    continued: BTreeSet<Vec<&'a str>>,
}

/// One name that a `use` declaration brings in.
struct Import {
    path: Vec<String>,
    name: String,
    exported: bool,
}

/// What a path names.
enum Target {
    Module(Place),
    /// An item of a file, with its name.
    Item(String, String),
    /// An item of another crate.
    Outside,
}

/// The names that a file uses of another file, for each pair of files.
type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// Returns the circles between the files of a package: of its library (`lib.rs`) and of its program (`main.rs`), which
/// is a crate of its own.
fn circles(files: &Files<'_>) -> Vec<Circle> {
    let roots = ["lib.rs", "main.rs"].into_iter().filter(|root| files.contains_key(*root));
    roots.flat_map(|root| circles_below(root, files)).collect()
}

/// Returns the circles between the files of the crate whose root is `root`.
fn circles_below(root: &str, files: &Files<'_>) -> Vec<Circle> {
    let modules = Modules::read(root, files);
    let whole = modules.wholes();
    let mut uses = Uses::new();
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let all = modules.uses();
    for ((from, to), names) in &all {
        let (from, to) = (&whole[from], &whole[to]);
        if from != to {
            uses.entry((from.clone(), to.clone())).or_default().extend(names.iter().cloned());
            next.entry(from).or_default().insert(to);
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for start in next.keys() {
        if seen.contains(start) {
            continue;
        }
        let Some(round) = shortest(start, start, &next) else { continue };
        let among: BTreeSet<&str> = next
            .keys()
            .filter(|other| *other == start || (reaches(start, other, &next) && reaches(other, start, &next)))
            .copied()
            .collect();
        seen.extend(among.iter().copied());
        let round =
            among.iter().filter_map(|start| shortest(start, start, &next)).min_by_key(Vec::len).unwrap_or(round);
        let lines = round.windows(2).map(|pair| {
            let names = &uses[&(pair[0].to_owned(), pair[1].to_owned())];
            format!("  {} uses {}: {}", pair[0], pair[1], names.iter().cloned().collect::<Vec<_>>().join(", "))
        });
        let members = whole.iter().filter(|(_, whole)| among.contains(whole.as_str())).map(|(file, _)| file.as_str());
        found.push(Circle { files: members.collect::<Vec<_>>().join(" "), uses: lines.collect::<Vec<_>>().join("\n") });
    }
    found
}

/// Returns true if `to` can be reached from `from`.
fn reaches(from: &str, to: &str, next: &BTreeMap<&str, BTreeSet<&str>>) -> bool {
    shortest(from, to, next).is_some()
}

/// Returns a shortest way of at least one step, with both ends.
fn shortest<'a>(from: &'a str, to: &str, next: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for step in next.get(way[way.len() - 1]).into_iter().flatten() {
            let longer = [&way[..], &[*step]].concat();
            if *step == to {
                return Some(longer);
            }
            if seen.insert(*step) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// All modules of a crate.
struct Modules<'a>(BTreeMap<Place, Module<'a>>);

impl<'a> Modules<'a> {
    /// Reads the modules from the crate's root on, and no file that no module declares.
    fn read(root: &str, files: &Files<'a>) -> Modules<'a> {
        let mut modules = Modules(BTreeMap::new());
        let mut open = vec![(Place::new(), root.to_owned())];
        while let Some((place, file)) = open.pop() {
            let text = files.get(&file).unwrap_or_else(|| panic!("a module is declared, but there is no {file}"));
            let tokens = source::without_tests(&source::tokens(text));
            let tokens: Vec<Token<'a>> = tokens.into_iter().filter(|token| token.kind != Kind::Comment).collect();
            for child in modules.read_file(&place, &file, &tokens) {
                let place = [&place[..], &[child.to_owned()]].concat();
                let stem = place.join("/");
                let short = format!("{stem}.rs");
                open.push((place, if files.contains_key(&short) { short } else { format!("{stem}/mod.rs") }));
            }
        }
        modules
    }

    /// Reads the module `place`, which is all of `file`. Returns the modules that lie in files of their own.
    fn read_file(&mut self, place: &Place, file: &str, tokens: &[Token<'a>]) -> Vec<&'a str> {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let mut outside = Vec::new();
        let (mut at, mut depth) = (0, 0);
        let word = |at: usize| tokens.get(at).filter(|token| token.kind == Kind::Word).map(|token| token.text);
        let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.is(text));
        while at < tokens.len() {
            let token = tokens[at];
            match (token.kind, token.text) {
                (Kind::Mark, "{") => depth += 1,
                (Kind::Mark, "}") => depth -= 1,
                (Kind::Word, "mod") if is(at + 2, ";") || is(at + 2, "{") => {
                    let name = word(at + 1).expect("a module has a name");
                    module.children.insert(name);
                    if is(at + 2, ";") {
                        outside.push(name);
                    } else {
                        let length = source::item(&tokens[at..]);
                        let place = [&place[..], &[name.to_owned()]].concat();
                        self.read_file(&place, file, &tokens[at + 3..at + length - 1]);
                        at += length;
                        continue;
                    }
                }
                (Kind::Word, "use") => {
                    let length = tokens[at..].iter().position(|token| token.is(";")).expect("a use ends") + 1;
                    let exported = at > 0 && (is(at - 1, "pub") || is(at - 1, ")"));
                    tree(&tokens[at + 1..at + length - 1], &[], exported, &mut module.imports);
                    at += length;
                    continue;
                }
                (Kind::Word, "impl")
                    if at == 0 || ["}", ";", "{", "]", "unsafe"].iter().any(|mark| is(at - 1, mark)) =>
                {
                    module.continued.extend(inherent(&tokens[at + 1..]));
                }
                (Kind::Word, "struct" | "enum" | "union" | "trait" | "fn" | "type" | "const" | "static")
                    if depth == 0 =>
                {
                    module.items.extend(word(at + if is(at + 1, "mut") { 2 } else { 1 }));
                }
                (Kind::Word, _) if at == 0 || !(is(at - 1, ".") || is(at - 1, "::")) => {
                    module.paths.insert(path(&tokens[at..]));
                }
                _ => {}
            }
            at += 1;
        }
        self.0.insert(place.clone(), module);
        outside
    }

    /// Returns what `path` names in the module `place`. `depth` bounds how many re-exports are followed.
    fn resolve<S: AsRef<str>>(&self, place: &Place, path: &[S], depth: usize) -> Target {
        let mut here = place.clone();
        let mut rooted = false;
        for word in path.iter().map(AsRef::as_ref) {
            match word {
                "crate" => here.clear(),
                "self" => {}
                "super" => _ = here.pop(),
                _ => match self.member(&here, word, depth) {
                    Some(Target::Module(place)) => here = place,
                    Some(target) => return target,
                    // What a macro defines cannot be seen: the path says where it is.
                    None if rooted => return Target::Item(self.0[&here].file.clone(), word.to_owned()),
                    None => return Target::Outside,
                },
            }
            rooted = true;
        }
        Target::Module(here)
    }

    /// Returns what `name` is in the module `place`, if anything is known of it.
    fn member(&self, place: &Place, name: &str, depth: usize) -> Option<Target> {
        let module = &self.0[place];
        if depth > 8 {
            return None;
        }
        if module.children.contains(name) {
            return Some(Target::Module([&place[..], &[name.to_owned()]].concat()));
        }
        if module.items.contains(name) {
            return Some(Target::Item(module.file.clone(), name.to_owned()));
        }
        let mut named = module.imports.iter().filter(|import| import.name == name && import.path != [name]);
        if let Some(import) = named.next() {
            return Some(self.resolve(place, &import.path, depth + 1));
        }
        let mut globs = module.imports.iter().filter(|import| import.name == "*");
        globs.find_map(|import| match self.resolve(place, &import.path, depth + 1) {
            Target::Module(other) if other != *place => self.member(&other, name, depth + 1),
            _ => None,
        })
    }

    /// Returns which files use which, with the names.
    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (place, module) in &self.0 {
            let private = module.imports.iter().filter(|import| !import.exported);
            let private = private.map(|import| import.path.iter().map(String::as_str).collect());
            for path in module.paths.iter().cloned().chain(private) {
                if let Target::Item(file, name) = self.resolve(place, &path, 0)
                    && file != module.file
                {
                    uses.entry((module.file.clone(), file)).or_default().insert(name);
                }
            }
        }
        uses
    }

    /// Returns for each file the file whose `impl` it continues, or itself.
    fn wholes(&self) -> BTreeMap<String, String> {
        let mut whole: BTreeMap<String, String> =
            self.0.values().map(|module| (module.file.clone(), module.file.clone())).collect();
        for (place, module) in &self.0 {
            for path in &module.continued {
                if let Target::Item(file, _) = self.resolve(place, path, 0)
                    && is_sibling(&module.file, &file)
                {
                    let (from, to) = (whole[&module.file].clone(), whole[&file].clone());
                    whole.values_mut().filter(|whole| **whole == from).for_each(|whole| *whole = to.clone());
                }
            }
        }
        whole
    }
}

/// Returns true if `file` lies in the folder of `other`, or in the folder that is named after `other`.
fn is_sibling(file: &str, other: &str) -> bool {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    let below = other.trim_end_matches(".rs").trim_end_matches("/mod");
    folder(file) == folder(other) || folder(file) == below
}

/// Reads one tree of a `use` declaration, of which `before` is known already.
fn tree(tokens: &[Token<'_>], before: &[String], exported: bool, imports: &mut Vec<Import>) {
    let mut path = before.to_vec();
    for (at, token) in tokens.iter().enumerate() {
        if token.is("{") {
            let mut depth = 0;
            let branches = tokens[at + 1..tokens.len() - 1].split(|token| {
                depth += i32::from(token.is("{")) - i32::from(token.is("}"));
                depth == 0 && token.is(",")
            });
            branches.for_each(|branch| tree(branch, &path, exported, imports));
            return;
        }
        if token.is("as") {
            let name = tokens[at + 1].text.to_owned();
            imports.push(Import { path, name, exported });
            return;
        }
        if !token.is("::") {
            path.push(token.text.to_owned());
        }
    }
    match path.last().map(String::as_str) {
        _ if tokens.is_empty() => return,
        Some("*") => _ = path.pop(),
        Some("self") => {
            path.pop();
            let name = path.last().cloned().unwrap_or_default();
            return imports.push(Import { path, name, exported });
        }
        _ => {}
    }
    let name = tokens[tokens.len() - 1].text.to_owned();
    imports.push(Import { path, name, exported });
}

/// Returns the type of an `impl Type` block, whose tokens after `impl` these are; nothing for an `impl Trait for Type`.
fn inherent<'a>(tokens: &[Token<'a>]) -> Option<Vec<&'a str>> {
    let tokens = &tokens[generics(tokens)..];
    if tokens.first()?.kind != Kind::Word {
        return None;
    }
    let path = path(tokens);
    let tokens = &tokens[path.len() * 2 - 1..];
    let tokens = &tokens[generics(tokens)..];
    (!tokens.first()?.is("for")).then_some(path)
}

/// Returns the circles of a made-up crate, each as its files and the uses that make it.
fn made_up(files: &[(&str, &'static str)]) -> Vec<(String, String)> {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), *text)).collect();
    circles(&files).into_iter().map(|circle| (circle.files, circle.uses)).collect()
}

#[test]
fn a_circle_is_caught() {
    let found = made_up(&[
        ("main.rs", "use made_up::A; mod e; mod f;"),
        ("e.rs", "use crate::f; fn g() { f::h() }"),
        ("f.rs", "use super::e::g; fn h() { g() }"),
        ("lib.rs", "mod a; mod b; mod c; mod d; pub use a::A;"),
        ("a.rs", "use crate::b::{self, B}; pub struct A(B); fn f() { b::g() }"),
        ("b.rs", "use super::c::*; pub struct B(C); pub fn g() {}"),
        ("c.rs", "pub struct C; fn h() { let _: Option<crate::A> = None; }"),
        ("d.rs", "use crate::{A, b::B}; struct D(A, B);"),
    ]);
    let uses = "  a.rs uses b.rs: B, g\n  b.rs uses c.rs: C\n  c.rs uses a.rs: A";
    let in_the_library = ("a.rs b.rs c.rs".to_owned(), uses.to_owned());
    let in_the_program = ("e.rs f.rs".to_owned(), "  e.rs uses f.rs: h\n  f.rs uses e.rs: g".to_owned());
    assert_eq!(found, [in_the_library, in_the_program]);
}

#[test]
fn a_circle_that_is_gone_must_leave_the_table() {
    let circle = || Circle { files: "a.rs b.rs".to_owned(), uses: "  a.rs uses b.rs: B".to_owned() };
    let known = [("made-up", "a.rs b.rs", "its reason")];
    assert_eq!(complaints(&[("made-up".to_owned(), circle())], &known), [""; 0]);
    let found = complaints(&[("other".to_owned(), circle())], &known);
    assert!(found[0].starts_with("new: (\"other\", \"a.rs b.rs\"") && found[1].starts_with("gone"), "{found:?}");
}

#[test]
fn a_parent_and_a_child_make_a_circle_if_both_use_each_other() {
    let child = ("a/x.rs", "use super::Shared; pub struct X(Shared);");
    let declares = "mod x; pub use x::X; pub struct Shared;";
    assert_eq!(made_up(&[("lib.rs", "mod a;"), ("a.rs", declares), child]), []);
    let also_uses = "mod x; pub use x::X; pub struct Shared; fn f(_: X) {}";
    let uses = "  a.rs uses a/x.rs: X\n  a/x.rs uses a.rs: Shared";
    let circle = ("a.rs a/x.rs".to_owned(), uses.to_owned());
    assert_eq!(made_up(&[("lib.rs", "mod a;"), ("a.rs", also_uses), child]), std::slice::from_ref(&circle));
    let by_path = "mod x; pub struct Shared; fn f(_: x::X) {}";
    assert_eq!(made_up(&[("lib.rs", "mod a;"), ("a.rs", by_path), child]), [circle]);
}

#[test]
fn tests_comments_and_strings_make_no_circle() {
    let a = "pub struct A; #[cfg(test)] mod tests { use crate::b::B; fn f(_: B) {} } // crate::b::B
        /// [`crate::b::B`]
        const TEXT: &str = \"crate::b::B\"; const RAW: &str = r#\"\" crate::b::B\"#;";
    assert_eq!(made_up(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", "pub struct B(crate::a::A);")]), []);
}

#[test]
fn a_continued_impl_counts_as_the_same_file() {
    let lib = ("lib.rs", "mod a; mod b; mod c;");
    let a = ("a.rs", "pub struct A<T>(T); impl<T: Fn() -> u8> A<T> { fn f() { crate::b::helper() } }");
    let b = ("b.rs", "use crate::a::A; impl<T> A<T> { fn g() {} } pub fn helper() {}");
    assert_eq!(made_up(&[lib, a, b, ("c.rs", "pub struct C(crate::a::A<u8>);")]), []);
    let b = ("b.rs", "use crate::{a::A, c::C}; impl<T> A<T> { fn g(_: C) {} } pub fn helper() {}");
    let uses = "  a.rs uses c.rs: C\n  c.rs uses a.rs: A";
    let circle = ("a.rs b.rs c.rs".to_owned(), uses.to_owned());
    assert_eq!(made_up(&[lib, a, b, ("c.rs", "pub struct C(crate::a::A<u8>);")]), [circle]);
    let b = ("b.rs", "use crate::a::A; impl<T> Default for A<T> { } pub fn helper() {}");
    let uses = "  a.rs uses b.rs: helper\n  b.rs uses a.rs: A";
    assert_eq!(made_up(&[lib, a, b, ("c.rs", "")]), [("a.rs b.rs".to_owned(), uses.to_owned())]);
}
