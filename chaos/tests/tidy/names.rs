//! A name says what a thing is. A name that fits everything collects everything.

use crate::source::{Finding, SourceFile, code_only};

const TYPE_SUFFIXES: [&str; 9] =
    ["Manager", "Helper", "Helpers", "Util", "Utils", "Service", "Engine", "Orchestrator", "Handler"];
const TYPE_KEYWORDS: [&str; 4] = ["struct ", "enum ", "trait ", "type "];
const FILE_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// Where a markdown page may be; anywhere else it would be a second truth.
const PAGES: [&str; 5] = ["README.md", "CONTRIBUTING.md", "STYLE.md", "raft/machine/README.md", "chaos/README.md"];
const PAGE_FOLDERS: [&str; 2] = ["deploy/docs/", "chaos/scenarios/"];

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let page_has_a_place =
        PAGES.contains(&file.path.as_str()) || PAGE_FOLDERS.iter().any(|folder| file.path.starts_with(folder));
    if file.extension() == Some("md") && !page_has_a_place {
        findings.push(file.finding(0, "a markdown page outside README, CONTRIBUTING, deploy/docs and the stories"));
    }
    if file.is_rust() {
        findings.extend(file_name(file));
        findings.extend(code_only(&file.text).lines().zip(1..).flat_map(|(line, number)| code(file, line, number)));
    }
    findings
}

fn file_name(file: &SourceFile) -> Option<Finding> {
    let part = file.path.split('/').map(|part| part.trim_end_matches(".rs")).find(|part| FILE_NAMES.contains(part))?;
    Some(file.finding(0, format!("'{part}' names no subject")))
}

fn code(file: &SourceFile, line: &str, number: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for keyword in TYPE_KEYWORDS {
        let Some(name) = word_after(line, keyword) else { continue };
        if let Some(suffix) = TYPE_SUFFIXES.iter().find(|suffix| name.ends_with(*suffix)) {
            findings.push(file.finding(number, format!("'{name}': '{suffix}' says nothing; name the subject")));
        }
    }
    if let Some(name) = word_after(line, "fn ").filter(|name| name.starts_with(concat!("test", "_"))) {
        findings.push(file.finding(number, format!("'{name}': a test's name is a sentence")));
    }
    findings
}

/// Returns the word that follows a keyword which begins the line, after visibility and the like.
fn word_after<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let at = line.find(keyword)?;
    if line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
        return None;
    }
    line[at + keyword.len()..].split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    fn check_text(path: &str, text: &str, guilty: bool) {
        assert_eq!(!check(&sample(path, text)).is_empty(), guilty, "{path}: {text}");
    }

    #[test]
    fn a_type_that_is_named_after_nothing_is_found() {
        check_text("a.rs", concat!("pub(crate) struct Fence", "Manager;"), true);
        check_text("a.rs", concat!("    type Host", "Service = u8;"), true);
        check_text("a.rs", concat!("trait Engine", "Util {}"), true);
        check_text("a.rs", "struct ManagerVote;", false);
        check_text("a.rs", concat!("// struct Fence", "Manager"), false);
        check_text("a.rs", concat!("use tonic::server::Named", "Service;"), false);
    }

    #[test]
    fn a_file_that_is_named_after_nothing_is_found() {
        check_text("raft/src/utils.rs", "", true);
        check_text("raft/tests/common/mod.rs", "", true);
        check_text("raft/src/commons.rs", "", false);
    }

    #[test]
    fn a_test_whose_name_is_no_sentence_is_found() {
        check_text("a.rs", concat!("fn te", "st_fence() {}"), true);
        check_text("a.rs", "fn testing_a_fence_is_refused() {}", false);
    }

    #[test]
    fn a_page_without_a_place_is_found() {
        check_text("SUMMARY.md", "", true);
        check_text("node/README.md", "", true);
        check_text("README.md", "", false);
        check_text("deploy/docs/runbooks/bmc.md", "", false);
        check_text("chaos/scenarios/fencing/bmc-silent/README.md", "", false);
    }
}
