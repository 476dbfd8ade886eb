//! Numbers and addresses as lists show them (S6): enough to tell two apart, too little to reach anybody.

/// Digits at the end that stay.
const LAST_DIGITS: usize = 4;
/// At least so many digits are hidden, whatever stays.
const HIDDEN_DIGITS: usize = 3;
const HIDDEN_ADDRESS: &str = "***";

/// A number in its international form, `+82 10-1234-5678`, as `+82 10-****-5678`: its country, the group after it where
/// enough is left to hide, and the last four digits.
pub fn number(international: &str) -> String {
    let country = international.find(' ').unwrap_or(0);
    let digits = |part: &str| part.bytes().filter(u8::is_ascii_digit).count();
    let national = digits(&international[country..]);
    let last = LAST_DIGITS.min(national.saturating_sub(HIDDEN_DIGITS));
    let group = international[country..].trim_start().split([' ', '-']).next().map_or(0, digits);
    let first = if national >= group + last + HIDDEN_DIGITS { group } else { 0 };
    let mut place = 0;
    let mask = |char: char| {
        if !char.is_ascii_digit() {
            return char;
        }
        place += 1;
        if place <= first || place + last > national { char } else { '*' }
    };
    let (shown, hidden) = international.split_at(country);
    shown.chars().chain(hidden.chars().map(mask)).collect()
}

/// `julia@example.com` as `j***@example.com`. A local part of one character is hidden whole.
pub fn address(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return HIDDEN_ADDRESS.to_owned() };
    let mut chars = local.chars();
    let first = chars.next().filter(|_| chars.next().is_some());
    first.into_iter().chain(HIDDEN_ADDRESS.chars()).chain(['@']).chain(domain.chars()).collect()
}

/// An id that another company gave, such as LINE's, as its first two characters.
pub fn id(id: &str) -> String {
    id.chars().take(2).chain(HIDDEN_ADDRESS.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// S6: both sides of what stays.
    #[test]
    fn a_number_keeps_its_country_and_its_end() {
        for (whole, masked) in [
            ("+82 10-1234-5678", "+82 10-****-5678"),
            ("+1 415-555-0123", "+1 415-***-0123"),
            ("+81 90-1234-5678", "+81 90-****-5678"),
            ("+33 6 12 34 56 78", "+33 6 ** ** 56 78"),
            ("+49 1512 3456789", "+49 1512 ***6789"),
            ("+852 1234 5678", "+852 **** 5678"),
            ("+882 12345", "+882 ***45"),
            ("+1 911", "+1 ***"),
            ("12345678", "****5678"),
            ("", ""),
        ] {
            assert_eq!(number(whole), masked);
        }
    }

    /// S6.
    #[test]
    fn an_address_keeps_its_first_character_and_its_domain() {
        for (whole, masked) in [
            ("julia@example.com", "j***@example.com"),
            ("j@example.com", "***@example.com"),
            ("\"a@b\"@example.com", "\"***@example.com"),
            ("민수@example.kr", "민***@example.kr"),
            ("nonsense", "***"),
        ] {
            assert_eq!(address(whole), masked);
        }
        assert_eq!(id("U4af4980629"), "U4***");
    }

    proptest! {
        /// S6: three digits at least are hidden of any number that has them, and never more than seven after the
        /// country are shown.
        #[test]
        fn enough_is_hidden(whole in "\\+[1-9]{1,3} [0-9]{1,4}([ -][0-9]{2,4}){0,3}") {
            let masked = number(&whole);
            let national = whole.split_once(' ').unwrap().1.bytes().filter(u8::is_ascii_digit).count();
            let hidden = masked.matches('*').count();
            prop_assert!(hidden >= national.min(3), "{masked}");
            prop_assert_eq!(masked.len(), whole.len());
        }
    }
}
