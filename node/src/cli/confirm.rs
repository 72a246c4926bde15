//! Confirmation of what cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use super::{Exit, Failure, Globals};

/// Returns whether anybody can confirm what `meaning` says.
pub(super) fn somebody_is_there(globals: &Globals, meaning: &str) -> Result<(), Failure> {
    if globals.yes || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        format!(
            "this needs a person to confirm it, and there is no terminal; nothing was done. {meaning} Give --yes if a script has made sure of it."
        ),
    ))
}

/// Lets a person type the name of what is at stake; scripts say `--yes`.
///
/// `meaning` says what follows. Without a terminal and without `--yes` the answer is no.
pub(super) fn typed_name(globals: &Globals, name: &str, meaning: &str) -> Result<(), Failure> {
    somebody_is_there(globals, meaning)?;
    if globals.yes {
        return Ok(());
    }
    let unusable = |error: std::io::Error| Failure::of(Exit::Failed, &error);
    let mut out = std::io::stderr().lock();
    write!(out, "{meaning}\nType the name '{name}' to go on: ").and_then(|()| out.flush()).map_err(unusable)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unusable)?;
    if line.trim() == name {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("that was not '{name}'; nothing was done")))
}
