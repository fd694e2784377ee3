//! A box that has to be rescued.
use crate::authority::Authority;
use crate::released::{key, person};
use std::path::PathBuf;
use std::time::Duration;
use sund_rescue::config::Config;
use sund_rescue::descriptor::Admitted;
use sund_rescue::fault::Fault;
use sund_rescue::identity::Authorities;
use sund_rescue::limits::Patience;
use sund_rescue::minimum::Minimum;
use sund_rescue::moment::Moment;
use sund_rescue::rescue::{Event, rescue};
use sund_rescue::role::Role;
use sund_rescue::source::Source;
use tempfile::TempDir;

/// The box: its directory and its configuration.
pub struct World {
    directory: TempDir,
    pub config: Config,
    /// What was told on the way.
    pub told: Vec<String>,
}

impl World {
    /// A box that takes version 3 and later, signed by two of three persons, from these sources.
    pub fn new(authority: &Authority, sources: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let minimum = directory.path().join("minimum");
        std::fs::write(&minimum, "3\n").expect("it is written");
        let persons = vec![person("Ane", &key(1)), person("Bo", &key(2)), person("Carl", &key(3))];
        let patience = Patience {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(20),
            grace: Duration::from_secs(40),
            pause: Duration::from_millis(10),
            rounds: 1,
            ..Patience::default()
        };
        let config = Config {
            sources: sources.iter().map(|address| Source::parse(address).expect("a source")).collect(),
            descriptor: "rescue/rescue.json".to_owned(),
            authorities: Authorities::from_pem(authority.pem.as_bytes()).expect("an authority"),
            built: Moment::parse("2026-01-01T00:00:00Z").expect("a time"),
            role: Role::new(persons, 2).expect("a role"),
            minimum: Minimum { file: Some(minimum), tpm: None },
            closes: None,
            network: None,
            destination: directory.path().join("bundle"),
            patience,
        };
        Self { directory, config, told: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn rescue(&mut self) -> Result<Admitted, Fault> {
        let told = &mut self.told;
        rescue(&self.config, &mut |event| {
            told.push(match event {
                Event::Minimum(version) => format!("minimum {version}"),
                Event::Offered(_, version) => format!("offered {version}"),
                Event::Refused(_, fault) => format!("refused {}", fault.code),
                Event::Received(_, bytes, all) => format!("received {bytes} of {all}"),
                Event::Resumes(_, bytes, fault) => format!("resumes at {bytes} {}", fault.code),
                Event::AsksAgain => "asks again".to_owned(),
            });
        })
    }

    /// Tries, and gives the code of the refusal; what lies at the destination then is not valid.
    pub fn refusal(&mut self) -> &'static str {
        let fault = self.rescue().expect_err("it has to be refused");
        assert!(!self.config.destination.exists(), "something lies at the destination after {fault}");
        fault.code
    }

    /// What lies at the destination.
    pub fn written(&self) -> Vec<u8> {
        std::fs::read(&self.config.destination).expect("a bundle")
    }
}
