//! Plain words, no decoration, nothing of the machine that a text was written on.
//!
//! Every banned text is put together from pieces, so that these rules can be run over this file too.

use crate::source::{Finding, SourceFile, code_only};

/// Claims that nobody checks, and excuses.
const PHRASES: [&str; 8] = [
    concat!("in a real ", "implementation"),
    concat!("for ", "now"),
    concat!("rob", "ust"),
    concat!("blazing", "ly"),
    concat!("comprehen", "sive"),
    concat!("production", "-ready"),
    concat!("as ", "requested"),
    concat!("TO", "DO"),
];

/// Unbuilt things are absent, not promised.
const MACROS: [&str; 2] = [concat!("to", "do!"), concat!("unimple", "mented!")];

/// Folders of the machine that a text was written on.
const PLACES: [&str; 2] = [concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// Package registries: a mirror is a matter of the machine's settings.
const REGISTRIES: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js.org"),
    concat!("deb", ".debian.org"),
    concat!("proxy.", "golang.org"),
];

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut drawing = false;
    for (line, number) in file.text.lines().zip(1..) {
        findings.extend(phrases(line).map(|phrase| file.finding(number, format!("'{phrase}'"))));
        findings.extend(places(line).map(|place| file.finding(number, format!("the machine's own '{place}'"))));
        let registries = REGISTRIES.iter().filter(|registry| line.contains(**registry));
        findings.extend(registries.map(|registry| file.finding(number, format!("the registry '{registry}'"))));
        if let Some(found) = line.chars().find(|character| is_emoji(*character)) {
            findings.push(file.finding(number, format!("the emoji U+{:04X}", u32::from(found))));
        }
        if let Some(words) = comment(file, line) {
            drawing ^= words.starts_with("```");
            if !drawing && is_banner(words) {
                findings.push(file.finding(number, "a banner; a heading is a doc comment or a file"));
            }
        }
    }
    if file.is_rust() {
        for (line, number) in code_only(&file.text).lines().zip(1..) {
            let found = MACROS.iter().filter(|name| line.contains(**name));
            findings.extend(found.map(|name| file.finding(number, format!("'{name}'"))));
        }
    }
    findings
}

fn phrases(line: &str) -> impl Iterator<Item = &'static str> {
    let lower = line.to_lowercase();
    PHRASES.into_iter().filter(move |phrase| {
        // A shout is found only as a shout; the rest in any spelling.
        let shout = phrase.chars().all(char::is_uppercase);
        let text = if shout { line } else { lower.as_str() };
        text.match_indices(*phrase).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + phrase.len()..]);
            let is_word = |character: char| character.is_alphanumeric() || character == '_';
            // A loop over moments is code: `for <moment> in moments`.
            !before.ends_with(is_word) && !after.starts_with(is_word) && !after.starts_with(" in ")
        })
    })
}

fn places(line: &str) -> impl Iterator<Item = &'static str> {
    PLACES.into_iter().filter(|place| {
        line.match_indices(*place).any(|(at, _)| {
            // A folder of that name further down a path is somebody else's.
            !line[..at]
                .ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '-' | '.' | '}' | '*'))
        })
    })
}

fn is_emoji(character: char) -> bool {
    matches!(u32::from(character), 0x1F000..=0x1FAFF | 0x2600..=0x26FF | 0x2705 | 0x2728 | 0x274C | 0x2B50 | 0xFE0F)
}

/// Returns the words of a comment line in a language whose comments are known here.
fn comment<'a>(file: &SourceFile, line: &'a str) -> Option<&'a str> {
    let line = line.trim();
    let words = match file.extension() {
        Some("rs" | "proto") => line.strip_prefix("//")?.trim_start_matches(['/', '!']),
        Some("toml" | "sh" | "py" | "yml" | "yaml" | "conf") => line.strip_prefix('#')?,
        Some(_) | None => return None,
    };
    // Slashes in a row are a ruler too, not an empty comment.
    Some(if words.is_empty() && line.len() > 3 { line } else { words.trim() })
}

fn is_banner(words: &str) -> bool {
    if words.starts_with('|') {
        return false;
    }
    ["=", "-", "*", "#", "~", "/", "_", "+"].iter().any(|mark| words.contains(&mark.repeat(4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    fn check_text(path: &str, text: &str, guilty: bool) {
        assert_eq!(!check(&sample(path, text)).is_empty(), guilty, "{path}: {text}");
    }

    #[test]
    fn claims_and_excuses_are_found_in_any_spelling() {
        for phrase in PHRASES {
            check_text("a.md", &format!("It is {phrase}, they say."), true);
        }
        check_text("a.md", &format!("A {} store.", PHRASES[2].to_uppercase()), true);
        check_text("a.md", &format!("{}ness is a noun.", PHRASES[2]), false);
        check_text("a.rs", &format!("{} in moments {{}}", PHRASES[1]), false);
        check_text("a.rs", &format!("{}_ms", PHRASES[1]), false);
        check_text("a.md", "todo lists are fine", false);
    }

    #[test]
    fn unbuilt_code_is_found_outside_of_words() {
        check_text("a.rs", &format!("fn a() {{ {}() }}", MACROS[0]), true);
        check_text("a.rs", &format!("fn a() {{ {}() }}", MACROS[1]), true);
        check_text("a.rs", &format!("// {}", MACROS[1]), false);
    }

    #[test]
    fn places_of_a_machine_are_found() {
        for place in PLACES {
            check_text("a.sh", &format!("cd {place}main"), true);
            check_text("a.sh", &format!("cd \"{place}main\""), true);
            check_text("a.sh", &format!("cd \"$HOME{place}main\""), false);
            check_text("a.sh", &format!("cd chroot{place}main"), false);
        }
    }

    #[test]
    fn registries_are_found() {
        for registry in REGISTRIES {
            check_text("a.toml", &format!("url = \"https://{registry}/x\""), true);
        }
        check_text("a.toml", "url = \"https://mirror.example/x\"", false);
    }

    #[test]
    fn emoji_are_found_and_signs_are_not() {
        check_text("a.md", "done \u{1F680}", true);
        check_text("a.md", "\u{26A0} careful", true);
        check_text("a.md", "done \u{2713}, \u{2192} next, \u{2500}\u{25B6}", false);
    }

    #[test]
    fn banners_are_found_and_drawings_are_not() {
        let (ruler, double) = ("-".repeat(8), "=".repeat(8));
        check_text("a.rs", &format!("// {ruler}"), true);
        check_text("a.rs", &format!("// {double} tests {double}"), true);
        check_text("a.rs", &"/".repeat(40), true);
        check_text("a.toml", &format!("# {ruler}"), true);
        check_text("a.rs", &format!("//! ```text\n//! a {ruler}> b\n//! ```"), false);
        check_text("a.rs", &format!("/// | {ruler} |"), false);
        check_text("a.rs", &format!("let line = \"{ruler}\";"), false);
        check_text("a.rs", "///", false);
        check_text("a.md", &format!("a\n{ruler}"), false);
    }
}
