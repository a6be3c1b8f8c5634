//! Which of a cluster's hash slots a name belongs to.

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16384;

/// The slot of a key or channel: CRC16 (XMODEM) of its hash tag, or of the whole name when it has none.
pub(in crate::redis) fn slot(name: &[u8]) -> u16 {
    let sum = hash_tag(name).iter().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    });
    sum % SLOTS
}

/// What stands between the first `{` and the next `}`, if that is not empty.
fn hash_tag(name: &[u8]) -> &[u8] {
    let tag = name.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = name.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From CLUSTER KEYSLOT.
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn only_the_first_tag_counts() {
        assert_eq!(slot(b"a{foo}b"), slot(b"foo"));
        assert_eq!(slot(b"a{foo}{bar}"), slot(b"foo"));
        assert_ne!(slot(b"a{}{foo}"), slot(b"foo"));
        assert_ne!(slot(b"a{foo"), slot(b"foo"));
    }
}
