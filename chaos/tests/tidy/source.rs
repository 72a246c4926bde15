//! The repository's texts, and Rust code without its comments and strings.

use std::fmt;
use std::fs;
use std::path::Path;

/// Texts that are not ours to word.
const FOREIGN: [&str; 2] = ["LICENSE", "Cargo.lock"];

/// Folders that hold no source.
const SKIPPED: [&str; 3] = [".git", "target", ".proptest-regressions"];

pub(crate) struct SourceFile {
    /// From the repository's root, with '/'.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.extension() == Some("rs")
    }

    pub(crate) fn extension(&self) -> Option<&str> {
        Path::new(&self.path).extension()?.to_str()
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1; 0 means the whole file.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Returns every text of the repository, sorted by path.
pub(crate) fn repository() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository");
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "{} is no repository", root.display());
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("an entry of the repository can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_symlink() || SKIPPED.contains(&name) || FOREIGN.contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("it lies below the root");
            files.push(SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// Returns Rust code with the contents of comments, strings and character literals blanked; lines stay where they are.
pub(crate) fn code_only(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let word_before = code.chars().next_back().is_some_and(|last| last.is_alphanumeric() || last == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if first == 'r' && !word_before {
            raw_string(rest)
        } else if rest.starts_with("br") && !word_before {
            match raw_string(&rest[1..]) {
                0 => 0,
                length => length + 1,
            }
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|blanked| if blanked == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Returns 0 when no raw string begins here, such as at a raw identifier or a plain word.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|character| *character == '#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&end).map_or(text.len(), |at| open + 1 + at + end.len())
}

/// Returns 0 at a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((escape, letter))) => {
            let after = escape + letter.len_utf8();
            text[after..].find('\'').map_or(0, |at| after + at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        (Some(_) | None, _) => 0,
    }
}

/// A text for the rules' own tests.
pub(crate) fn sample(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

#[test]
fn comments_strings_and_characters_are_blanked() {
    let check = |text: &str, expect: &str| assert_eq!(code_only(text), expect, "{text}");
    check("a // {b\nc", "a      \nc");
    check("a /* { /* \n */ } */ b", "a         \n         b");
    check(r#"f("{\"{", x)"#, "f(      , x)");
    check(r##"f(r#"{" "#, b"{")"##, "f(        , b   )");
    check(r##"f(br#"{" "#, break)"##, "f(         , break)");
    check("r#type for_r\"{\"", "r#type for_r   ");
    check("'{' '\\'' &'a str '\\u{7b}'", "         &'a str         ");
}
