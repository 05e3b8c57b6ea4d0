//! A file of works of any bytes is a list or an error, and what is a list is written and read as the same list. Checksums are
//! put right first, or nothing behind them would ever be read. Input: length of the header (two bytes), header, index.

#![no_main]

use atelier_likeness::{Capacity, Index};
use atelier_moderation::works::List;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const CAPACITY: Capacity = Capacity { works: 100, pictures: 200, fingerprints: 10_000 };

fuzz_target!(|bytes: &[u8]| {
    let [low, high, bytes @ ..] = bytes else { return };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
    let (header, body) = bytes.split_at(length);
    let body = [&b"ATLIKENS\x01\0"[..], body].concat();
    let index = [&body[..], &Sha256::digest(&body)[..]].concat();
    if let Ok(read) = Index::read_from(&index[..], CAPACITY) {
        let again = written(&read);
        let reread = Index::read_from(&again[..], CAPACITY).expect("we wrote it");
        assert_eq!(written(&reread), again);
    }

    let length = (header.len() as u32).to_le_bytes();
    let file = [&b"ATWORKS1"[..], &length, &Sha256::digest(header)[..], header, &index].concat();
    if let Ok((tenant, mut list)) = List::read_from(&file[..], CAPACITY) {
        let mut again = Vec::new();
        list.write_to(&tenant, &mut again).expect("a buffer takes everything");
        let (_, read) = List::read_from(&again[..], CAPACITY).expect("we wrote it");
        assert!(read.after(None).eq(list.after(None)));
        let ids: Vec<String> = list.after(None).map(|label| label.id.clone()).collect();
        assert!(ids.iter().all(|id| list.remove(id)) && list.is_empty() && !list.has_texts() && !list.has_pictures());
    }
});

fn written(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).expect("a buffer takes everything");
    bytes
}
