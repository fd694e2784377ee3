//! `status`.
use super::run::failed;
use crate::config::Config;
use crate::exit::Exit;
use crate::status::Status;

#[expect(clippy::print_stdout, reason = "stdout is for data, and this is the data")]
pub(super) fn status(config: &Config, json: bool) -> Exit {
    let status = match Status::read(config) {
        Ok(status) => status,
        Err(fault) => return failed(&fault),
    };
    if !json {
        print!("{}", status.in_words());
        return Exit::Done;
    }
    match serde_json::to_string_pretty(&status) {
        Ok(text) => {
            println!("{text}");
            Exit::Done
        }
        Err(error) => {
            eprintln!("{error}");
            Exit::Failed
        }
    }
}
