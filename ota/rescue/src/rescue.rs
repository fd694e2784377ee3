//! The rescue itself: the one place that knows the order.
use crate::config::Config;
use crate::descriptor::Admitted;
use crate::destination::Writing;
use crate::fault::{Blame, Fault};
use crate::http;
use crate::identity::Proven;
use crate::limits::MAX_DESCRIPTOR;
use crate::moment::Moment;
use crate::role::{Signed, hex};
use crate::source::Source;
use crate::tls::{Buffers, Connection};
use crate::tpm;
use rustls_pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use std::thread;

/// What happens on the way, for the console.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// No bundle below this version is taken.
    Minimum(u64),
    /// This source offers this version.
    Offered(&'a Source, u64),
    /// This source, or its bundle, was refused or failed.
    Refused(&'a Source, &'a Fault),
    /// So many bytes of so many have come from it.
    Received(&'a Source, u64, u64),
    /// The connection broke after so many bytes and is resumed.
    Resumes(&'a Source, u64, &'a Fault),
    /// No source gave a bundle; all are asked again.
    AsksAgain,
}

/// Fetches the newest bundle that the recovery role has released, verifies it and makes it valid at the destination.
pub fn rescue(config: &Config, tell: &mut dyn FnMut(Event<'_>)) -> Result<Admitted, Fault> {
    if let Some(device) = &config.closes {
        tpm::close(&mut tpm::open(device)?)?;
    }
    let minimum = config.minimum.read()?;
    tell(Event::Minimum(minimum));
    let mut run = Run { config, minimum, known: config.built, tell, buffers: Buffers::new() };
    let mut gravest = Fault::new("unreachable", Blame::Network, "no source was asked");
    for round in 0..config.patience.rounds {
        if round > 0 {
            (run.tell)(Event::AsksAgain);
            thread::sleep(config.patience.pause * 2_u32.saturating_pow(round - 1));
        }
        for offer in run.offers(&mut gravest) {
            let source = offer.source;
            match run.accept(offer) {
                Ok(admitted) => return Ok(admitted),
                // The next source has the same disk before it.
                Err(fault) if fault.blame == Blame::Box => return Err(fault),
                Err(fault) => run.refuse(source, fault, &mut gravest),
            }
        }
    }
    Err(gravest)
}

struct Run<'a, 'e> {
    config: &'a Config,
    minimum: u64,
    /// It is later than this: the initramfs was made then, or somebody of the role has signed then.
    known: Moment,
    tell: &'e mut dyn FnMut(Event<'_>),
    buffers: Buffers,
}

/// A descriptor that enough persons have signed, where it came from, and whom that source proved to be.
struct Offer<'a> {
    source: &'a Source,
    signed: Signed,
    proven: Proven,
}

impl<'a> Run<'a, '_> {
    /// Asks all sources, and has the newest first: one that is frozen hides nothing that another one has.
    fn offers(&mut self, gravest: &mut Fault) -> Vec<Offer<'a>> {
        let mut offers = Vec::new();
        for source in &self.config.sources {
            match self.ask(source) {
                Ok(offer) => {
                    (self.tell)(Event::Offered(source, offer.signed.get().version));
                    self.known = self.known.max(offer.signed.get().time);
                    offers.push(offer);
                }
                Err(fault) => self.refuse(source, fault, gravest),
            }
        }
        // Stable: of equal ones the source that stands first in the configuration.
        offers.sort_by_key(|offer| std::cmp::Reverse((offer.signed.get().version, offer.signed.get().time)));
        offers
    }

    fn refuse(&mut self, source: &Source, fault: Fault, gravest: &mut Fault) {
        (self.tell)(Event::Refused(source, &fault));
        if fault.blame >= gravest.blame {
            *gravest = fault;
        }
    }

    /// Fetches the descriptor of a source. Its signatures are verified without a look at TLS.
    fn ask(&mut self, source: &'a Source) -> Result<Offer<'a>, Fault> {
        let Config { authorities, descriptor, role, .. } = self.config;
        let mut connection =
            Connection::open(&mut self.buffers, source, authorities, self.known, &self.config.patience)?;
        let answer = http::get(&mut connection, source, descriptor, 0)?;
        if answer.length() > MAX_DESCRIPTOR {
            let reason = format!("rescue.json has more than {MAX_DESCRIPTOR} bytes");
            return Err(Fault::new("envelope-invalid", Blame::Channel, reason));
        }
        let mut envelope = Vec::new();
        answer.read(|piece| {
            envelope.extend(piece);
            Ok(())
        })?;
        let signed = role.verify(&envelope)?;
        Ok(Offer { source, signed, proven: connection.into_proven() })
    }

    /// Judges an offer by all that is known by now, and receives its bundle.
    fn accept(&mut self, offer: Offer<'a>) -> Result<Admitted, Fault> {
        let Offer { source, signed, proven } = offer;
        let admitted = Admitted::new(signed, self.minimum, self.known)?;
        // The certificate was judged when less was known of the time; it may have ended since.
        let name = ServerName::try_from(source.host())
            .map_err(|_| Fault::new("source-invalid", Blame::Configuration, format!("{source} names no server")))?;
        self.config.authorities.judge(proven.chain(), &name, self.known)?;
        let mut writing = Writing::begin(&self.config.destination, admitted.get().bundle.length)?;
        match self.receive(source, &admitted, &mut writing) {
            Ok(()) => writing.finish().map(|()| admitted),
            Err(fault) => {
                writing.give_up()?;
                Err(fault)
            }
        }
    }

    /// Receives a bundle, all of it from this one source: no other one can spoil what it has begun.
    fn receive(&mut self, source: &Source, admitted: &Admitted, writing: &mut Writing) -> Result<(), Fault> {
        let bundle = &admitted.get().bundle;
        let mut digest = Sha256::new();
        let mut resumes = 0;
        while writing.written() < bundle.length {
            let before = writing.written();
            match self.receive_on(source, admitted, writing, &mut digest) {
                Ok(()) => {}
                // A connection that brought something is resumed; each time it has to bring something again.
                Err(fault)
                    if fault.blame == Blame::Network
                        && writing.written() > before
                        && resumes < self.config.patience.resumes =>
                {
                    resumes += 1;
                    (self.tell)(Event::Resumes(source, writing.written(), &fault));
                    thread::sleep(self.config.patience.pause);
                }
                Err(fault) => return Err(fault),
            }
        }
        let digest = hex(&digest.finalize());
        if digest != bundle.sha256 {
            let reason = format!(
                "the bundle of version {} has SHA-256 {digest}, and what was signed is {}: it was altered, and the destination is \
                 not valid",
                admitted.get().version,
                bundle.sha256
            );
            return Err(Fault::new("bundle-altered", Blame::Channel, reason));
        }
        Ok(())
    }

    /// One connection's worth of a bundle.
    fn receive_on(
        &mut self,
        source: &Source,
        admitted: &Admitted,
        writing: &mut Writing,
        digest: &mut Sha256,
    ) -> Result<(), Fault> {
        let bundle = &admitted.get().bundle;
        let authorities = &self.config.authorities;
        let mut connection =
            Connection::open(&mut self.buffers, source, authorities, self.known, &self.config.patience)?;
        let answer = http::get(&mut connection, source, &bundle.path, writing.written())?;
        if answer.start() + answer.length() != bundle.length {
            let reason = format!(
                "the source has a bundle of {} bytes, and what was signed has {}: it was cut or altered",
                answer.start() + answer.length(),
                bundle.length
            );
            return Err(Fault::new("bundle-altered", Blame::Channel, reason));
        }
        if answer.start() != writing.written() {
            writing.restart()?;
            *digest = Sha256::new();
        }
        // Each tenth is told.
        let step = bundle.length.div_ceil(10);
        let mut told = writing.written() / step;
        let tell = &mut *self.tell;
        answer.read(|piece| {
            digest.update(piece);
            writing.write(piece)?;
            if writing.written() / step > told {
                told = writing.written() / step;
                tell(Event::Received(source, writing.written(), bundle.length));
            }
            Ok(())
        })
    }
}
