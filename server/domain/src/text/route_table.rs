//! Routes as an operator or a company writes them: a line a country, `KR: solapi, twilio`, and `*` for all others.

use super::plan::Country;
use super::route::Routes;
use std::fmt;

/// Countries and providers that one table may name.
const MAX_LINES: usize = 300;
const MAX_NAMES: usize = 10;

/// What is wrong with a line, by its place from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// Which line.
    pub line: usize,
    /// What is wrong with it.
    pub why: WrongRoute,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongRoute {
    /// Not `COUNTRY: names`.
    Form,
    /// No country, nor `*`.
    Country,
    /// The country has a line already.
    Twice,
    /// A name that none can have, or the same again.
    Names,
    /// More lines than there are countries.
    TooMany,
}

impl Routes {
    /// Reads them; names are separated by commas, spaces or both.
    pub fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Routes, RouteError> {
        let mut routes = Routes::default();
        for (line, text) in lines.iter().enumerate() {
            let wrong = |why| RouteError { line, why };
            if line >= MAX_LINES {
                return Err(wrong(WrongRoute::TooMany));
            }
            let (place, names) = text.as_ref().split_once(':').ok_or(wrong(WrongRoute::Form))?;
            let names = parse_names(names).ok_or(wrong(WrongRoute::Names))?;
            let is_new = match place.trim() {
                "*" => std::mem::replace(&mut routes.others, names).is_empty(),
                code => {
                    let country = Country::parse(code).ok_or(wrong(WrongRoute::Country))?;
                    routes.of_country.insert(country, names).is_none()
                }
            };
            if !is_new {
                return Err(wrong(WrongRoute::Twice));
            }
        }
        Ok(routes)
    }

    /// Every provider that a line names, more than once where several do.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.of_country.values().flatten().chain(&self.others).map(String::as_str)
    }
}

/// One to ten, each once.
fn parse_names(text: &str) -> Option<Vec<String>> {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let mut names: Vec<String> = Vec::new();
    for name in text.split([',', ' ']).filter(|name| !name.is_empty()) {
        if !is_name(name) || names.iter().any(|other| other == name) || names.len() == MAX_NAMES {
            return None;
        }
        names.push(name.to_owned());
    }
    (!names.is_empty()).then_some(names)
}

impl fmt::Display for WrongRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WrongRoute::Form => {
                "write COUNTRY: PROVIDER, PROVIDER, such as KR: solapi, twilio, or *: twilio for all others"
            }
            WrongRoute::Country => "begin with a country's two capital letters, such as KR, or with * for all others",
            WrongRoute::Twice => "this country has a line already: write all its providers into one",
            WrongRoute::Names => "after the colon name 1 to 10 text providers, each once, such as solapi, twilio",
            WrongRoute::TooMany => "there are not so many countries: take lines out",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T4: what is written is what is meant; nothing is guessed.
    #[test]
    fn t4_routes_are_read_from_lines() {
        let routes = Routes::parse(&["KR: solapi, twilio", "JP:gateway", "*: twilio  smpp,"]).unwrap();
        let of = |code| routes.of_country.get(&Country::parse(code).unwrap()).cloned().unwrap_or_default();
        assert_eq!(of("KR"), ["solapi", "twilio"]);
        assert_eq!(of("JP"), ["gateway"]);
        assert_eq!(routes.others, ["twilio", "smpp"]);
        assert_eq!(routes.names().collect::<Vec<_>>(), ["gateway", "solapi", "twilio", "twilio", "smpp"]);
        assert_eq!(Routes::parse::<&str>(&[]), Ok(Routes::default()));
        let many = ["KR: a"; 301];
        for (lines, line, why) in [
            (&["KR: solapi", "twilio"][..], 1, WrongRoute::Form),
            (&["Korea: solapi"], 0, WrongRoute::Country),
            (&["kr: solapi"], 0, WrongRoute::Country),
            (&["KR: solapi", "KR: twilio"], 1, WrongRoute::Twice),
            (&["*: solapi", "*: twilio"], 1, WrongRoute::Twice),
            (&["KR:"], 0, WrongRoute::Names),
            (&["KR: , "], 0, WrongRoute::Names),
            (&["KR: Solapi"], 0, WrongRoute::Names),
            (&["KR: a a"], 0, WrongRoute::Names),
            (&["KR: a b c d e f g h i j k"], 0, WrongRoute::Names),
            (&many[..], 1, WrongRoute::Twice),
        ] {
            assert_eq!(Routes::parse(lines), Err(RouteError { line, why }), "{lines:?}");
        }
    }
}
