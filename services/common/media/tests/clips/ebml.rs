//! A reader of EBML elements (RFC 8794), apart from the writer.

/// Name, place and body of the elements at one level.
pub(crate) fn children(data: &[u8]) -> Vec<(u32, usize, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let begins = at;
        let width = data[at].leading_zeros() as usize + 1;
        let id = big_endian(&data[at..at + width]);
        at += width;
        let width = data[at].leading_zeros() as usize + 1;
        let length = big_endian(&data[at..at + width]) & !(1 << (7 * width));
        at += width;
        let end = at + usize::try_from(length).expect("fits");
        found.push((u32::try_from(id).expect("fits"), begins, &data[at..end]));
        at = end;
    }
    found
}

/// The body of the first element of that name.
pub(crate) fn find<'a>(elements: &[(u32, usize, &'a [u8])], id: u32) -> &'a [u8] {
    elements.iter().find(|(found, ..)| *found == id).expect("element is there").2
}

/// An unsigned number.
pub(crate) fn number(body: &[u8]) -> u64 {
    big_endian(body)
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
