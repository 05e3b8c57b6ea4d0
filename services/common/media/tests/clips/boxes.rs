//! A reader of the boxes of MP4 (ISO/IEC 14496-12, section 4.2), apart from the writer.

/// Names and bodies of the boxes at one level.
pub(crate) fn children(mut data: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_be_bytes(*data.first_chunk()?)).expect("fits");
        let (this, rest) = data.split_at(length);
        data = rest;
        Some((&this[4..8], &this[8..]))
    })
}

/// The body of the box at the end of a path.
pub(crate) fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> &'a [u8] {
    path.iter()
        .fold(data, |data, name| children(data).find(|(found, _)| found == name).expect("box is there").1)
}

/// All as numbers of 32 bits.
pub(crate) fn numbers(data: &[u8]) -> Vec<u32> {
    data.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect()
}

/// A number and the bytes it took (AV1, section 4.10.5).
pub(crate) fn leb128(data: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (at, byte) in data.iter().enumerate().take(8) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return (value, at + 1);
        }
    }
    panic!("a number has at most eight bytes")
}
