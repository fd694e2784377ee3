//! The commands, in their own bytes.
use super::answer::{Answer, Malformed};
use super::transport::{self, Line};
use super::{Place, away, refused};
use crate::fault::{Blame, Fault};
use std::time::Duration;

/// TPM_ST_NO_SESSIONS and TPM_ST_SESSIONS (Part 2, 6.9).
pub(super) const NO_SESSIONS: u16 = 0x8001;
pub(super) const SESSIONS: u16 = 0x8002;
/// TPM_RH_OWNER and TPM_RH_NULL (Part 2, 7.4).
pub(super) const OWNER: u32 = 0x4000_0001;
const NO_HIERARCHY: u32 = 0x4000_0007;
/// TPM_RS_PW: the authorization is a password (Part 2, 7.4).
const PASSWORD: u32 = 0x4000_0009;
/// TPM_CC (Part 2, 6.5.2).
const EVICT_CONTROL: u32 = 0x120;
const CREATE_PRIMARY: u32 = 0x131;
const SIGN: u32 = 0x15d;
const FLUSH_CONTEXT: u32 = 0x165;
const READ_PUBLIC: u32 = 0x173;
/// TPM_ALG_ID (Part 2, 6.3).
const NOTHING: u16 = 0x0010;
pub(super) const SHA256: u16 = 0x000b;
const ECDSA: u16 = 0x0018;
const ECC: u16 = 0x0023;
/// TPM_ECC_NIST_P256 (Part 2, 6.4).
const P256: u16 = 0x0003;
/// TPM_ST_HASHCHECK (Part 2, 6.9).
const HASHCHECK: u16 = 0x8024;
/// TPMA_OBJECT (Part 2, 8.3): fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign. It is in this TPM alone, can be
/// moved to no other, was made in it, and signs; somebody's wrong passwords for other objects do not lock it.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 18;
/// TPM_RC that pass by themselves (Part 2, 6.6.3): RETRY, YIELDED, TESTING, NV_RATE, NV_UNAVAILABLE.
const PASSING: [u32; 5] = [0x922, 0x908, 0x90a, 0x920, 0x923];
/// How often a command is sent to a TPM that is not ready, and the pause between: ten seconds.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// A point of the curve: 0x04, x, y (SEC 1, 2.3.3).
pub(super) type Point = [u8; 65];

/// A TPM that was opened.
pub(super) struct Tpm<'a> {
    place: &'a Place,
    line: Box<dyn Line>,
}

impl<'a> Tpm<'a> {
    pub(super) fn open(place: &'a Place) -> Result<Self, Fault> {
        let line = transport::open(&place.device).map_err(|error| match error.kind() {
            std::io::ErrorKind::ResourceBusy => {
                let reason = format!(
                    "the TPM ({}) is in the hands of another program: name {} in the configuration, which is shared",
                    place.device.display(),
                    super::DEVICE
                );
                Fault::new("tpm-busy", Blame::Box, reason)
            }
            _ => away(place, error),
        })?;
        Ok(Self { place, line })
    }

    /// Makes a key and keeps it at the handle, which has to be free.
    pub(super) fn make(&mut self, unique: &[u8; 64]) -> Result<Point, Fault> {
        // TPM2_CreatePrimary (Part 3, 24.1). The key comes from the owner's seed and this template; what is unique in it makes it
        // another one each time.
        let sensitive = [sized(&[]), sized(&[])].concat();
        let template = [
            ECC.to_be_bytes().as_slice(),
            &SHA256.to_be_bytes(),
            &ATTRIBUTES.to_be_bytes(),
            &sized(&[]),
            &parameters(),
            &sized(&unique[..32]),
            &sized(&unique[32..]),
        ]
        .concat();
        let body = [sized(&sensitive), sized(&template), sized(&[]), 0_u32.to_be_bytes().to_vec()].concat();
        let answer = self.run(SESSIONS, CREATE_PRIMARY, &[OWNER], &body)?;
        let (_, mut answer) = self.read(Answer::of(&answer))?;
        let passing = self.read(answer.number(4))?;
        let public =
            self.read(answer.number(4).and_then(|_parameters| answer.inner())).and_then(|public| self.point(public));
        // TPM2_EvictControl (Part 3, 28.5): it is kept.
        let kept = public.and_then(|public| {
            let handle = self.place.handle.0.to_be_bytes();
            self.run(SESSIONS, EVICT_CONTROL, &[OWNER, passing], &handle).map(|_| public)
        });
        // TPM2_FlushContext (Part 3, 28.4): the passing copy goes in either case.
        let flushed = self.run(NO_SESSIONS, FLUSH_CONTEXT, &[], &passing.to_be_bytes());
        let public = kept?;
        flushed.map(|_| public)
    }

    /// The public half of the key at the handle: TPM2_ReadPublic (Part 3, 12.4). Anything else there is not touched.
    pub(super) fn public(&mut self) -> Result<Point, Fault> {
        let answer = self.run(NO_SESSIONS, READ_PUBLIC, &[self.place.handle.0], &[])?;
        let (_, mut answer) = self.read(Answer::of(&answer))?;
        let public = self.read(answer.inner())?;
        self.point(public)
    }

    /// Takes the key at the handle away: TPM2_EvictControl of what is persistent.
    pub(super) fn forget(&mut self) -> Result<(), Fault> {
        let handle = self.place.handle.0;
        self.run(SESSIONS, EVICT_CONTROL, &[OWNER, handle], &handle.to_be_bytes()).map(drop)
    }

    /// Signs a SHA-256 digest: TPM2_Sign (Part 3, 20.2). `r` and `s`.
    pub(super) fn sign(&mut self, digest: &[u8]) -> Result<([u8; 32], [u8; 32]), Fault> {
        let body = [
            sized(digest).as_slice(),
            &ECDSA.to_be_bytes(),
            &SHA256.to_be_bytes(),
            // No ticket: the key is not restricted to what the TPM itself has hashed.
            &HASHCHECK.to_be_bytes(),
            &NO_HIERARCHY.to_be_bytes(),
            &sized(&[]),
        ]
        .concat();
        let answer = self.run(SESSIONS, SIGN, &[self.place.handle.0], &body)?;
        let (_, mut answer) = self.read(Answer::of(&answer))?;
        let signature = (|| {
            answer.number(4)?;
            if (answer.number(2)?, answer.number(2)?) != (ECDSA.into(), SHA256.into()) {
                return Err("its signature is of another kind than was asked for");
            }
            Ok((answer.coordinate()?, answer.coordinate()?))
        })();
        self.read(signature)
    }

    /// A public area (TPMT_PUBLIC, Part 2, 12.2.4), where it is of a key as it is made here.
    fn point(&self, mut public: Answer<'_>) -> Result<Point, Fault> {
        let foreign = || {
            let reason = format!(
                "what is in the TPM at {} is no key of this box (P-256, signs, cannot leave the TPM): name another handle",
                self.place.handle
            );
            Fault::new("tpm-key-foreign", Blame::Configuration, reason)
        };
        let kind = (self.read(public.number(2))?, self.read(public.number(2))?, self.read(public.number(4))?);
        let policy = self.read(public.sized())?;
        if kind != (ECC.into(), SHA256.into(), ATTRIBUTES) || !policy.is_empty() {
            return Err(foreign());
        }
        let expected = parameters();
        if self.read(public.bytes(expected.len()))? != expected {
            return Err(foreign());
        }
        let (x, y) = (self.read(public.coordinate())?, self.read(public.coordinate())?);
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&x);
        point[33..].copy_from_slice(&y);
        Ok(point)
    }

    /// Does a command, or says why not.
    pub(super) fn run(&mut self, tag: u16, code: u32, handles: &[u32], parameters: &[u8]) -> Result<Vec<u8>, Fault> {
        self.ask(tag, code, handles, parameters)?.map_err(|code| refused(self.place, code))
    }

    /// Sends a command until the TPM is ready for it: its answer, or the code of its refusal. The first handle is authorized by its
    /// password, which is empty.
    pub(super) fn ask(
        &mut self,
        tag: u16,
        code: u32,
        handles: &[u32],
        parameters: &[u8],
    ) -> Result<Result<Vec<u8>, u32>, Fault> {
        let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        if tag == SESSIONS {
            // TPMS_AUTH_COMMAND (Part 2, 10.13.2): no nonce, no attributes, no password.
            let authorization = [PASSWORD.to_be_bytes().as_slice(), &[0, 0, 0, 0, 0]].concat();
            body.extend((authorization.len() as u32).to_be_bytes());
            body.extend(authorization);
        }
        body.extend(parameters);
        let size = (super::answer::HEADER + body.len()) as u32;
        let command = [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat();
        let mut tries = 0;
        loop {
            let answer = transport::ask(self.line.as_mut(), &command).map_err(|error| away(self.place, error))?;
            match self.read(Answer::of(&answer))?.0 {
                0 => return Ok(Ok(answer)),
                code if PASSING.contains(&code) && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                code => return Ok(Err(code)),
            }
        }
    }

    pub(super) fn read<T>(&self, read: Result<T, Malformed>) -> Result<T, Fault> {
        read.map_err(|reason| away(self.place, reason))
    }
}

/// TPMS_ECC_PARMS (Part 2, 12.2.3.6): no symmetric algorithm, ECDSA with SHA-256, P-256, no derivation.
fn parameters() -> Vec<u8> {
    [NOTHING, ECDSA, SHA256, P256, NOTHING].iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// TPM2B (Part 2, 10.4).
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u16).to_be_bytes().as_slice(), bytes].concat()
}
