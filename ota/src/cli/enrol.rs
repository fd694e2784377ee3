//! `enrol`.
use super::run::failed;
use crate::config::Config;
use crate::exit::Exit;
use crate::identity;
use url::Url;

pub(super) async fn enrol(config: Config, code: String, server: Option<Url>) -> Exit {
    let server = server.unwrap_or_else(|| config.server.clone());
    let server = match crate::config::base("--server", server) {
        Ok(server) => server,
        Err(reason) => {
            eprintln!("{reason}");
            return Exit::Usage;
        }
    };
    match identity::enrol(&config, &server, &code).await {
        Ok(_) => Exit::Done,
        Err(fault) => failed(&fault),
    }
}
