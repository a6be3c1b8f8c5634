//! GitHub: `X-Hub-Signature-256: sha256=…` over the body.

use chassis::options::Secret;
use http::HeaderName;

use super::{Encoding, Hash, Rotation, SignedBody, SignedBodyConfig, TemplateError};

/// Webhooks of GitHub. The older header `X-Hub-Signature`, with SHA-1, is not looked at.
pub fn github(secrets: &Rotation<Secret>) -> Result<SignedBody, TemplateError> {
    let config = SignedBodyConfig {
        header: HeaderName::from_static("x-hub-signature-256"),
        prefix: "sha256=".to_owned(),
        hash: Hash::Sha256,
        encoding: Encoding::Hex,
        content: "{body}".to_owned(),
        timestamp: None,
    };
    SignedBody::new(secrets, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::Rejection;
    use crate::webhook::testing::{headers, malformed, received, secret};

    /// The example of GitHub's documentation.
    #[test]
    fn the_documented_example_holds() {
        let scheme = github(&secret("It's a Secret to Everybody")).unwrap();
        let verify = |signature: &str, body: &[u8]| {
            let headers = headers(&[("x-hub-signature-256", signature)]);
            scheme.verify(&received(&headers, body), 0)
        };
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(verify(good, b"Hello, World!"), Ok(()));
        assert_eq!(verify(good, b"Hello, World?"), Err(Rejection::BadSignature));
        assert_eq!(verify(&good.replace("sha256", "sha1"), b""), Err(malformed("x-hub-signature-256")));
        assert_eq!(verify(&good[7..], b"Hello, World!"), Err(malformed("x-hub-signature-256")));
    }
}
