//! What README.md shows: its commands in the order of the page, its flags of the demo, its pieces of XML.

/// The flags of the demo stand in the section under this heading.
const DEMO_SECTION: &str = "## Sixty seconds";

/// The text of README.md.
pub(crate) const README: &str = include_str!("../../../README.md");

/// Returns the commands, in the order of the page: lines of fenced blocks and spans of inline code.
///
/// A span may leave `quorumfence` out when its first word is one of `verbs` and others follow: `token create …`.
pub(crate) fn commands(page: &str, verbs: &[String]) -> Vec<String> {
    let mut commands = Vec::new();
    for part in parts(page) {
        match part {
            Part::Fenced { lines, .. } => {
                commands.extend(lines.into_iter().filter(|line| is_command(line)).map(Into::into));
            }
            Part::Prose(line) => {
                for span in spans(line) {
                    let is_short =
                        span.split_once(' ').is_some_and(|(first, _)| verbs.iter().any(|verb| verb == first));
                    if is_short {
                        commands.push(format!("quorumfence {span}"));
                    } else if is_command(span) {
                        commands.push(span.into());
                    }
                }
            }
        }
    }
    commands
}

/// Returns the spans of the demo's section that are flags, such as `--lesson partition`.
pub(crate) fn demo_flags(page: &str) -> Vec<&str> {
    let section = page.split_once(DEMO_SECTION).expect("README has the demo's section").1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let prose = parts(section).into_iter().filter_map(|part| match part {
        Part::Prose(line) => Some(line),
        Part::Fenced { .. } => None,
    });
    prose.flat_map(spans).filter(|span| span.starts_with("--")).collect()
}

/// Returns the fenced blocks of one language.
pub(crate) fn blocks(page: &str, wanted: &str) -> Vec<String> {
    let blocks = parts(page).into_iter().filter_map(|part| match part {
        Part::Fenced { language, lines } if language == wanted => Some(lines.join("\n")),
        Part::Fenced { .. } | Part::Prose(_) => None,
    });
    blocks.collect()
}

/// Returns the words of a command as a shell would, of which README uses blanks and double quotes only.
pub(crate) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, piece) in command.split('"').enumerate() {
        let is_quoted = number % 2 == 1;
        if is_quoted {
            words.push(piece.into());
        } else {
            words.extend(piece.split_whitespace().map(Into::into));
        }
    }
    words
}

enum Part<'a> {
    Fenced { language: &'a str, lines: Vec<&'a str> },
    Prose(&'a str),
}

fn parts(page: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let part = match line.strip_prefix("```") {
            Some(language) => {
                Part::Fenced { language, lines: lines.by_ref().take_while(|line| !line.starts_with("```")).collect() }
            }
            None => Part::Prose(line),
        };
        parts.push(part);
    }
    parts
}

/// The demo's first line of output, `quorumfence 1.2.3 demo`, is no command.
fn is_command(line: &str) -> bool {
    let is_quorumfence = line
        .strip_prefix("quorumfence ")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '-'));
    is_quorumfence || line.starts_with("./deploy/")
}

/// Spans of inline code do not run over the end of a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    assert!(line.matches('`').count().is_multiple_of(2), "a span of code is not closed in its line: {line}");
    line.split('`').skip(1).step_by(2)
}
