//! Nobody reviews what does not fit in a head: 500 lines a file, 70 lines of code a function.

use crate::source::{Finding, SourceFile, code_only};

const FILE_LINES_MAX: usize = 500;
const FILE_WITH_TESTS_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    let max = if has_tests_inside(&code) { FILE_WITH_TESTS_LINES_MAX } else { FILE_LINES_MAX };
    if lines > max {
        findings.push(file.finding(0, format!("{lines} lines, more than {max}")));
    }
    for function in functions(&code) {
        if function.lines > FUNCTION_LINES_MAX {
            let what =
                format!("{} has {} lines of code, more than {FUNCTION_LINES_MAX}", function.name, function.lines);
            findings.push(file.finding(function.at, what));
        }
    }
    findings
}

fn has_tests_inside(code: &str) -> bool {
    let mut lines = code.lines().map(str::trim);
    lines.any(|line| line == "#[cfg(test)]") && code.contains("mod tests {")
}

struct Function<'a> {
    name: &'a str,
    at: usize,
    /// Lines of its body that hold code, as clippy counts them.
    lines: usize,
}

fn functions(code: &str) -> Vec<Function<'_>> {
    let mut functions = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let inside_a_word = code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let signature = &code[start + 3..];
        let name_end = signature.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(signature.len());
        if inside_a_word || name_end == 0 || is_excepted(&code[..start]) {
            continue;
        }
        if let Some(body) = body(signature) {
            let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
            let at = code[..start].matches('\n').count() + 1;
            functions.push(Function { name: &signature[..name_end], at, lines });
        }
    }
    functions
}

/// Returns whether the function's attributes argue for its length, as clippy asks for it.
fn is_excepted(before: &str) -> bool {
    let item = before.rfind(['}', '{', ';']).map_or(0, |end| end + 1);
    before[item..].contains("expect(clippy::too_many_lines")
}

/// Returns what stands between the braces, or nothing for a declaration without a body.
fn body(signature: &str) -> Option<&str> {
    // A semicolon inside brackets is an array's length, not the end of a declaration.
    let mut brackets = 0_usize;
    let mut depth = 0_usize;
    let mut open = 0;
    for (at, character) in signature.char_indices() {
        match character {
            '[' | '(' if depth == 0 => brackets += 1,
            ']' | ')' if depth == 0 => brackets = brackets.saturating_sub(1),
            ';' if depth == 0 && brackets == 0 => return None,
            '{' => {
                if depth == 0 {
                    open = at + 1;
                }
                depth += 1;
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(&signature[open..at]);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    fn function(lines: usize) -> String {
        format!("fn long(bytes: [u8; 4]) {{\n{}}}\n", "    // words { only\n\n    call(\"}\");\n".repeat(lines))
    }

    #[test]
    fn a_long_function_is_found_and_comments_do_not_count() {
        assert_eq!(check(&sample("a.rs", &function(70))), []);
        let guilty = sample("a.rs", &format!("\n{}", function(71)));
        assert_eq!(check(&guilty), [guilty.finding(2, "long has 71 lines of code, more than 70")]);
        let argued = format!("#[expect(clippy::too_many_lines, reason = \"one arm each\")]\npub {}", function(71));
        assert_eq!(check(&sample("a.rs", &argued)), []);
        assert_eq!(
            check(&sample("a.rs", &format!("{argued}{}", function(71)))).len(),
            1,
            "only the next function is excepted"
        );
    }

    #[test]
    fn a_declaration_is_not_taken_for_the_next_function() {
        let text = format!(
            "trait T {{\n    fn short(&self, bytes: [u8; 4]);\n}}\nstruct S {{\n{}}}\n",
            "    a: u8,\n".repeat(90)
        );
        assert_eq!(check(&sample("a.rs", &text)), []);
    }

    #[test]
    fn a_long_file_is_found_and_tests_inside_allow_more() {
        let check_file = |text: String, expect: Option<&str>| {
            let file = sample("a.rs", &text);
            let expect: Vec<Finding> = expect.into_iter().map(|what| file.finding(0, what)).collect();
            assert_eq!(check(&file), expect);
        };
        let tests = "#[cfg(test)]\nmod tests {\n}\n";
        check_file("\n".repeat(500), None);
        check_file("\n".repeat(501), Some("501 lines, more than 500"));
        check_file("\n".repeat(697) + tests, None);
        check_file("\n".repeat(698) + tests, Some("701 lines, more than 700"));
        assert_eq!(check(&sample("a.txt", &"\n".repeat(900))), []);
    }
}
