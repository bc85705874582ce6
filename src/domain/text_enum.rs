//! One text spelling per enum variant: the macro that ties a variant to its spelling everywhere.

/// Declares an enum whose variants have exactly one text spelling, used in the database, in JSON, on the
/// command line and in reports. Generates `ALL`, `WORDS`, `as_str`, `Display`, `FromStr`, `Serialize`, `Deserialize`.
macro_rules! text_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every variant, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Every spelling, in declaration order.
            pub const WORDS: &'static [&'static str] = &[$($text),+];

            /// The one text spelling of this variant.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().copied().find(|v| v.as_str() == text);
                found.ok_or_else(|| format!("`{text}` is not one of {}", Self::WORDS.join(", ")))
            }
        }

        impl $crate::domain::Held for $name {
            const KIND: $crate::domain::Kind = $crate::domain::Kind::Word(Self::WORDS);

            #[cfg(test)]
            fn written(&self) -> Option<String> {
                Some(self.as_str().to_owned())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use text_enum;

#[cfg(test)]
mod tests {
    text_enum! {
        /// A sample.
        pub enum Sample { One = "one", TwoWords = "two_words" }
    }

    #[test]
    fn every_variant_round_trips_through_its_text_and_json() {
        for v in Sample::ALL {
            assert_eq!(v.as_str().parse::<Sample>().as_ref(), Ok(v));
            let json = serde_json::to_string(v).unwrap();
            assert_eq!(json, format!("\"{v}\""));
            assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), *v);
        }
    }

    #[test]
    fn an_unknown_spelling_names_the_allowed_ones() {
        let err = "three".parse::<Sample>().unwrap_err();
        assert_eq!(err, "`three` is not one of one, two_words");
    }
}
