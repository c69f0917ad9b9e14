//! Asking before something is destroyed.
//!
//! Constraint: nobody who cannot be asked is taken to agree: a script says `--yes`.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;

/// Asks whether to go on; `what` is the whole of what would happen, as in "delete subscription routing".
///
/// # Errors
/// When the answer is not yes, or nobody can be asked.
pub fn confirm(agreed: bool, what: &str) -> Result<(), Failure> {
    if agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("this would {what}; nobody can be asked here, so say --yes if that is meant")));
    }
    eprint!("This will {what}. Type yes to go on: ");
    io::stderr().flush().map_err(Failure::failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::Failed("nothing was done".to_owned())) }
}
