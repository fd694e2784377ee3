//! `sund-channel reset`.
use super::Answer;
use crate::provision::sign_reset;
use crate::repository::keys::KeyPlace;
use crate::repository::{files, in_days};
use serde_json::json;
use std::path::PathBuf;
use sund_ota::fault::Fault;
use sund_ota::reset::{FILE, Order};

#[derive(Debug, clap::Args)]
pub(super) struct Reset {
    /// Whose box it is.
    #[arg(long)]
    region: String,
    /// Its name.
    #[arg(long = "box")]
    name: String,
    /// The region's provisioning key: a file, or in a token (`pkcs11:...`).
    #[arg(long)]
    key: KeyPlace,
    /// The stick, or another directory.
    #[arg(long)]
    out: PathBuf,
    /// Days for which the order can be used.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=30))]
    days: u32,
    /// Gives up what the box has not sent and not forwarded.
    #[arg(long)]
    discard: bool,
}

pub(super) fn run(it: &Reset) -> Result<Answer, Fault> {
    let order = Order {
        format: 1,
        region: it.region.clone(),
        name: it.name.clone(),
        created: jiff::Timestamp::now(),
        expires: in_days(i64::from(it.days))?,
        discard: it.discard,
    };
    let file = it.out.join(FILE);
    files::write(&file, &sign_reset(&order, it.key.open()?.as_ref())?, 0o600)?;
    let given_up = if order.discard { "with all that it has not sent" } else { "once all that it has was sent" };
    let lines = vec![
        format!("{}: {} of {} loses its data, {given_up}", file.display(), order.name, order.region),
        format!(
            "good until {}; next: put it into the box on a stick whose file system is labelled SUND",
            order.expires
        ),
    ];
    let json = json!({
        "file": file, "box": order.name, "region": order.region, "expires": order.expires, "discard": order.discard,
    });
    Ok(Answer::new(lines, json))
}
