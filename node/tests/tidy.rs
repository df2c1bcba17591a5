//! Holds the rules of STYLE.md that a machine can hold, for the `src` of every crate:
//!
//! - The documentation of a public item has a sentence of at least four words. Variants of a public enum and methods of a
//!   public trait count as public items.
//! - A public function that returns a `Result` has a paragraph `Errors:`.
//! - A file has at most [`LINES_MAX`] lines of code, or a paragraph `Size:` in its head that gives the reason. Blank
//!   lines, comments and test modules are not counted.
//! - Comments and strings have no word of [`BANNED`].

use source::{Kind, Token, generics, path};

mod source;

/// Maximum number of lines of code in a file without a reason.
const LINES_MAX: usize = 600;

/// Minimum number of words in the first paragraph of a doc comment.
const WORDS_MIN: usize = 4;

/// Words and phrases that STYLE.md, section Plain English, does not allow.
const BANNED: [&str; 8] = ["told", "nobody", "lest", "reproach", "so many a second", "for good", "goes on", "at hand"];

#[test]
fn sources_are_tidy() {
    let files = source::members().into_iter().flat_map(|member| source::files(&format!("{member}/src")));
    let found: Vec<String> = files.flat_map(|(path, text)| findings(&path, &text)).collect();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// Returns what is not tidy in a file, ordered by line: `path:line: what`.
fn findings(path: &str, text: &str) -> Vec<String> {
    let all = source::tokens(text);
    let code = source::without_tests(&all);
    let mut found: Vec<Finding> = size(&all, &code).into_iter().collect();
    found.extend(docs(&code));
    found.extend(all.iter().flat_map(banned));
    found.sort();
    found.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")).collect()
}

/// A line and what is wrong there.
type Finding = (usize, String);

/// Checks the number of lines of code, of which `all` has also the tests.
fn size(all: &[Token<'_>], code: &[Token<'_>]) -> Option<Finding> {
    let lines = code.iter().filter(|token| token.kind != Kind::Comment);
    let mut lines: Vec<usize> =
        lines.flat_map(|token| token.line..=token.line + token.text.matches('\n').count()).collect();
    lines.dedup();
    let head = all.iter().take_while(|token| token.kind == Kind::Comment);
    let reason = head.into_iter().find(|token| token.text.starts_with("//! Size:"));
    match (lines.len(), reason) {
        (count, None) if count > LINES_MAX => {
            Some((1, format!("{count} lines of code: cut the file, or say why not: `//! Size: …`")))
        }
        (count, Some(token)) if count <= LINES_MAX => {
            Some((token.line, format!("{count} lines of code need no reason: remove the paragraph `Size:`")))
        }
        _ => None,
    }
}

/// Checks the documentation of public items.
fn docs(code: &[Token<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    // The end of the public enum or trait that was entered last.
    let (mut at, mut end) = (0, 0);
    while let Some(token) = code.get(at) {
        if token.kind == Kind::Comment {
            if token.is_doc() {
                doc.push(token.text.trim_start_matches('/').trim());
            }
            at += 1;
            continue;
        }
        if token.is("#") {
            at += 1 + usize::from(code.get(at + 1).is_some_and(|token| token.is("!")));
            at += brackets(&code[at..]);
            continue;
        }
        let is_pub = token.is("pub") && !code.get(at + 1).is_some_and(|token| token.is("("));
        let words = code[at..].iter().skip(usize::from(is_pub));
        let mut words = words.skip_while(|token| ["const", "async", "unsafe"].iter().any(|word| token.is(word)));
        let first = words.next();
        if is_pub && first.is_some_and(|token| token.is("enum") || token.is("trait")) {
            end = at + source::item(&code[at..]);
        }
        if is_pub || at < end {
            let paragraph = doc.iter().take_while(|line| !line.is_empty()).flat_map(|line| line.split_whitespace());
            let count = paragraph.filter(|word| word.contains(char::is_alphanumeric)).count();
            if !doc.is_empty() && count < WORDS_MIN {
                found.push((token.line, format!("the documentation has {count} words: {:?}", doc.join(" "))));
            }
            if first.is_some_and(|token| token.is("fn")) {
                let rest: Vec<Token<'_>> =
                    words.copied().take_while(|token| !token.is("{") && !token.is(";")).collect();
                if returns_result(&rest) && !doc.iter().any(|line| line.starts_with("Errors:")) {
                    found.push((token.line, format!("`{}` returns a Result: add `Errors: …`", rest[0].text)));
                }
            }
        }
        doc.clear();
        at += 1;
    }
    found
}

/// Returns true if a signature, whose tokens from the name on these are, returns a `Result`.
fn returns_result(signature: &[Token<'_>]) -> bool {
    let rest = &signature[1..];
    let rest = &rest[generics(rest)..];
    let rest = &rest[brackets(rest)..];
    match rest {
        [dash, arrow, rest @ ..] if dash.is("-") && arrow.is(">") && !rest.is_empty() => {
            path(rest).last().is_some_and(|name| *name == "Result")
        }
        _ => false,
    }
}

/// Returns how many tokens the brackets at the start take, with all that is between them.
fn brackets(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        depth += i32::from(["(", "[", "{"].iter().any(|mark| token.is(mark)));
        depth -= i32::from([")", "]", "}"].iter().any(|mark| token.is(mark)));
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Returns the banned words of a comment or string, each with its line.
fn banned(token: &Token<'_>) -> Vec<Finding> {
    if !matches!(token.kind, Kind::Comment | Kind::Text) {
        return Vec::new();
    }
    let lines = token.text.lines().enumerate();
    let in_line = |(below, line): (usize, &str)| {
        let line = line.to_lowercase();
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let spaced = format!(" {} ", words.join(" "));
        let has = move |phrase: &&&str| spaced.contains(&format!(" {phrase} "));
        BANNED.iter().filter(has).map(|phrase| (token.line + below, format!("{phrase:?}"))).collect::<Vec<_>>()
    };
    lines.flat_map(in_line).collect()
}

#[test]
fn what_is_not_tidy_is_caught() {
    let text = "//! A file.

/// Which.
pub struct S {
    /// The peer's name here.
    pub named: u8,
    /// Its age.
    pub age: u8,
    /// Short.
    private: u8,
}

/// Reads a thing from a place.
#[must_use]
pub fn read<F: Fn() -> u8>(f: F) -> io::Result<u8> { Err(f) }

/// Reads a thing from a place.
///
/// Errors: when it is not there.
pub const fn read_well() -> Result<u8, ()> { Err(()) }

/// Returns a function that may fail.
pub fn later() -> impl Fn() -> Result<u8, ()> { fail }

/// A kind of a thing.
pub enum E {
    /// One.
    #[default]
    A,
    /// A variant with a field.
    B {
        /// Who?
        who: u8,
    },
}

/// What a thing must do.
pub trait T {
    /// Does it as it should.
    fn act(&self) -> Result<(), ()>;
}

// Nobody is told, so many a second; untold stories, the lesters.
const TEXT: &str = \"first
Lest it is so\";

#[cfg(test)]
mod tests {
    /// Two words.
    pub fn short() -> Result<(), ()> { Ok(()) }
}
";
    let expected = [
        "made_up.rs:4: the documentation has 1 words: \"Which.\"",
        "made_up.rs:8: the documentation has 2 words: \"Its age.\"",
        "made_up.rs:15: `read` returns a Result: add `Errors: …`",
        "made_up.rs:29: the documentation has 1 words: \"One.\"",
        "made_up.rs:33: the documentation has 1 words: \"Who?\"",
        "made_up.rs:40: `act` returns a Result: add `Errors: …`",
        "made_up.rs:43: \"nobody\"",
        "made_up.rs:43: \"so many a second\"",
        "made_up.rs:43: \"told\"",
        "made_up.rs:45: \"lest\"",
    ];
    assert_eq!(findings("made_up.rs", text), expected);
}

#[test]
fn a_long_file_needs_a_reason() {
    let code = |count: usize| "const A: u8 = 0;\n\n// why\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", code(700));
    let judged = |head: &str, count: usize| findings("f.rs", &format!("//! A file.\n{head}\n{}{tests}", code(count)));
    assert_eq!(judged("", 600), [""; 0]);
    assert_eq!(judged("", 601), ["f.rs:1: 601 lines of code: cut the file, or say why not: `//! Size: …`"]);
    assert_eq!(judged("//!\n//! Size: one table.", 601), [""; 0]);
    let unneeded = "f.rs:3: 600 lines of code need no reason: remove the paragraph `Size:`";
    assert_eq!(judged("//!\n//! Size: one table.", 600), [unneeded]);
}
