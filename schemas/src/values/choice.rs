//! Values of a short list.

/// Defines an enum whose values are words: as text, through serde and in schemas the same ones.
macro_rules! choice {
    ($(#[$about:meta])* $type:ident { $($(#[$each:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[schemars(inline)]
        pub enum $type {
            $($(#[$each])* #[serde(rename = $word)] $value,)*
        }

        impl $type {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$value),*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::values::InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let words = || Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>();
                let known = Self::ALL.iter().copied().find(|value| value.as_str() == text);
                known.ok_or_else(|| {
                    $crate::values::InvalidValue::new(format!("must be one of {}", words().join(", ")))
                })
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use choice;
