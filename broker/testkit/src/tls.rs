//! A certificate for loopback, signed by an authority of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

/// Writes `cert.pem` and `key.pem` into the directory and returns the authority's certificate as PEM.
pub(crate) fn write_certificate(home: &Path) -> Result<String> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
    authority.distinguished_name.push(DnType::CommonName, "testkit authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let certificate = params.signed_by(&key, &authority)?;

    fs::write(home.join("cert.pem"), certificate.pem())?;
    fs::write(home.join("key.pem"), key.serialize_pem())?;
    Ok(authority.pem())
}
