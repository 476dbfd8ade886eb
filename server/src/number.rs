//! What the tables of phone numbers say of one: its country and its kind.

use backstop_domain::mask;
use backstop_domain::text::{Country, NumberKind};
use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

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

/// Two capital letters that name a country with phone numbers.
pub(crate) fn region(code: &str) -> Option<Region> {
    let capital = code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    capital.then(|| Region::from_code(code).ok()).flatten()
}

/// E.164 of a number as people of `region` write it, or of one with `+`; `None` = nobody can have it (T4).
pub(crate) fn read(given: &str, region: Option<Region>) -> Option<String> {
    let number = PhoneNumber::parse(given, region).ok()?;
    // Possible, not "valid": which ranges are in use changes faster than any table of them.
    if !matches!(number.is_possible_with_reason(), Ok(NumberLengthType::IsPossible)) {
        return None;
    }
    // An extension has no place in E.164: a text would reach somebody else.
    if number.extension.is_some() {
        return None;
    }
    let e164 = number.format_as(PhoneNumberFormat::E164).into_owned();
    // Nor have zeros that are taken for a prefix the next time it is read: it would be another number then.
    let again = PhoneNumber::parse(&e164, region).ok()?;
    (again.format_as(PhoneNumberFormat::E164) == e164).then_some(e164)
}

/// An E.164 number as lists show it (S6): `+82 10-****-5678`.
pub(crate) fn masked(e164: &str) -> String {
    match PhoneNumber::parse(e164, None) {
        Ok(number) => mask::number(&number.format_as(PhoneNumberFormat::International)),
        Err(_) => mask::id(""),
    }
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
    /// S6: as each country writes its numbers.
    #[test]
    fn numbers_are_masked() {
        for (e164, shown) in [
            ("+821012345678", "+82 10-****-5678"),
            ("+12025550123", "+1 202-***-0123"),
            ("+819012345678", "+81 90-****-5678"),
            ("nonsense", "***"),
        ] {
            assert_eq!(masked(e164), shown);
        }
    }
}
