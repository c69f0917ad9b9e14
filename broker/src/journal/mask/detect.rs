//! Secrets and card numbers, told by how they look, wherever they stand.
//!
//! Constraints: one pass, no allocation but for what is found; what is found is masked whole. An id that happens to have the check digit of
//! a card is not taken for one unless it also begins and is as long as cards do.

use std::ops::Range;

/// How well-known secrets begin, and how many characters follow at least.
const PREFIXES: [(&[u8], usize); 32] = [
    (b"ghp_", 30),
    (b"gho_", 30),
    (b"ghu_", 30),
    (b"ghs_", 30),
    (b"ghr_", 30),
    (b"github_pat_", 30),
    (b"glpat-", 16),
    (b"sk_live_", 10),
    (b"sk_test_", 10),
    (b"rk_live_", 10),
    (b"rk_test_", 10),
    (b"whsec_", 16),
    (b"sk-ant-", 16),
    (b"sk-proj-", 16),
    (b"sk-", 32),
    (b"xoxb-", 10),
    (b"xoxp-", 10),
    (b"xoxa-", 10),
    (b"xoxr-", 10),
    (b"xoxs-", 10),
    (b"xapp-", 10),
    (b"shpat_", 16),
    (b"shpss_", 16),
    (b"shppa_", 16),
    (b"lin_api_", 16),
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"AIza", 30),
    (b"SG.", 30),
    (b"npm_", 30),
    (b"hf_", 30),
    (b"waypost_", 32),
];

/// Where secrets and card numbers stand in a text, in its order, without overlaps.
pub(super) fn find(text: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let is_start = at == 0 || !is_word(text[at - 1]);
        match secret(text, at, is_start).or_else(|| card(text, at)) {
            Some(range) if range.end > at => {
                at = range.end;
                found.push(range);
            }
            _ => at += 1,
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn secret(text: &[u8], at: usize, is_start: bool) -> Option<Range<usize>> {
    let rest = &text[at..];
    match rest[0] {
        b'-' => private_key(rest).map(|length| at..at + length),
        b':' => user_and_password(rest).map(|password| at + password.start..at + password.end),
        _ if !is_start => None,
        b'e' => jwt(rest).map(|length| at..at + length),
        b'B' | b'b' => bearer(rest).map(|token| at + token.start..at + token.end),
        b'g' | b's' | b'r' | b'w' | b'x' | b'l' | b'A' | b'S' | b'n' | b'h' => known(rest).map(|length| at..at + length),
        _ => None,
    }
}

fn known(rest: &[u8]) -> Option<usize> {
    let (prefix, least) = PREFIXES.iter().find(|(prefix, _)| rest.starts_with(prefix))?;
    let more = run(&rest[prefix.len()..], |byte| is_word(byte) || byte == b'.');
    (more >= *least).then_some(prefix.len() + more)
}

/// Three parts in base64, of which the first two are objects.
fn jwt(rest: &[u8]) -> Option<usize> {
    if !rest.starts_with(b"eyJ") {
        return None;
    }
    let length = run(rest, |byte| is_word(byte) || byte == b'.');
    let mut parts = rest[..length].split(|byte| *byte == b'.');
    let (Some(head), Some(claims), Some(_)) = (parts.next(), parts.next(), parts.next()) else { return None };
    (head.len() >= 10 && claims.starts_with(b"eyJ")).then_some(length)
}

/// `Bearer TOKEN` and `Basic TOKEN`; the token.
fn bearer(rest: &[u8]) -> Option<Range<usize>> {
    let scheme = ["bearer ", "basic "]
        .iter()
        .find(|scheme| rest.get(..scheme.len()).is_some_and(|text| text.eq_ignore_ascii_case(scheme.as_bytes())))?;
    let token = run(&rest[scheme.len()..], |byte| is_word(byte) || b".+/=~".contains(&byte));
    // Words of a sentence are not tokens.
    (token >= 16).then_some(scheme.len()..scheme.len() + token)
}

/// From the beginning of a private key in PEM to its end, or to the end of all.
fn private_key(rest: &[u8]) -> Option<usize> {
    const END: &[u8] = b"-----END ";
    let kind = rest.strip_prefix(b"-----BEGIN ")?;
    let title = &kind[..kind.len().min(40)];
    let is_private = title.windows(11).any(|window| window == b"PRIVATE KEY");
    let end = rest.windows(END.len()).position(|window| window == END).map_or(rest.len(), |end| {
        let last = end + END.len();
        last + rest[last..].windows(5).position(|window| window == b"-----").map_or(rest.len() - last, |dashes| dashes + 5)
    });
    is_private.then_some(end)
}

/// `://user:password@`: both.
fn user_and_password(rest: &[u8]) -> Option<Range<usize>> {
    let after = rest.strip_prefix(b"://")?;
    let length = run(&after[..after.len().min(512)], |byte| byte.is_ascii_graphic() && !b"/?#@\"'<>\\".contains(&byte));
    let is_both = after.get(length) == Some(&b'@') && after[..length].contains(&b':');
    is_both.then_some(3..3 + length)
}

fn run(text: &[u8], is: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !is(*byte)).unwrap_or(text.len())
}

/// A card number that begins here, in one piece or in groups between spaces or dashes.
fn card(text: &[u8], at: usize) -> Option<Range<usize>> {
    if !matches!(text[at], b'2'..=b'6') || at.checked_sub(1).is_some_and(|before| is_word(text[before]) || text[before] == b'.') {
        return None;
    }
    let (mut digits, mut count, mut end) = ([0_u8; 19], 0, at);
    while let Some(byte) = text.get(end) {
        let is_gap = matches!(byte, b' ' | b'-') && text.get(end + 1).is_some_and(u8::is_ascii_digit);
        match byte {
            b'0'..=b'9' => {
                *digits.get_mut(count)? = byte - b'0';
                count += 1;
            }
            _ if is_gap => {}
            _ => break,
        }
        end += 1;
    }
    let goes_on = text.get(end).is_some_and(|byte| is_word(*byte))
        || (text.get(end) == Some(&b'.') && text.get(end + 1).is_some_and(u8::is_ascii_digit));
    let digits = &digits[..count];
    (!goes_on && is_issued(digits) && has_check_digit(digits)).then_some(at..end)
}

/// Whether cards begin like this, and are as long.
fn is_issued(digits: &[u8]) -> bool {
    if digits.len() < 13 {
        return false;
    }
    let first = |count: usize| digits[..count].iter().fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    match digits.len() {
        13 => first(1) == 4,
        14 => matches!(first(3), 300..=305) || matches!(first(2), 36 | 38),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 62 | 65)
                || matches!(first(4), 2221..=2720 | 3528..=3589 | 6011)
                || matches!(first(3), 644..=649)
        }
        19 => first(1) == 4 || first(2) == 62,
        _ => false,
    }
}

/// Luhn's.
fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => u32::from(*digit),
            _ => u32::from(digit / 5) + u32::from(digit * 2 % 10),
        })
        .sum();
    sum.is_multiple_of(10)
}
