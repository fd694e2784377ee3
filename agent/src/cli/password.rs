//! `sund hash-password`: for `[[console.users]]`.
use super::{fail, print};
use crate::console::hash_password;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use std::io::{IsTerminal as _, Read as _};
use zeroize::Zeroizing;

/// Longest password that is read.
const MAX: u64 = 1024;

/// Reads a password from standard input, which is not shown where that is a terminal: it is not read from there.
pub(super) fn run() -> Exit {
    let input = std::io::stdin();
    if input.is_terminal() {
        let reason = "a terminal would show the password; use: read -rs P && printf %s \"$P\" | sund hash-password";
        return fail(&Fault::new("password-on-terminal", Blame::Configuration, reason));
    }
    let mut password = Zeroizing::new(String::new());
    if let Err(error) = input.lock().take(MAX).read_to_string(&mut password) {
        return fail(&Fault::new("password-unreadable", Blame::Configuration, error.to_string()));
    }
    match hash_password(password.trim_end_matches(['\r', '\n'])) {
        Ok(hash) => print(&format!("{hash}\n")),
        Err(fault) => fail(&fault),
    }
}
