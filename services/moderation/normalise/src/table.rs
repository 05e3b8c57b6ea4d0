//! What is asked of every character of a text, worked out beforehand.

/// A property of characters: of those of the first plane looked up, of others worked out each time.
pub(crate) struct Table<T> {
    first_plane: Vec<T>,
    of: fn(char) -> T,
}

impl<T: Copy> Table<T> {
    pub(crate) fn new(of: fn(char) -> T) -> Self {
        let codes = 0..=0xffff;
        let chars = codes.map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        Self { first_plane: chars.map(of).collect(), of }
    }

    #[inline]
    pub(crate) fn get(&self, c: char) -> T {
        match self.first_plane.get(c as usize) {
            Some(known) => *known,
            None => (self.of)(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_knows_every_character() {
        let codes = Table::new(|c| c as u32);
        assert!(('\0'..=char::MAX).all(|c| codes.get(c) == c as u32));
    }
}
