//! Keys that a user writes: one table says what each holds, and the reader, its errors and the reference share it.

use std::ops::RangeInclusive;

/// A key of a mapping that a user writes.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// The unit of its numbers; empty where they have none.
    pub unit: &'static str,
    /// What its numbers may be.
    pub range: Range,
    /// Whether its list may be empty.
    pub may_be_empty: bool,
    /// What leaving it out means, where its type has no value that says so.
    pub absent: &'static str,
    /// What it is for, in Markdown.
    pub meaning: &'static str,
}

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number.
    Whole,
    /// A whole number, or `off` for none.
    WholeOrOff,
    /// A number.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number with its unit, `20m`.
    Duration,
    /// A list.
    List(&'static Self),
    /// One value, or a list.
    OneOrList(&'static Self),
    /// What a reader of its own takes, in words.
    Shape(&'static str),
}

/// What a number may be.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// Whatever its type holds.
    Any,
    /// A whole number from one to the other.
    Whole(u64, u64),
    /// A number above 0 and at most this.
    AboveZero(f64),
    /// A duration of at least so many milliseconds.
    AtLeastMs(u64),
}

impl Key {
    /// A key whose reader is of its own kind; `absent` says what leaving it out means.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, absent: &'static str, meaning: &'static str) -> Self {
        Self { name, kind, unit: "", range: Range::Any, may_be_empty: false, absent, meaning }
    }

    /// The key of a field of the type `T`.
    #[must_use]
    pub const fn of<T: Held>(name: &'static str, meaning: &'static str) -> Self {
        Self { range: T::RANGE, ..Self::new(name, T::KIND, "none", meaning) }
    }

    /// With another type than its field's.
    #[must_use]
    pub const fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// With a unit.
    #[must_use]
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// For whole numbers in this range alone.
    #[must_use]
    pub const fn range(self, range: RangeInclusive<u64>) -> Self {
        Self { range: Range::Whole(*range.start(), *range.end()), ..self }
    }

    /// For numbers up to this one.
    #[must_use]
    pub const fn most(self, most: f64) -> Self {
        Self { range: Range::AboveZero(most), ..self }
    }

    /// For durations of at least so many milliseconds.
    #[must_use]
    pub const fn least_ms(self, least: u64) -> Self {
        Self { range: Range::AtLeastMs(least), ..self }
    }

    /// For a list that may be empty.
    #[must_use]
    pub const fn may_be_empty(self, may_be_empty: bool) -> Self {
        Self { may_be_empty, ..self }
    }

    /// With a word for what leaving it out means.
    #[must_use]
    pub const fn absent(self, absent: &'static str) -> Self {
        Self { absent, ..self }
    }

    /// Its type, unit and allowed values in words: `whole number of tokens, from 1`.
    #[must_use]
    pub fn takes(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" of {}", self.unit) };
        let mut text = self.kind.text("", &unit);
        let each = if matches!(self.kind, Kind::List(_) | Kind::OneOrList(_)) { "each " } else { "" };
        match self.range {
            Range::Any => {}
            Range::Whole(least, most) if most >= u64::from(u32::MAX) => text += &format!(", {each}from {least}"),
            Range::Whole(least, most) => text += &format!(", {each}{least} to {most}"),
            Range::AboveZero(most) if most.is_infinite() => text += &format!(", {each}above 0"),
            Range::AboveZero(most) => text += &format!(", {each}above 0, at most {most}"),
            Range::AtLeastMs(least) => text += &format!(", at least `{least}ms`"),
        }
        if let Kind::WholeOrOff = self.kind {
            text += ", or `off`";
        }
        if self.may_be_empty {
            text += "; may be empty";
        }
        text
    }

    /// Why its numbers may not be `number`.
    #[must_use]
    pub fn refuses(&self, number: f64) -> Option<String> {
        match self.range {
            Range::Any | Range::AtLeastMs(_) => None,
            Range::Whole(least, most) => {
                (!(least as f64..=most as f64).contains(&number)).then(|| format!("must be from {least} to {most}"))
            }
            Range::AboveZero(_) if number <= 0.0 || !number.is_finite() => Some("must be a number above 0".to_owned()),
            Range::AboveZero(most) => (number > most).then(|| format!("must be at most {most}")),
        }
    }
}

impl Kind {
    /// In words, with the plural's ending and the unit.
    fn text(self, s: &str, unit: &str) -> String {
        match self {
            Self::Whole | Self::WholeOrOff => format!("whole number{s}{unit}"),
            Self::Number => format!("number{s}{unit}"),
            Self::Word(words) => format!("`{}`", words.join("`, `")),
            Self::Duration => format!("duration{s}"),
            Self::List(of) => format!("list of {}", of.text("s", unit)),
            Self::OneOrList(of) => format!("{}, or a list of them", of.text("", unit)),
            Self::Shape(words) => words.to_owned(),
        }
    }
}

/// A type that a key may hold.
pub trait Held {
    /// The type as the reference names it.
    const KIND: Kind;
    /// What its numbers may be where nothing narrower is said: counts, lengths and limits are above 0.
    const RANGE: Range = Range::Any;

    /// The value as one writes it; `None` is left out.
    #[cfg(test)]
    fn written(&self) -> Option<String>;
}

impl Held for u32 {
    const KIND: Kind = Kind::Whole;
    const RANGE: Range = Range::Whole(1, Self::MAX as u64);

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Held for f64 {
    const KIND: Kind = Kind::Number;
    const RANGE: Range = Range::AboveZero(Self::INFINITY);

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Held for bool {
    const KIND: Kind = Kind::Word(&["true", "false"]);

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Held for String {
    const KIND: Kind = Kind::Shape("text");

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Held for std::time::Duration {
    const KIND: Kind = Kind::Duration;

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        let (number, unit) = match self.as_millis() {
            ms if ms % 60_000 == 0 => (ms / 60_000, "m"),
            ms if ms % 1_000 == 0 => (ms / 1_000, "s"),
            ms => (ms, "ms"),
        };
        Some(format!("{number}{unit}"))
    }
}

impl<T: Held> Held for Option<T> {
    const KIND: Kind = T::KIND;
    const RANGE: Range = T::RANGE;

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        self.as_ref().and_then(Held::written)
    }
}

impl<T: Held> Held for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
    const RANGE: Range = T::RANGE;

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(Held::written).collect();
        (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
    }
}

/// Declares a struct whose fields are keys: `/// meaning`, `#[key(unit = "tokens")]`, `pub name: Type = default`. Generates the struct,
/// its `Default`, and `KEYS`, in the order of the fields. What `key` may say are the methods of [`Key`].
macro_rules! keyed {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $(
        $(#[doc = $doc:literal])+
        $(#[key($($said:ident = $value:expr),+)])?
        $(#[serde($($serde:tt)*)])?
        pub $field:ident: $type:ty = $default:expr
    ),+ $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $(
            $(#[doc = $doc])+
            $(#[serde($($serde)*)])?
            pub $field: $type
        ),+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }

        impl $name {
            /// Its fields as keys, in their order.
            pub const KEYS: &'static [$crate::domain::Key] = &[$(
                $crate::domain::Key::of::<$type>(stringify!($field), concat!($($doc),+)) $($(.$said($value))+)?
            ),+];

            /// What a user would write under each key; `None` is left out.
            #[cfg(test)]
            pub fn written(&self) -> Vec<Option<String>> {
                vec![$($crate::domain::Held::written(&self.$field)),+]
            }
        }
    };
}

pub(crate) use keyed;
