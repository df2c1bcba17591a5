//! Reads the source of the workspace's crates as tokens, for the tests that judge how it is written.
//!
//! The reader knows what Rust's lexer knows (comments, strings, raw strings, characters, lifetimes), and nothing of its
//! grammar. It takes about 0.2 seconds for the whole tree in a `dev` build.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::{fs, iter};

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword.
    Word,
    /// A string of any form: plain, raw or of bytes, without its quotes.
    Text,
    /// A comment of any form, with its slashes.
    Comment,
    /// `::`, or one character of punctuation.
    Mark,
    /// A number, a character or a lifetime.
    Other,
}

/// One token of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Kind of the token.
    pub kind: Kind,
    /// What stands in the file.
    pub text: &'a str,
    /// Line of its first character, from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Returns true if this token is the word or mark `text`.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && self.text == text
    }

    /// Returns true if this token is a line of the documentation of the item that follows it.
    pub fn is_doc(&self) -> bool {
        self.kind == Kind::Comment && self.text.starts_with("///") && !self.text.starts_with("////")
    }
}

/// Returns the folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("node lies in the workspace").to_owned()
}

/// Returns the folders of the workspace's members, relative to its root, in the order of Cargo.toml.
pub fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let (_, list) = manifest.split_once("members = [").expect("the workspace lists its members");
    let (list, _) = list.split_once(']').expect("the list of members ends");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns each `.rs` file below `folder`, which is relative to the workspace's root, with its text, ordered by path.
/// Paths are relative to the workspace's root.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry of a source folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let relative = path.strip_prefix(root()).expect("the walk began below the root");
                found.push((relative.to_str().expect("our paths are UTF-8").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Splits the text of a file into tokens.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            line += usize::from(bytes[at] == b'\n');
            at += 1;
            continue;
        }
        let (kind, length) = first(&text[at..]);
        let whole = &text[at..at + length];
        let shown = if kind == Kind::Text { unquoted(whole) } else { whole };
        found.push(Token { kind, text: shown, line });
        line += whole.bytes().filter(|byte| *byte == b'\n').count();
        at += length;
    }
    found
}

/// Returns the kind and the length in bytes of the token at the start of `text`, which begins with no white space.
fn first(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    let word = |from: usize| from + text[from..].chars().take_while(|c| is_word(*c)).map(char::len_utf8).sum::<usize>();
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, block_comment(text));
    }
    if let Some(length) = string(text) {
        return (Kind::Text, length);
    }
    if bytes[0] == b'\'' || text.starts_with("b'") {
        let open = text.find('\'').expect("it was seen") + 1;
        let mut chars = text[open..].chars();
        let (one, two) = (chars.next(), chars.next());
        if one == Some('\\') {
            let from = open + 2;
            return (Kind::Other, text[from..].find('\'').map_or(text.len(), |end| from + end + 1));
        }
        if two == Some('\'') {
            return (Kind::Other, open + one.map_or(0, char::len_utf8) + 1);
        }
        return (Kind::Other, word(open).max(1));
    }
    let c = text.chars().next().expect("the text is not empty");
    if c.is_ascii_digit() {
        return (Kind::Other, word(0));
    }
    if is_word(c) {
        let from = if text.starts_with("r#") { 2 } else { 0 };
        return (Kind::Word, word(from));
    }
    (Kind::Mark, if text.starts_with("::") { 2 } else { c.len_utf8() })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the length of the string at the start of `text`, if there is one.
fn string(text: &str) -> Option<usize> {
    let prefix = text.bytes().take_while(|byte| b"bcr".contains(byte)).count();
    let raw = text[..prefix].ends_with('r');
    let hashes = if raw { text[prefix..].bytes().take_while(|byte| *byte == b'#').count() } else { 0 };
    let open = prefix + hashes + 1;
    if prefix > 2 || text.as_bytes().get(open - 1) != Some(&b'"') {
        return None;
    }
    if raw {
        let end: String = iter::once('"').chain(iter::repeat_n('#', hashes)).collect();
        return Some(text[open..].find(&end).map_or(text.len(), |at| open + at + end.len()));
    }
    let mut at = open;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    Some(text.len())
}

/// Returns a string without its prefix, hashes and quotes.
fn unquoted(whole: &str) -> &str {
    let inside = whole.trim_start_matches(['b', 'c', 'r']).trim_matches('#');
    inside.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(inside)
}

/// Returns the length of the block comment at the start of `text`. Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Returns the tokens without the items under `#[cfg(test)]` and their documentation. Other comments stay.
pub fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            while kept.last().is_some_and(|token: &Token<'a>| token.is_doc()) {
                kept.pop();
            }
            at += item(&tokens[at..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Returns true if the tokens begin with `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub fn is_test_attribute(tokens: &[Token<'_>]) -> bool {
    let begins = |marks: &[&str]| marks.iter().enumerate().all(|(at, mark)| tokens.get(at).is_some_and(|t| t.is(mark)));
    begins(&["#", "[", "cfg", "(", "test", ")"]) || begins(&["#", "[", "cfg", "(", "all", "(", "test", ","])
}

/// Returns how many tokens the item at the start takes, with its attributes: up to its first `;` outside of brackets, or
/// to the end of its first block.
pub fn item(tokens: &[Token<'_>]) -> usize {
    let mut depth: usize = 0;
    for (at, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            "]" | ")" => depth = depth.saturating_sub(1),
            "}" if depth <= 1 => return at + depth,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Returns the words at the start of `tokens` with `::` between them.
pub fn path<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut words = vec![tokens[0].text];
    for pair in tokens[1..].chunks(2) {
        match pair {
            [mark, word] if mark.is("::") && word.kind == Kind::Word => words.push(word.text),
            _ => break,
        }
    }
    words
}

/// Returns how many tokens the generics at the start take: 0 if there are none.
pub fn generics(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        let arrow = token.is(">") && at > 0 && tokens[at - 1].is("-");
        depth += i32::from(token.is("<")) - i32::from(token.is(">") && !arrow);
        if depth == 0 {
            return if token.is(">") { at + 1 } else { 0 };
        }
    }
    0
}
