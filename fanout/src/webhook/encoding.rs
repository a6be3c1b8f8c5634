//! How the bytes of a signature are written.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// With or without padding, which providers handle differently. Bits that stand for nothing must be zero all the same.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A way to write bytes as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Two digits for each byte, in either case.
    Hex,
    /// Base64 (RFC 4648, section 4).
    Base64,
    /// Base64 for URLs (RFC 4648, section 5).
    Base64Url,
}

impl Encoding {
    /// The bytes that a text stands for.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => from_hex(text),
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64Url => BASE64_URL.decode(text).ok(),
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_reads_its_own_text_only() {
        let bytes = Some(vec![0xfb, 0xef, 0xff]);
        assert_eq!(Encoding::Hex.decode("fbEFff"), bytes);
        assert_eq!(Encoding::Base64.decode("++//"), bytes);
        assert_eq!(Encoding::Base64Url.decode("--__"), bytes);
        assert_eq!(Encoding::Base64.decode("--__"), None);
        assert_eq!(Encoding::Base64Url.decode("++//"), None);
        for text in ["f", "fg", "+f", " f", "é"] {
            assert_eq!(Encoding::Hex.decode(text), None, "{text}");
        }
    }

    #[test]
    fn padding_may_be_left_out_and_stray_bits_may_not_be_set() {
        assert_eq!(Encoding::Base64.decode("QQ=="), Some(b"A".to_vec()));
        assert_eq!(Encoding::Base64.decode("QQ"), Some(b"A".to_vec()));
        assert_eq!(Encoding::Base64.decode("QR"), None);
        assert_eq!(Encoding::Base64.decode("QQ==\n"), None);
    }
}
