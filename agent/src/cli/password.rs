//! `sund hash-password`: for `[[console.users]]`.
use super::{fail, print};
use crate::console::hash_password;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use console::Term;
use std::io::{IsTerminal as _, Read as _};
use zeroize::Zeroizing;

/// Longest password that is read, in bytes.
const MAX: u64 = 1024;

/// Prints the PHC string of a password: asked for twice and not shown on a terminal, else read from standard input.
pub(super) fn run() -> Exit {
    let password = if std::io::stdin().is_terminal() { ask() } else { pipe() };
    match password.and_then(|password| hash_password(&password)) {
        Ok(hash) => print(&format!("{hash}\n")),
        Err(fault) => fail(&fault),
    }
}

fn ask() -> Result<Zeroizing<String>, Fault> {
    let terminal = Term::stderr();
    let read = |prompt: &str| {
        terminal.write_str(prompt).and_then(|()| terminal.read_secure_line()).map(Zeroizing::new).map_err(unreadable)
    };
    let (first, second) = (read("Password: ")?, read("Again: ")?);
    if *first != *second {
        return Err(Fault::new("password-mistyped", Blame::Configuration, "the two passwords differ"));
    }
    given(first)
}

fn pipe() -> Result<Zeroizing<String>, Fault> {
    let mut password = Zeroizing::new(String::new());
    std::io::stdin().lock().take(MAX).read_to_string(&mut password).map_err(unreadable)?;
    // A line of a pipe ends; a password does not end with its line's end.
    let length = password.trim_end_matches(['\r', '\n']).len();
    password.truncate(length);
    given(password)
}

fn given(password: Zeroizing<String>) -> Result<Zeroizing<String>, Fault> {
    if password.is_empty() {
        return Err(Fault::new("password-unreadable", Blame::Configuration, "no password was given"));
    }
    Ok(password)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn unreadable(error: std::io::Error) -> Fault {
    Fault::new("password-unreadable", Blame::Configuration, format!("the password cannot be read: {error}"))
}
