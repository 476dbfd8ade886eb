//! The sources of a configuration, one over the other, measured against the keys of the default file.

use super::DEFAULTS;
use super::error::Problem;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

pub(super) const ENV_PREFIX: &str = "BACKSTOP__";

/// One source of values, under the name that problems show.
pub(super) struct Layer {
    pub(super) place: String,
    pub(super) values: Dict,
}

impl Layer {
    pub(super) fn toml(place: &str, text: &str) -> Result<Layer, Problem> {
        let data = Toml::string(text).data().map_err(|error| {
            let reason = error.to_string();
            let first = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or("unreadable");
            Problem::new(place, None, format!("is not TOML: {first}"))
        })?;
        let values = data.into_iter().next().map(|(_, values)| values).unwrap_or_default();
        Ok(Layer { place: place.to_owned(), values })
    }

    pub(super) fn has(&self, section: &[&str]) -> bool {
        let (last, path) = section.split_last().expect("a section has a name");
        descend(&self.values, path).is_some_and(|dict| dict.contains_key(*last))
    }

    pub(super) fn remove(&mut self, section: &[&str]) {
        match section {
            [name] => drop(self.values.remove(*name)),
            [outer, name] => {
                if let Some(Value::Dict(_, inner)) = self.values.get_mut(*outer) {
                    inner.remove(*name);
                }
            }
            _ => {}
        }
    }

    /// `BACKSTOP__A__B=value` as `a.b`, read as the kind of value that key holds: a password of digits stays text.
    pub(super) fn variable(name: &str, value: &str, known: &[(String, Value)]) -> Result<Layer, Problem> {
        let place = format!("environment variable {name}");
        let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
        let Some((_, kind)) = known.iter().find(|(known, _)| *known == key) else {
            return Err(Problem::new(&place, None, unknown(&key, known)));
        };
        let wrong = |what: &str| Problem::new(&place, Some(&key), format!("must be {what}"));
        let value = match kind {
            Value::Num(..) => Value::from(value.trim().parse::<i64>().map_err(|_| wrong("a whole number"))?),
            Value::Bool(..) => Value::from(value.trim().parse::<bool>().map_err(|_| wrong("true or false"))?),
            Value::Array(..) => {
                let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::from(items.map(str::to_owned).collect::<Vec<String>>())
            }
            _ => Value::from(value),
        };
        let nested = figment::util::nest(&key, value).into_dict().unwrap_or_default();
        Ok(Layer { place, values: nested })
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// `section.key` of every line of the default file, commented out or not, with its value there.
pub(super) fn known_keys() -> Vec<(String, Value)> {
    let mut section = "";
    let mut known = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let Some((key, value)) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ") else { continue };
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let parsed = is_key.then(|| Toml::string(&format!("v = {value}")).data().ok()).flatten();
        let value = parsed.and_then(|data| data.into_values().next()).and_then(|mut dict| dict.remove("v"));
        known.extend(value.map(|value| (format!("{section}.{key}"), value)));
    }
    known
}

pub(super) fn unknown_keys(layer: &Layer, known: &[(String, Value)]) -> Vec<Problem> {
    let mut keys = Vec::new();
    flatten("", &layer.values, &mut keys);
    let strange = keys.into_iter().filter(|key| !known.iter().any(|(known, _)| known == key));
    strange.map(|key| Problem::new(&layer.place, None, unknown(&key, known))).collect()
}

fn descend<'a>(dict: &'a Dict, path: &[&str]) -> Option<&'a Dict> {
    path.iter().try_fold(dict, |dict, name| dict.get(*name)?.as_dict())
}

fn flatten(prefix: &str, dict: &Dict, keys: &mut Vec<String>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => flatten(&key, inner, keys),
            Value::Dict(..) => {}
            _ => keys.push(key),
        }
    }
}

/// Keys that were, where they are now, and what is different there.
const MOVED: [(&str, &str, &str); 2] = [
    ("limits.text_price_currency", "wallet.currency", "move it"),
    ("limits.text_prices", "wallet.prices", "a line has the kind and post units, too, as in 2026-11-01 KR sms 42300 1"),
];

/// What to say of a key that does not exist: where it went, else the nearest one that does.
fn unknown(key: &str, known: &[(String, Value)]) -> String {
    if let Some((_, new, mend)) = MOVED.iter().find(|(old, ..)| *old == key) {
        return format!("the key `{key}` is `{new}` now: {mend}");
    }
    let nearest = known
        .iter()
        .map(|(candidate, _)| (strsim::damerau_levenshtein(key, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3);
    match nearest {
        Some((_, candidate)) => format!("there is no key `{key}`: did you mean `{candidate}`?"),
        None => format!("there is no key `{key}`: `backstop check-config --defaults` prints all that are"),
    }
}
