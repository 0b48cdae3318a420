//! A TOML document as a source for `serde`.
//!
//! The deserializer of the crate `toml` is made anew, with all that TOML can say, for each type it
//! fills: 150 KiB of the shim. A profile holds texts, whole numbers, switches, lists and tables
//! only.

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{Deserializer, Error as _, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    message: String,
    /// Byte offset of the value that does not fit; `None` until it is known.
    offset: Option<usize>,
}

/// One value of the document.
struct Item<'t>(Spanned<DeValue<'t>>);

/// The name of a value.
struct Key<'t>(Spanned<DeString<'t>>);

/// Fills a `T` from the TOML document `text`.
///
/// # Errors
///
/// One line: the place and what does not fit there.
pub(super) fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    let document = DeTable::parse(text).map_err(|error| Fault {
        message: error.message().to_owned(),
        offset: error.span().map(|span| span.start),
    });
    let filled = document.and_then(|document| {
        let span = document.span();
        T::deserialize(Item(Spanned::new(
            span,
            DeValue::Table(document.into_inner()),
        )))
    });
    filled.map_err(|fault| fault.line(text))
}

// === impl Fault ===

impl Fault {
    fn line(&self, text: &str) -> String {
        let before = text.get(..self.offset.unwrap_or_default());
        let line = before.map_or(1, |it| it.matches('\n').count().saturating_add(1));
        format!("line {line}: {}", self.message.replace('\n', " "))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            offset: None,
        }
    }
}

// === impl Item ===

impl Item<'_> {
    /// Another value than is expected; said once for all types, because what is said for each is
    /// in the program for each.
    fn unfit(self, expected: &dyn Expected) -> Fault {
        let offset = self.0.span().start;
        let found = match self.0.get_ref() {
            DeValue::String(text) => Unexpected::Str(text),
            DeValue::Boolean(boolean) => Unexpected::Bool(*boolean),
            DeValue::Integer(_) => Unexpected::Other("number"),
            DeValue::Array(_) => Unexpected::Seq,
            DeValue::Table(_) => Unexpected::Map,
            DeValue::Float(_) => return at(Fault::custom("a number with a fraction"), offset),
            DeValue::Datetime(_) => return at(Fault::custom("a date without quotes"), offset),
        };
        at(Fault::invalid_type(found, expected), offset)
    }

    fn whole_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let offset = self.0.span().start;
        let DeValue::Integer(number) = self.0.get_ref() else {
            return Err(self.unfit(&visitor));
        };
        let number = i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_overflow| Fault::custom("a number beyond 64 bits"));
        let filled = number.and_then(|number| visitor.visit_i64(number));
        filled.map_err(|fault| at(fault, offset))
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let offset = self.0.span().start;
        let DeValue::String(text) = self.0.get_ref() else {
            return Err(self.unfit(&visitor));
        };
        visitor.visit_str(text).map_err(|fault| at(fault, offset))
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (offset, end) = (self.0.span().start, self.0.span().end);
        match self.0.into_inner() {
            DeValue::Array(list) => visitor
                .visit_seq(SeqDeserializer::new(list.into_iter().map(Item)))
                .map_err(|fault| at(fault, offset)),
            other => Err(Item(Spanned::new(offset..end, other)).unfit(&visitor)),
        }
    }

    fn table<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (offset, end) = (self.0.span().start, self.0.span().end);
        match self.0.into_inner() {
            DeValue::Table(table) => {
                let entries = table.into_iter();
                let entries = entries.map(|(key, value)| (Key(key), Item(value)));
                visitor
                    .visit_map(MapDeserializer::new(entries))
                    .map_err(|fault| at(fault, offset))
            }
            other => Err(Item(Spanned::new(offset..end, other)).unfit(&visitor)),
        }
    }
}

/// Whole numbers of all types in the same way.
macro_rules! whole_numbers {
    ($($name:ident)+) => {
        $(
            fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                self.whole_number(visitor)
            }
        )+
    };
}

impl<'de> Deserializer<'de> for Item<'_> {
    type Error = Fault;

    /// For what takes any type.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.get_ref() {
            DeValue::String(_) => self.text(visitor),
            DeValue::Integer(_) => self.whole_number(visitor),
            DeValue::Boolean(_) => self.deserialize_bool(visitor),
            DeValue::Array(_) => self.list(visitor),
            DeValue::Table(_) => self.table(visitor),
            DeValue::Float(_) | DeValue::Datetime(_) => Err(self.unfit(&visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.get_ref() {
            DeValue::Boolean(boolean) => visitor.visit_bool(*boolean),
            _ => Err(self.unfit(&visitor)),
        }
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.table(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.table(visitor)
    }

    /// Names of variants are texts.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let offset = self.0.span().start;
        let filled = match self.0.into_inner() {
            DeValue::String(text) => {
                let name: StringDeserializer<Fault> = text.into_owned().into_deserializer();
                visitor.visit_enum(name)
            }
            _ => Err(Fault::custom("expected a text")),
        };
        filled.map_err(|fault| at(fault, offset))
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf option unit unit_struct newtype_struct tuple
        tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Item<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

// === impl Key ===

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let offset = self.0.span().start;
        visitor
            .visit_str(self.0.get_ref())
            .map_err(|fault| at(fault, offset))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Key<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The innermost place is the one that helps.
fn at(fault: Fault, offset: usize) -> Fault {
    Fault {
        offset: fault.offset.or(Some(offset)),
        ..fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Colour {
        Red,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sheet {
        size: u32,
        colour: Colour,
        #[serde(default)]
        names: Vec<String>,
    }

    #[test]
    fn fills_a_type() {
        let sheet: Sheet = read("size = 7\ncolour = \"red\"\nnames = [\"a\", \"b\"]").unwrap();
        let names = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            (sheet.size, sheet.colour, sheet.names),
            (7, Colour::Red, names)
        );
    }

    #[test]
    fn names_the_line_of_what_does_not_fit() {
        for (text, expected) in [
            ("size = 1\ncolour = \"blue\"", "line 2: unknown variant"),
            ("size = 1\ncolour = 2", "line 2: expected a text"),
            ("\nsize = -1\ncolour = \"red\"", "line 2: invalid value"),
            ("\n\nsize = \"1\"", "line 3: invalid type"),
            ("size = 99999999999999999999", "line 1: a number beyond"),
            ("size = 1.5", "line 1: a number with a fraction"),
            ("size = 1979-05-27", "line 1: a date"),
            (
                "size = 1\ncolour = \"red\"\nnames = [\n\"a\",\n2]",
                "line 5: invalid type",
            ),
            ("size = 1\nshade = 2", "line 2: unknown field `shade`"),
            ("size = 1", "line 1: missing field `colour`"),
            ("size = 1\nsize = 2", "line 2: duplicate key"),
            ("size = ", "line 1: "),
        ] {
            let found = read::<Sheet>(text).unwrap_err();
            assert!(found.starts_with(expected), "{text:?}: {found}");
            assert!(!found.contains('\n'), "{found}");
        }
    }
}
