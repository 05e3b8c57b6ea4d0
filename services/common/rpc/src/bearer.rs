//! Bearer tokens in the header `authorization`.

/// The token of `Bearer TOKEN`; the scheme's name has no case (RFC 9110, section 11.1). Compare its hash, not the token: a
/// comparison of secrets tells by its time how much of a guess is right.
#[must_use]
pub fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}
