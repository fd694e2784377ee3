//! What may stand behind a key. A value of another type is told with its key and with what is expected, and all of them at
//! once: serde would tell the first one, in the words of the program.
use crate::config::meant;
use crate::route::{Age, Attribute};
use toml::de::DeValue;

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Anything in quotes.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A whole number, 0 or above.
    Count,
    /// Three of them.
    Counts,
    /// A finite number.
    Number,
    /// Three of them.
    Numbers,
    /// Any number of them.
    AnyNumbers,
    /// `true` or `false`.
    Boolean,
    /// A keyword of PS3.6 or a tag.
    Attribute,
    /// A number or an age.
    Bound,
    /// Red, green, blue.
    Colour,
    /// Lengths of axes, or names of free ones.
    Shape,
    /// A list of four numbers each.
    Boxes,
    /// A table with keys of its own.
    Section,
    /// A list of such tables.
    Sections,
}

impl Type {
    /// Nothing where the value is of this type; else what is wrong with it, and what to write instead.
    pub(super) fn check(self, value: &DeValue<'_>) -> Result<(), (String, String)> {
        let (holds, wrong, help) = match self {
            Type::Text => (value.is_str(), "is not a text", "write it in quotes"),
            Type::Word(words) => {
                return match value.as_str() {
                    Some(word) if words.contains(&word) => Ok(()),
                    Some(word) => Err((
                        format!("`{word}` is not one of the words that may stand here"),
                        help_with(word, words.iter().copied()),
                    )),
                    None => Err(("is not a text".to_owned(), format!("known here: {}", words.join(", ")))),
                };
            }
            Type::Texts => {
                (list(value, None, DeValue::is_str), "is not a list of texts", "write e.g. [\"HEAD\", \"BRAIN\"]")
            }
            Type::Count => (count(value).is_some(), "is not a whole number, 0 or above", ""),
            Type::Counts => {
                let is_count = |value: &DeValue<'_>| count(value).is_some();
                (list(value, Some(3), is_count), "is not a list of three whole numbers", "write e.g. [128, 128, 128]")
            }
            Type::Number => (is_number(value), "is not a finite number", ""),
            Type::Numbers => {
                (list(value, Some(3), is_number), "is not a list of three numbers", "write e.g. [1.0, 1.0, 1.0]")
            }
            Type::AnyNumbers => (list(value, None, is_number), "is not a list of numbers", "write e.g. [0.9, 0.8]"),
            Type::Boolean => (value.is_bool(), "is neither true nor false", "write it without quotes"),
            Type::Attribute => {
                let name = value
                    .as_str()
                    .ok_or_else(|| ("is not a text".to_owned(), "write e.g. \"PatientAge\"".to_owned()))?;
                return Attribute::try_from(name.to_owned()).map(|_| ()).map_err(|wrong| (wrong, String::new()));
            }
            Type::Bound => {
                let holds = value.as_str().map_or_else(|| is_number(value), |text| Age::parse(text).is_some());
                let help = "write e.g. 1.5, or \"18Y\", \"6M\", \"2W\" or \"10D\"";
                (holds, "is neither a finite number nor an age", help)
            }
            Type::Colour => {
                let is_share = |value: &DeValue<'_>| count(value).is_some_and(|share| share <= 255);
                (
                    list(value, Some(3), is_share),
                    "is not three whole numbers from 0 to 255",
                    "write e.g. [200, 120, 60]",
                )
            }
            Type::Shape => {
                let is_axis = |value: &DeValue<'_>| match value {
                    DeValue::String(name) => !name.is_empty(),
                    length => count(length).is_some_and(|length| length > 0),
                };
                let help = "write e.g. [1, 1, 128, 128, 128], or a name for an axis of any length: [1, 3, \"rows\", \"columns\"]";
                (list(value, None, is_axis), "is not a list of lengths", help)
            }
            Type::Boxes => {
                let is_box = |value: &DeValue<'_>| list(value, Some(4), is_number);
                let help = "write left, top, right, bottom in pixels, e.g. [[10.0, 10.0, 60.0, 40.0]]";
                (list(value, None, is_box), "is not a list of four numbers each", help)
            }
            Type::Section => {
                (value.is_table(), "is not a section", "it has keys of its own: agent/MODELS.md lists them")
            }
            Type::Sections => {
                let help = "it has keys of its own: write its name in [[ ]] above each of them";
                (list(value, None, DeValue::is_table), "is not a list of sections", help)
            }
        };
        if holds { Ok(()) } else { Err((wrong.to_owned(), help.to_owned())) }
    }
}

/// The word that was probably meant, else all that there are.
pub(super) fn help_with<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match meant(written, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn count(value: &DeValue<'_>) -> Option<u32> {
    value.as_integer().and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
}

/// What 32 bits hold, so that no step computes with infinity.
fn is_number(value: &DeValue<'_>) -> bool {
    let is_finite = |text: &str| text.parse::<f32>().is_ok_and(f32::is_finite);
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).is_ok(),
        DeValue::Float(number) => is_finite(number.as_str()),
        _ => false,
    }
}

fn list<'i>(value: &DeValue<'i>, length: Option<usize>, holds: impl Fn(&DeValue<'i>) -> bool) -> bool {
    let fits = |list: &[toml::Spanned<DeValue<'i>>]| length.is_none_or(|length| list.len() == length);
    value.as_array().is_some_and(|list| fits(list) && list.iter().all(|value| holds(value.get_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeTable;

    #[test]
    fn a_value_of_another_type_is_told_with_what_is_expected() {
        let wrong = [
            (Type::Text, "1", "is not a text"),
            (Type::Word(&["linear", "nearest"]), "'liner'", "did you mean `linear`?"),
            (Type::Word(&["linear", "nearest"]), "3", "known here: linear, nearest"),
            (Type::Texts, "'MR'", "[\"HEAD\", \"BRAIN\"]"),
            (Type::Count, "-1", "0 or above"),
            (Type::Count, "1.5", "0 or above"),
            (Type::Counts, "[1, 2]", "three whole numbers"),
            (Type::Number, "nan", "finite"),
            (Type::Number, "1e300", "finite"),
            (Type::Numbers, "[1.0, 2.0]", "three numbers"),
            (Type::AnyNumbers, "[1.0, 'x']", "a list of numbers"),
            (Type::Boolean, "'yes'", "neither true nor false"),
            (Type::Attribute, "'PatientAgee'", "neither a keyword"),
            (Type::Bound, "'18 years'", "an age"),
            (Type::Bound, "inf", "finite number"),
            (Type::Colour, "[300, 1, 1]", "0 to 255"),
            (Type::Shape, "[1, 0]", "an axis of any length"),
            (Type::Boxes, "[[1, 2, 3]]", "four numbers"),
            (Type::Section, "1", "section"),
            (Type::Sections, "{}", "[[ ]]"),
        ];
        for (kind, text, expected) in wrong {
            let text = format!("key = {text}");
            let table = DeTable::parse(&text).unwrap().into_inner();
            let (message, help) = kind.check(table.get("key").unwrap().get_ref()).unwrap_err();
            assert!(format!("{message}; {help}").contains(expected), "{text}: {message}; {help}");
        }
    }
}
