//! A peer that speaks PDUs byte by byte, and says what it likes.
use dicom_ul::pdu::{
    AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResultReason, UserVariableItem, read_pdu,
    write_pdu,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What the node answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A DIMSE status.
    Status(u16),
    Aborted,
    Released,
    Closed,
}

pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub fn connect(node: SocketAddr) -> Self {
        let stream = TcpStream::connect(node).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream }
    }

    /// An association with a context (1, 3, 5, …) for each pair; the results, in their order.
    pub fn associate(node: SocketAddr, contexts: &[(&str, &str)]) -> (Self, Vec<PresentationContextResultReason>) {
        let mut raw = Self::connect(node);
        raw.send(&associate_rq(contexts));
        match raw.pdu() {
            Some(Pdu::AssociationAC(ac)) => {
                let results = ac.presentation_contexts.into_iter().map(|context| context.reason).collect();
                (raw, results)
            }
            other => panic!("no association: {other:?}"),
        }
    }

    /// Sends bytes; a node that has hung up does not take them all.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a C-STORE; its answer.
    pub fn store(&mut self, context: u8, sop_class: &str, sop_instance: &str, dataset: &[u8]) -> Answer {
        self.send(&p_data(context, 3, &store_rq(sop_class, sop_instance)));
        for (n, part) in dataset.chunks(16_000).enumerate() {
            let last = if (n + 1) * 16_000 >= dataset.len() { 2 } else { 0 };
            self.send(&p_data(context, last, part));
        }
        self.answer()
    }

    /// Ends our half: no more will come.
    pub fn end(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    pub fn release(&mut self) -> Answer {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        self.answer()
    }

    /// What the node says next.
    pub fn answer(&mut self) -> Answer {
        match self.pdu() {
            Some(Pdu::PData { data }) => Answer::Status(status(&data[0].data)),
            Some(Pdu::AbortRQ { .. }) => Answer::Aborted,
            Some(Pdu::ReleaseRP) => Answer::Released,
            Some(other) => panic!("{other:?}"),
            None => Answer::Closed,
        }
    }

    /// How many instances are answered with success until the node hangs up.
    pub fn successes(&mut self) -> usize {
        let mut successes = 0;
        loop {
            match self.pdu() {
                Some(Pdu::PData { data }) if status(&data[0].data) == 0 => successes += 1,
                Some(_) => {}
                None => return successes,
            }
        }
    }

    fn pdu(&mut self) -> Option<Pdu> {
        let mut bytes = vec![0; 6];
        self.read(&mut bytes)?;
        let length = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
        bytes.resize(6 + length, 0);
        self.read(&mut bytes[6..])?;
        Some(read_pdu(&bytes[..], 1 << 20, true).unwrap().unwrap())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the node says nothing for 30 s")
            }
            Err(_) => None,
        }
    }
}

/// (0000,0900) of a response; only text and UIDs follow it.
fn status(set: &[u8]) -> u16 {
    let at = set.windows(8).rposition(|head| head == [0, 0, 0, 9, 2, 0, 0, 0]).expect("a status");
    u16::from_le_bytes([set[at + 8], set[at + 9]])
}

pub fn associate_rq(contexts: &[(&str, &str)]) -> Vec<u8> {
    let proposed = |(n, (class, syntax)): (usize, &(&str, &str))| PresentationContextProposed {
        id: 2 * n as u8 + 1,
        abstract_syntax: (*class).to_owned(),
        transfer_syntaxes: vec![(*syntax).to_owned()],
    };
    let request = AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "RAW".into(),
        called_ae_title: "SUND".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: contexts.iter().enumerate().map(proposed).collect(),
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    };
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &Pdu::AssociationRQ(request)).unwrap();
    bytes
}

/// A P-DATA-TF of one value.
pub fn p_data(context: u8, control: u8, bytes: &[u8]) -> Vec<u8> {
    let mut pdu = vec![4, 0];
    pdu.extend_from_slice(&(bytes.len() as u32 + 6).to_be_bytes());
    pdu.extend_from_slice(&(bytes.len() as u32 + 2).to_be_bytes());
    pdu.extend_from_slice(&[context, control]);
    pdu.extend_from_slice(bytes);
    pdu
}

pub fn store_rq(sop_class: &str, sop_instance: &str) -> Vec<u8> {
    let mut set = Vec::new();
    let mut element = |number: u16, value: &[u8]| {
        set.extend_from_slice(&[0, 0]);
        set.extend_from_slice(&number.to_le_bytes());
        set.extend_from_slice(&(value.len() as u32).to_le_bytes());
        set.extend_from_slice(value);
    };
    let padded = |uid: &str| format!("{uid}{}", if uid.len() % 2 == 1 { "\0" } else { "" });
    element(0x0002, padded(sop_class).as_bytes());
    element(0x0100, &[1, 0]);
    element(0x0110, &[1, 0]);
    element(0x0700, &[0, 0]);
    element(0x0800, &[1, 0]);
    element(0x1000, padded(sop_instance).as_bytes());
    set
}
