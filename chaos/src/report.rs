//! A run as one page: what it came to, its timeline drawn, and the plain log below.
//!
//! The page is one file that asks for nothing else, works without scripts, and shows whatever names and words a run
//! has as text.

mod drawing;
mod page;
mod style;
pub mod timeline;

pub use self::page::{Summary, page};

/// Returns a text as HTML and SVG show it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // A control character can hide what stands beside it, and is not allowed in XML.
            letter if letter.is_control() && letter != '\n' && letter != '\t' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}
