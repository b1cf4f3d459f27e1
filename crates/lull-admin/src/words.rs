//! The macro behind every closed list of words in the interface.

/// Defines an enum whose values travel as one lower-case word each and read the same to people.
///
/// A word this build does not know is read as `Unknown` rather than refused: the command stays in
/// use while a newer daemon takes over from an older one.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A word of another release.
            Unknown,
        }

        impl $name {
            /// Every word that this build knows, in the order in which they are declared.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word as it stands in JSON and in tables.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown => "unknown",
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Ok(match &*word {
                    $($word => Self::$variant,)+
                    _ => Self::Unknown,
                })
            }
        }
    };
}

pub(crate) use words;
