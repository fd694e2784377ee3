//! The certificates of a "certs-only" PKCS#7 (RFC 5652 5.1 SignedData without signers), as EST answers with it (RFC 7030 4.1.3).
use crate::limits::certificate::MAX_CHAIN;
use rustls_pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;
/// 1.2.840.113549.1.7.2, id-signedData.
const SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// Its certificates, in its order; `None` where it is none, or has more than a chain may.
pub fn certificates(der: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut outer = Reader(der);
    let mut content_info = Reader(outer.value(SEQUENCE)?);
    (content_info.value(OID)? == SIGNED_DATA).then_some(())?;
    let mut content = Reader(content_info.value(CONTEXT_0)?);
    let mut signed_data = Reader(content.value(SEQUENCE)?);
    signed_data.value(INTEGER)?; // version
    signed_data.value(SET)?; // digestAlgorithms
    signed_data.value(SEQUENCE)?; // encapContentInfo
    let mut set = Reader(signed_data.value(CONTEXT_0)?);
    let mut certificates = Vec::new();
    while !set.0.is_empty() {
        let certificate = set.whole(SEQUENCE)?;
        certificates.push(CertificateDer::from(certificate.to_vec()));
        (certificates.len() <= MAX_CHAIN).then_some(())?;
    }
    Some(certificates)
}

/// DER, element by element; no length is believed that goes beyond what is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which must have this tag.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (header, whole) = self.element(tag)?;
        Some(&whole[header..])
    }

    /// The next element with its header.
    fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|(_, whole)| whole)
    }

    fn element(&mut self, tag: u8) -> Option<(usize, &'a [u8])> {
        let bytes = self.0;
        (*bytes.first()? == tag).then_some(())?;
        // X.690 8.1.3: below 128 the length itself, above it the number of bytes that follow with it.
        let (header, length) = match *bytes.get(1)? {
            short @ 0..=0x7f => (2, usize::from(short)),
            long @ 0x81..=0x83 => {
                let count = usize::from(long - 0x80);
                let length = bytes.get(2..2 + count)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                (2 + count, length)
            }
            _ => return None,
        };
        let whole = bytes.get(..header + length)?;
        self.0 = &bytes[header + length..];
        Some((header, whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_signed_data_has_no_certificates() {
        for wrong in [&[][..], b"0", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80], &[0x30, 0x02, 0x06, 0x09]] {
            assert!(certificates(wrong).is_none(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_server_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = certificates(&bytes);
        }
    }
}
