//! Certification authorities and the certificates that they, or others in their name, issue.
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate, what stands between it and the authority, and its key.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// An authority that a box trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

/// What is to be issued: at first a server's certificate for localhost, valid from 2020 to 2040.
pub struct Wish {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Region's channel");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate.
    pub fn issue(&self, wish: Wish) -> Identity {
        wish.issued_by(&self.issuer, &[])
    }

    /// Issues a certificate, with which its holder issues another one.
    pub fn issue_through(&self, between: Wish, wish: Wish) -> Identity {
        let Wish { params, key } = between;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        wish.issued_by(&Issuer::new(params, key), &[certificate.der().clone()])
    }
}

impl Wish {
    pub fn server() -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "a server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Self { params, key: KeyPair::generate().expect("a key") }.valid(2020, 2040)
    }

    pub fn intermediate() -> Self {
        let mut wish = Self::server();
        wish.params.subject_alt_names.clear();
        wish.params.extended_key_usages.clear();
        wish.params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        wish.params.distinguished_name.push(DnType::CommonName, "an intermediate");
        wish
    }

    /// From the first of January to the first of January.
    pub fn valid(mut self, from: i32, to: i32) -> Self {
        self.params.not_before = date_time_ymd(from, 1, 1);
        self.params.not_after = date_time_ymd(to, 1, 1);
        self
    }

    pub fn for_clients(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        let named = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        self.params.subject_alt_names = named.subject_alt_names;
        self
    }

    /// It says of itself that it is no CA.
    pub fn no_ca(mut self) -> Self {
        self.params.is_ca = IsCa::ExplicitNoCa;
        self
    }

    pub fn with_key(mut self, algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        self.key = KeyPair::generate_for(algorithm).expect("a key");
        self
    }

    pub fn self_signed(self) -> Identity {
        let certificate = self.params.self_signed(&self.key).expect("a certificate");
        identity(vec![certificate.der().clone()], &self.key)
    }

    fn issued_by(self, issuer: &Issuer<'_, KeyPair>, between: &[CertificateDer<'static>]) -> Identity {
        let certificate = self.params.signed_by(&self.key, issuer).expect("a certificate");
        identity([&[certificate.der().clone()], between].concat(), &self.key)
    }
}

fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Identity {
    Identity { chain, key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())) }
}
