//! What the tables of phone numbers say of one: its country and its kind.

use backstop_domain::text::{Country, NumberKind};
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberType};

/// Country and kind of an E.164 number. Where several countries share a calling code and none of them knows the number,
/// its country is the first of them.
pub(crate) fn look_up(e164: &str) -> (Option<Country>, NumberKind) {
    let Ok(number) = PhoneNumber::parse(e164, None) else { return (None, NumberKind::Unassigned) };
    let kind = match number.get_type() {
        PhoneNumberType::PremiumRate => NumberKind::Premium,
        PhoneNumberType::Unknown => NumberKind::Unassigned,
        _ => NumberKind::Ordinary,
    };
    let region =
        number.get_region_code().or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(number.country_code));
    // `001`: the networks of no country.
    (region.and_then(|region| Country::parse(&region.to_string())), kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T4, S4: one calling code is several countries, and some numbers are nobody's.
    #[test]
    fn numbers_have_a_country_and_a_kind() {
        let of = |e164: &str| {
            let (country, kind) = look_up(e164);
            (country.map(|country| country.to_string()), kind)
        };
        let in_country = |code: &str, kind| (Some(code.to_owned()), kind);
        assert_eq!(of("+821012345678"), in_country("KR", NumberKind::Ordinary));
        assert_eq!(of("+12025550123"), in_country("US", NumberKind::Ordinary));
        assert_eq!(of("+16135550123"), in_country("CA", NumberKind::Ordinary));
        assert_eq!(of("+19002345678"), in_country("US", NumberKind::Premium));
        assert_eq!(of("+10005550100"), in_country("US", NumberKind::Unassigned));
        assert_eq!(of("+870773111632").0, None, "a satellite's");
        assert_eq!(of("nonsense"), (None, NumberKind::Unassigned));
    }
}
