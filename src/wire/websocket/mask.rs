//! Masking (RFC 6455 §5.3): an exclusive or with four bytes, over and over. Applying it twice undoes it.

/// Masks or unmasks `data`, the part of a payload that begins at byte `offset` of it.
#[inline]
pub(super) fn apply(data: &mut [u8], mut mask: [u8; 4], offset: u64) {
    mask.rotate_left((offset % 4) as usize);
    let word = u32::from_ne_bytes(mask);
    // Blocks of a fixed size become vector instructions; most messages are shorter than two of them.
    let (blocks, rest) = data.as_chunks_mut::<32>();
    for block in blocks {
        for lane in block.as_chunks_mut::<4>().0 {
            *lane = (u32::from_ne_bytes(*lane) ^ word).to_ne_bytes();
        }
    }
    let (lanes, tail) = rest.as_chunks_mut::<4>();
    for lane in lanes {
        *lane = (u32::from_ne_bytes(*lane) ^ word).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn masking_in_pieces_is_masking_byte_by_byte(
            data in prop::collection::vec(any::<u8>(), 0..200),
            mask in any::<[u8; 4]>(),
            at in any::<prop::sample::Index>(),
        ) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let mut masked = data.clone();
            let (one, two) = masked.split_at_mut(at.index(data.len() + 1));
            apply(one, mask, 0);
            apply(two, mask, one.len() as u64);
            prop_assert_eq!(masked, expected);
        }
    }
}
