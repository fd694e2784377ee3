//! A TLS 1.3 server by hand (RFC 8446), which keeps to the key exchange and leaves out of the rest what it likes: somebody on
//! the line, without any key of the server's.
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p256::ecdh::EphemeralSecret;
use p256::{EncodedPoint, PublicKey};
use rand_core::{OsRng, RngCore as _};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// What the forger sends after its ServerHello.
#[derive(Clone)]
pub enum Flight {
    /// The handshake messages between EncryptedExtensions and Finished, then Finished.
    Messages(Vec<Vec<u8>>),
    /// A record that holds nothing, not even its content type.
    EmptyRecord,
}

/// Certificate (4.4.2), with whatever certificates anybody has seen.
pub fn certificate(chain: &[CertificateDer<'_>]) -> Vec<u8> {
    let entries: Vec<u8> = chain.iter().flat_map(|der| [&u24(der.len())[..], der, &[0, 0]].concat()).collect();
    message(11, &[&[0][..], &u24(entries.len()), &entries].concat())
}

/// CertificateVerify (4.4.3) with a made-up signature by ECDSA on P-256.
pub fn certificate_verify() -> Vec<u8> {
    let signature = [&[0x30, 0x44, 0x02, 0x20][..], &[7; 32], &[0x02, 0x20], &[7; 32]].concat();
    message(15, &[&[4, 3, 0, 70][..], &signature].concat())
}

/// Listens, and gives its port.
pub fn listen(flight: Flight) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            forge(stream, flight.clone());
        }
    });
    port
}

fn forge(mut stream: TcpStream, flight: Flight) {
    let hello = record(&mut stream);
    let (session, share) = read_client_hello(&hello);
    let secret = EphemeralSecret::random(&mut OsRng);
    let point = EncodedPoint::from(secret.public_key());
    let shared = secret.diffie_hellman(&PublicKey::from_sec1_bytes(&share).expect("a point"));
    let server_hello = server_hello(&session, point.as_bytes());
    write_record(&mut stream, 22, &server_hello);

    // 7.1: the key schedule.
    let empty = Sha256::digest([]);
    let (_, early) = Hkdf::<Sha256>::extract(Some(&[0; 32]), &[0; 32]);
    let derived = expand(&early, b"derived", &empty, 32);
    let (_, handshake) = Hkdf::<Sha256>::extract(Some(&derived), shared.raw_secret_bytes());
    let mut transcript = Sha256::new();
    transcript.update(&hello);
    transcript.update(&server_hello);
    let traffic = expand(&handshake, b"s hs traffic", &transcript.clone().finalize(), 32);
    let traffic = Hkdf::<Sha256>::from_prk(&traffic).expect("a secret");

    let inner = match flight {
        Flight::EmptyRecord => Vec::new(),
        Flight::Messages(messages) => {
            let mut sent = message(8, &[0, 0]);
            sent.extend(messages.concat());
            transcript.update(&sent);
            let finished = expand(&traffic, b"finished", &[], 32);
            let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&finished).expect("a key");
            mac.update(&transcript.finalize());
            sent.extend(message(20, &mac.finalize().into_bytes()));
            sent.push(22); // 5.2: the content type
            sent
        }
    };
    let (key, iv) = (expand(&traffic, b"key", &[], 16), expand(&traffic, b"iv", &[], 12));
    let cipher = Aes128Gcm::new_from_slice(&key).expect("a key");
    let header = [&[23, 3, 3][..], &((inner.len() + 16) as u16).to_be_bytes()].concat();
    let sealed =
        cipher.encrypt(Nonce::from_slice(&iv), Payload { msg: &inner, aad: &header }).expect("it is encrypted");
    write_record(&mut stream, 23, &sealed);
    // Until the peer goes.
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Session ID and the key share on P-256 (4.1.2, 4.2.8).
fn read_client_hello(hello: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // Type, length, version and random are 38 bytes.
    let mut rest = &hello[38..];
    let session = block::<1>(&mut rest).to_vec();
    block::<2>(&mut rest);
    block::<1>(&mut rest);
    let mut extensions = block::<2>(&mut rest);
    while !extensions.is_empty() {
        let (kind, tail) = extensions.split_at(2);
        extensions = tail;
        let mut data = block::<2>(&mut extensions);
        if kind == [0, 51] {
            let mut shares = block::<2>(&mut data);
            let (group, tail) = shares.split_at(2);
            assert_eq!(group, [0, 23], "P-256");
            shares = tail;
            return (session, block::<2>(&mut shares).to_vec());
        }
    }
    panic!("the hello has no key share");
}

/// A vector behind its length of N bytes.
fn block<'a, const N: usize>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (length, tail) = rest.split_at(N);
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (data, tail) = tail.split_at(length);
    *rest = tail;
    data
}

fn server_hello(session: &[u8], point: &[u8]) -> Vec<u8> {
    let mut random = [0; 32];
    OsRng.fill_bytes(&mut random);
    let versions = [0, 43, 0, 2, 3, 4];
    let share = [&[0, 51, 0, 69, 0, 23, 0, 65][..], point].concat();
    let extensions = [&versions[..], &share].concat();
    let suite = [0x13, 0x01, 0];
    let length = (extensions.len() as u16).to_be_bytes();
    let body = [&[3, 3][..], &random, &[session.len() as u8], session, &suite, &length, &extensions].concat();
    message(2, &body)
}

/// HKDF-Expand-Label (7.1).
fn expand(secret: &Hkdf<Sha256>, label: &[u8], context: &[u8], length: usize) -> Vec<u8> {
    let head = [&(length as u16).to_be_bytes()[..], &[6 + label.len() as u8], b"tls13 ", label].concat();
    let info = [&head[..], &[context.len() as u8], context].concat();
    let mut key = vec![0; length];
    secret.expand(&info, &mut key).expect("a length");
    key
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u24(body.len()), body].concat()
}

fn u24(number: usize) -> [u8; 3] {
    let [.., a, b, c] = number.to_be_bytes();
    [a, b, c]
}

fn record(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).expect("a record");
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    stream.read_exact(&mut body).expect("its body");
    body
}

fn write_record(stream: &mut TcpStream, kind: u8, body: &[u8]) {
    let header = [&[kind, 3, 3][..], &(body.len() as u16).to_be_bytes()].concat();
    stream.write_all(&[&header[..], body].concat()).expect("the peer is there");
}
